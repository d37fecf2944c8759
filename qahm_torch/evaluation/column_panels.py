r"""Figures of tables: the columns of data beside those of generated rows."""

from __future__ import annotations

__all__ = ["ColumnPanel", "column_histograms", "correlation_scatter"]

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from qahm_torch.evaluation.figures import blank_figure
from qahm_torch.evaluation.style import FAINT, PALETTE, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 20
_MARGIN = 0.25  # of the range of the data, on each side of it
_MOST_BARS = 10
_LONGEST_NAME = 12
_ACROSS = 3


class ColumnPanel(NamedTuple):
    r"""A column of data and that of generated rows."""

    name: str
    data: Tensor  # (R,), NaN where missing
    generated: Tensor  # (G,), NaN where missing
    categories: Sequence[str] = ()  # of values 0, 1, ...; none of numbers
    is_log: bool = False  # whether positive numbers are shown by their logarithms


def column_histograms(columns: Sequence[ColumnPanel]) -> Figure:
    r"""Returns a figure of columns, one panel each: shares of the data's and of generated values.

    Numbers are counted in bins, which reach a quarter beyond the range of the data; generated ones
    that are farther off are in the bin at the end. Of more than 10 categories the most frequent
    are shown.

    Arguments:
        columns: The columns.

    Raises:
        ValueError: If there is no column, or one has no known value.

    Example:
        >>> size = ColumnPanel("size", torch.randn(50), torch.randn(90))
        >>> color = ColumnPanel("color", torch.zeros(50), torch.ones(90), ["red", "blue"])
        >>> [axes.get_title("left") for axes in column_histograms([size, color]).axes]
        ['size', 'color']
    """
    if not columns:
        raise ValueError("columns is [], but at least one column is needed")
    for column in columns:
        for what, values in (("data", column.data), ("generated", column.generated)):
            if not bool((~values.isnan()).any()):
                raise ValueError(f"{what} of column {column.name!r} has no known value to draw")
    with paper_style():
        across = min(_ACROSS, len(columns))
        down = -(-len(columns) // across)
        figure = blank_figure(0.4 + 2.6 * across, 0.5 + 2.0 * down, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, column in zip(grid, columns, strict=False):
            (_draw_bars if column.categories else _draw_bins)(axes, column)
            axes.set_title(column.name)
        for axes in grid[len(columns) :]:
            axes.remove()
        grid[0].set_ylabel("share of rows")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure


def correlation_scatter(data: Tensor, generated: Tensor, sizes: Sequence[int]) -> Figure:
    r"""Returns a figure of correlations of units in generated rows against those in the data.

    There is a point for each two units of different columns. Points on the diagonal are
    dependences that are learned, and points on the horizontal line are missed.

    Arguments:
        data: Rows of units of shape (R, N), NaN where missing.
        generated: Rows of shape (G, N).
        sizes: The number of units of each column, which are N in all.

    Raises:
        ValueError: If there is only one column.

    Example:
        >>> rows = torch.randn(50, 3)
        >>> figure = correlation_scatter(rows, rows, [1, 2])
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes is {list(sizes)}, but a correlation is of at least two columns")
    column = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    pairs = column[:, None] < column
    x, y = (_correlations(rows)[pairs] for rows in (data, generated))
    with paper_style():
        figure = blank_figure(3.6, 3.6, layout="constrained")
        axes = figure.subplots()
        axes.axline((0, 0), slope=1, color=FAINT, linewidth=0.8)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.plot(x, y, "o", color=PALETTE[0], markersize=3, alpha=0.6, markeredgewidth=0)
        ends = (-1.05, 1.05)
        axes.set(xlim=ends, ylim=ends, aspect="equal", title="Correlations of columns")
        axes.set(xlabel="in the training data", ylabel="in generated rows")
    return figure


def _correlations(rows: Tensor) -> Tensor:
    r"""Returns correlations (N, N) over rows where both units are known; NaN where none is."""
    known = (~rows.isnan()).double()
    x = rows.double().nan_to_num(nan=0.0)
    counts = known.T @ known
    means = x.T @ known / counts  # [i, j]: of unit i where unit j is known
    variances = x.square().T @ known / counts - means.square()
    covariances = x.T @ x / counts - means * means.T
    found = covariances / (variances.clamp(min=0) * variances.T.clamp(min=0)).sqrt()
    # Of a unit that does not vary, rounding is what is left.
    return found.masked_fill((variances < 1e-9) | (variances.T < 1e-9), math.nan)


def _draw_bins(axes: Axes, column: ColumnPanel) -> None:
    r"""Draws histograms of numbers."""
    import numpy as np

    data, generated = (x[~x.isnan()].double().numpy() for x in (column.data, column.generated))
    if column.is_log:
        data, generated = np.log(data), np.log(generated)
    margin = _MARGIN * (data.max() - data.min()) or 1.0
    edges = np.linspace(data.min() - margin, data.max() + margin, _BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    ends = np.exp(edges) if column.is_log else edges
    for values, is_data in ((data, True), (generated, False)):
        # Into the middles of the bins at the ends, as the ends themselves may be rounded.
        counts, _ = np.histogram(np.clip(values, middle[0], middle[-1]), edges)
        shares = counts / len(values)
        if is_data:
            axes.stairs(shares, ends, color=FAINT, alpha=0.5, fill=True, label="training data")
        else:
            axes.stairs(shares, ends, color=PALETTE[1], linewidth=1.3, label="generated rows")
    if column.is_log:
        axes.set_xscale("log")
    axes.locator_params(axis="y", nbins=4)


def _draw_bars(axes: Axes, column: ColumnPanel) -> None:
    r"""Draws the shares of categories, which keep their order."""
    num = len(column.categories)
    data, generated = (_shares(values, num) for values in (column.data, column.generated))
    shown: list[int] = sorted(data.argsort(descending=True)[:_MOST_BARS].tolist())
    # Of one look with the histograms of numbers, whose data are in gray.
    for values, offset, color, alpha, label in (
        (data, -0.2, FAINT, 0.5, "training data"),
        (generated, 0.2, PALETTE[1], 1.0, "generated rows"),
    ):
        places = [place + offset for place in range(len(shown))]
        axes.bar(places, values[shown].tolist(), 0.4, color=color, alpha=alpha, label=label)
    names = [_short(column.categories[k]) for k in shown]
    is_wide = sum(map(len, names)) > 24
    axes.set_xticks(
        range(len(shown)),
        names,
        rotation=40 if is_wide else 0,
        ha="right" if is_wide else "center",
    )
    axes.tick_params(axis="x", length=0)
    axes.locator_params(axis="y", nbins=4)


def _shares(values: Tensor, num: int) -> Tensor:
    counts = torch.bincount(values[~values.isnan()].long(), minlength=num)
    return counts / counts.sum()


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
