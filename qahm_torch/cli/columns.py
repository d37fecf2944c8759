r"""Text in columns, and numbers as people read them."""

from __future__ import annotations

__all__ = ["aligned", "brief", "duration"]

from collections.abc import Sequence

_MINUTE, _HOUR = 60, 3600


def aligned(rows: Sequence[Sequence[str]]) -> str:
    r"""Returns rows of cells as lines whose columns begin alike.

    Example:
        >>> print(aligned([["run", "epochs"], ["digits", "200"]]))
        run     epochs
        digits  200
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def brief(value: object, length: int = 36) -> str:
    r"""Returns a value as a cell: numbers with five digits, texts cut short, "-" for None.

    Example:
        >>> brief(35.0573479), brief(9902), brief(None), brief("a" * 8, 5)
        ('35.057', '9902', '-', 'aaaa…')
    """
    if value is None:
        return "-"
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def duration(seconds: float) -> str:
    r"""Returns a time in the units that suit it.

    Example:
        >>> duration(23.19), duration(754), duration(86399.9)
        ('23.2 s', '12 min 34 s', '24 h 0 min')
    """
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    if seconds < _HOUR:
        minutes, rest = divmod(round(seconds), _MINUTE)
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {minutes} min"
