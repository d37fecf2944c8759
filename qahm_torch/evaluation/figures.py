r"""Figures of learning curves and of brackets, drawn without a display, and how they are saved.

Matplotlib loads with the first figure that is drawn.
"""

from __future__ import annotations

__all__ = [
    "DPI",
    "INK",
    "Interval",
    "blank_figure",
    "intervals",
    "learning_curves",
    "read_metrics",
    "save_figure",
]

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from qahm_torch.evaluation.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[Sequence[int], Sequence[float]]

DPI = 200
INK = "0.15"
FAINT = "0.6"
STAGE_COLORS = {"train": "0.6", "val": "#1f5fa8", "test": "#c1502e"}
STAGE = re.compile(r"^(train|val|test)(?:ing|idation)?[/_.-](?=.)")
CADENCE = re.compile(r"(?<=.)_(step|epoch)$")


class Interval(NamedTuple):
    r"""A named value between a lower and an upper bound."""

    label: str
    lower: float
    value: float
    upper: float


def learning_curves(metrics: Mapping[str, Curve]) -> Figure:
    r"""Returns a figure of metrics against training steps, one panel for each quantity.

    Curves that differ only in their stage (`train_loss`, `val/loss`) or in their cadence
    (`loss_step`, `loss_epoch`) share a panel. Values that are not finite leave a hole.

    Arguments:
        metrics: The steps and the values of each metric, as `read_metrics` returns them.

    Raises:
        ValueError: If there is no metric, or one has not as many steps as values.

    Example:
        >>> curves = {"train_loss": ([0, 1, 2], [3.0, 2.0, 1.5]), "val_loss": ([1], [2.5])}
        >>> [axes.get_title("left") for axes in learning_curves(curves).axes]
        ['loss']
    """
    quantities = _quantities(metrics)
    columns = min(3, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = blank_figure(0.4 + 3.4 * columns, 0.2 + 2.5 * rows, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for axes, (quantity, curves) in zip(grid, quantities.items(), strict=False):
        _draw_curves(axes, quantity, curves)
    for axes in grid[len(quantities) :]:
        axes.remove()
    return figure


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Curve]:
    r"""Returns what is in the `metrics.csv` of Lightning's `CSVLogger`.

    In such a file each row holds only the metrics that were logged at its step.

    Arguments:
        path: The file to read.

    Returns:
        The steps and values of each metric, in the order of the file's columns and rows. The
        column `epoch`, a clock like `step`, is left out.

    Raises:
        ValueError: If the file has no column `step`, or holds something that is not a number.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "metrics.csv"
        ...     _ = path.write_text("epoch,loss,step,val_loss\n0,3.5,0,\n0,,9,2.5\n")
        ...     read_metrics(path)
        {'loss': ([0], [3.5]), 'val_loss': ([9], [2.5])}
    """
    metrics: dict[str, tuple[list[int], list[float]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restkey="")
        names = list(reader.fieldnames or [])
        if "step" not in names:
            raise ValueError(f"{path} has the columns {names}, but a metrics.csv has one 'step'")
        for row in reader:
            for name in names:
                if name not in ("step", "epoch") and row[name]:
                    steps, values = metrics.setdefault(name, ([], []))
                    steps.append(int(_number(row["step"], "step", path, reader.line_num)))
                    values.append(_number(row[name], name, path, reader.line_num))
    return {name: metrics[name] for name in names if name in metrics}


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
    figure = blank_figure(6.4, 0.9 + 0.36 * len(brackets), layout="constrained")
    axes = figure.subplots()
    for place, bracket in enumerate(brackets):
        _draw_interval(axes, place, bracket)
    axes.set_yticks(range(len(brackets)), [bracket.label for bracket in brackets])
    axes.set_ylim(len(brackets) - 0.5, -0.5)
    axes.set_xlabel(quantity, color=INK, fontsize=9)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    _quieten(axes, "top", "right", "left")
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    r"""Writes a figure as PNG, atomically, at its own size and resolution.

    Arguments:
        figure: The figure.
        path: The file to write or to replace, ending in `.png`; its folder is created where it
            is missing.

    Raises:
        ValueError: If `path` does not end in `.png`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_figure(intervals([("RBM", -90.2, -89.9, -88.7)]), f"{folder}/bounds.png")
        ...     os.listdir(folder)
        ['bounds.png']
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"path is {str(path)!r}, but figures are saved as PNG: end it in .png")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi="figure", bbox_inches=None)


def blank_figure(
    width: float, height: float, layout: Literal["constrained"] | None = None
) -> Figure:
    r"""Returns an empty figure in the resolution of all figures, its size in inches."""
    from matplotlib.figure import Figure  # only now, because it takes time

    return Figure((width, height), DPI, facecolor="white", layout=layout)


def _quantities(metrics: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    r"""Returns the curves of each quantity by their names."""
    if not metrics:
        raise ValueError("metrics is empty, but at least one {name: (steps, values)} is needed")
    quantities: dict[str, dict[str, Curve]] = {}
    for name, (steps, values) in metrics.items():
        if len(steps) != len(values):
            raise ValueError(f"{name!r} has {len(steps)} steps, but {len(values)} values")
        quantity = CADENCE.sub("", STAGE.sub("", name))
        quantities.setdefault(quantity, {})[name] = (steps, values)
    return quantities


def _draw_curves(axes: Axes, quantity: str, curves: Mapping[str, Curve]) -> None:
    r"""Draws the curves of one quantity."""
    from matplotlib.ticker import MaxNLocator

    for name, (steps, values) in curves.items():
        stage = STAGE.match(name)
        cadence = CADENCE.search(name)
        axes.plot(
            steps,
            values,
            label=name,
            color=STAGE_COLORS[stage[1]] if stage else INK,
            linewidth=0.7 if cadence and cadence[1] == "step" else 1.3,
            marker="o" if len(steps) < 30 else None,
            markersize=3,
        )
    axes.set_title(quantity, loc="left", color=INK, fontsize=9)
    axes.set_xlabel("step", color=INK, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.grid(color="0.92", linewidth=0.6)
    _quieten(axes, "top", "right")
    axes.tick_params(labelbottom=True)
    if list(curves) != [quantity]:
        axes.legend(frameon=False, fontsize=7, labelcolor=INK)


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
    axes.plot(bracket.value, place, "o", color=STAGE_COLORS["val"], markersize=5)
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


def _quieten(axes: Axes, *hidden: str) -> None:
    r"""Hides some sides of the frame, and draws the rest of it lightly."""
    axes.spines[list(hidden)].set_visible(False)
    axes.spines[:].set_color(FAINT)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)


def _number(text: str, name: str, path: str | os.PathLike[str], line: int) -> float:
    r"""Returns the number in a cell of a table."""
    try:
        return float(text)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name!r} is {text!r} in line {line} of {path}, but a number is needed"
        ) from None
