r"""Figures of brackets, drawn without a display, and how figures are saved.

Matplotlib loads with the first figure that is drawn.
"""

from __future__ import annotations

__all__ = [
    "Interval",
    "blank_figure",
    "figure_pixels",
    "intervals",
    "save_figure",
]

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qahm_torch.evaluation.files import atomic_write
from qahm_torch.evaluation.style import DPI, FAINT, INK, PALETTE, paper_style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")


class Interval(NamedTuple):
    r"""A named value between a lower and an upper bound."""

    label: str
    lower: float
    value: float
    upper: float


def intervals(
    rows: Sequence[Interval | tuple[str, float, float, float]],
    quantity: str = "log-likelihood (nats per datum)",
) -> Figure:
    r"""Returns a figure of named values between their bounds, the first on top.

    Arguments:
        rows: The label, lower bound, value and upper bound of each. A value outside its bounds is
            drawn where it is: estimated bounds can miss.
        quantity: What the values are, with their unit.

    Raises:
        ValueError: If there is no row, a number is not finite, or a lower bound exceeds the upper.

    Example:
        >>> figure = intervals([("factorial", -96.1, -95.8, -95.4), ("RBM", -90.2, -89.9, -88.7)])
    """
    brackets = [_checked_interval(*row) for row in rows]
    if not brackets:
        raise ValueError(
            "rows has no interval, but at least one (label, lower, value, upper) is needed"
        )
    with paper_style():
        return _intervals(brackets, quantity)


def _intervals(brackets: Sequence[Interval], quantity: str) -> Figure:
    figure = blank_figure(6.4, 0.9 + 0.36 * len(brackets), layout="constrained")
    axes = figure.subplots()
    for place, bracket in enumerate(brackets):
        _draw_interval(axes, place, bracket)
    axes.set_yticks(range(len(brackets)), [bracket.label for bracket in brackets])
    axes.set_ylim(len(brackets) - 0.5, -0.5)
    axes.set_xlabel(quantity)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    r"""Writes a figure atomically, at its own size, in the format that the file's ending names.

    Arguments:
        figure: The figure.
        path: The file to write or to replace; its folder is created where it is missing. A paper
            takes `.pdf` or `.svg`, whose lines and texts stay such; `.png` has 200 points an inch.

    Raises:
        ValueError: If `path` ends in none of them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_figure(intervals([("RBM", -90.2, -89.9, -88.7)]), f"{folder}/bounds.pdf")
        ...     os.listdir(folder)
        ['bounds.pdf']
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(
            f"path is {str(path)!r}, but figures are saved as PNG, PDF or SVG: end it in .png, "
            ".pdf or .svg"
        )
    # The same figure is the same file, whenever it is saved.
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(ending)
    with paper_style(), atomic_write(path) as temporary:
        figure.savefig(
            temporary, format=ending[1:], dpi="figure", bbox_inches=None, metadata=undated
        )


def figure_pixels(figure: Figure) -> np.ndarray:
    r"""Returns a figure as pixels, as it would be saved in PNG: bytes of shape (rows, columns, 3).

    Arguments:
        figure: The figure.

    Example:
        >>> figure_pixels(blank_figure(2, 1)).shape
        (200, 400, 3)
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # only now, as it takes time

    with paper_style():
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        # A copy, since the canvas keeps its own.
        return np.array(canvas.buffer_rgba())[..., :3]


def blank_figure(
    width: float, height: float, layout: Literal["constrained"] | None = None
) -> Figure:
    r"""Returns an empty figure in the resolution of all figures, its size in inches."""
    from matplotlib.figure import Figure  # only now, because it takes time

    return Figure((width, height), DPI, facecolor="white", layout=layout)


def _checked_interval(label: str, lower: float, value: float, upper: float) -> Interval:
    r"""Returns an interval, after a look at whether it can be drawn."""
    bracket = Interval(str(label), float(lower), float(value), float(upper))
    if not all(math.isfinite(number) for number in bracket[1:]):
        raise ValueError(f"{label!r} is {bracket[1:]}, but its bounds and value are finite")
    if bracket.lower > bracket.upper:
        raise ValueError(f"the lower bound of {label!r} is {lower}, but the upper one is {upper}")
    return bracket


def _draw_interval(axes: Axes, place: int, bracket: Interval) -> None:
    r"""Draws one interval, with its numbers to the right of the axes."""
    bounds = [bracket.lower, bracket.upper]
    axes.plot(bounds, [place, place], color=FAINT, linewidth=2.5, solid_capstyle="butt")
    axes.plot(bounds, [place, place], "|", color=FAINT, markersize=9, markeredgewidth=1.5)
    axes.plot(bracket.value, place, "o", color=PALETTE[0], markersize=5)
    numbers = f"{bracket.value:.2f}  [{bracket.lower:.2f}, {bracket.upper:.2f}]"
    axes.text(
        1.02,
        place,
        numbers.replace("-", "\N{MINUS SIGN}"),
        transform=axes.get_yaxis_transform(),
        color=INK,
        fontsize=8,
        va="center",
    )
