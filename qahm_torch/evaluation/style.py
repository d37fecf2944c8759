r"""How all figures look: fonts, lines, and colors that survive gray paper and color-blindness."""

from __future__ import annotations

__all__ = ["DPI", "FAINT", "INK", "PALETTE", "paper_style"]

from contextlib import AbstractContextManager
from typing import Any

DPI = 200
INK = "0.15"
FAINT = "0.6"
# Navy, rust, gold, plum, teal, sky: their lightness differs, so that they differ in gray and for
# those who see two of three primary colors. "C0" to "C5" in what is drawn in the style.
PALETTE = ("#0b3c7d", "#cc4b24", "#e6b03c", "#9a3f7a", "#35a08c", "#a9cbea")
_SETTINGS: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.2,
    # Texts of vector formats stay texts.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "qahm_torch",
}


def paper_style() -> AbstractContextManager[None]:
    r"""Returns a context in which matplotlib draws in the style of all figures.

    Example:
        >>> from matplotlib.figure import Figure
        >>> with paper_style():
        ...     (line,) = Figure().subplots().plot([1, 2])
        >>> line.get_color() == PALETTE[0]
        True
    """
    import matplotlib  # only now, because it takes time
    from matplotlib.rcsetup import cycler

    settings: Any = {**_SETTINGS, "axes.prop_cycle": cycler(color=PALETTE)}
    return matplotlib.rc_context(settings)
