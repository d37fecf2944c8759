"""Figures of images, learning curves and brackets, drawn without a display."""

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from qahm_torch.evaluation.files import atomic_write

__all__ = [
    "Interval",
    "generated_and_nearest",
    "image_grid",
    "intervals",
    "learning_curves",
    "read_metrics",
    "save_figure",
]

Curve = tuple[Sequence[int], Sequence[float]]

DPI = 200
TILE_PIXELS = 96
MARGIN_PIXELS = 16
TITLE_PIXELS = 52
LEAST_WIDTH_PIXELS = 640
INK = "0.15"
FAINT = "0.6"
STAGE_COLORS = {"train": "0.6", "val": "#1f5fa8", "test": "#c1502e"}
STAGE = re.compile(r"^(train|val|test)(?:ing|idation)?[/_.-](?=.)")
CADENCE = re.compile(r"(?<=.)_(step|epoch)$")


class Interval(NamedTuple):
    """A named value between a lower and an upper bound."""

    label: str
    lower: float
    value: float
    upper: float


def image_grid(images: Tensor, columns: int = 10, captions: Sequence[object] = ()) -> Figure:
    """Draws images side by side, -1 in black and +1 in white.

    Arguments:
        images: Gray-scale images with values in [-1, 1], (n, rows, cols).
        columns: Number of images in a row.
        captions: What to write under each image, n of them or none.

    Raises:
        ValueError: If `images` is not such a stack, the captions are not one for each image, or
            `columns` is not positive.

    Example:
        >>> figure = image_grid(torch.rand(20, 16, 16) * 2 - 1, columns=5)
        >>> save_figure(figure, "digits.png")  # doctest: +SKIP
    """
    return _draw_panels([_panel("images", images, columns, captions=captions)])


def generated_and_nearest(
    generated: Tensor,
    nearest: Tensor,
    distances: Tensor | None = None,
    labels: Sequence[object] = (),
    columns: int = 10,
) -> Figure:
    """Draws generated images and, below in the same order, the training images nearest to them.

    A model that copies its training set shows the same images twice.

    References:
        Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        computers (Perdomo-Ortiz et al., 2018), https://arxiv.org/abs/1708.09757, Figure 4

    Arguments:
        generated: Generated images with values in [-1, 1], (n, rows, cols).
        nearest: The training image nearest to each, (n, rows, cols).
        distances: The distance between the two, (n,), the mean of which goes into the title.
        labels: The class of each training image, written under it; n of them or none.
        columns: Number of images in a row.

    Raises:
        ValueError: If the images are not two such stacks of one shape, the distances or the
            labels are not one for each image, or `columns` is not positive.

    Example:
        >>> digits = torch.rand(30, 16, 16) * 2 - 1
        >>> figure = generated_and_nearest(digits, digits.sign(), labels=30 * ["7"])
    """
    if nearest.shape != generated.shape:
        raise ValueError(
            f"nearest must have the shape {tuple(generated.shape)} of generated, got "
            f"{tuple(nearest.shape)}"
        )
    if distances is not None and distances.shape != generated.shape[:1]:
        raise ValueError(
            f"distances must be {tuple(generated.shape[:1])}, one for each image, got "
            f"{tuple(distances.shape)}"
        )
    below = "Nearest training images"
    if distances is not None:
        below += f"  (mean distance {distances.double().mean():.2f})"
    return _draw_panels(
        [
            _panel("generated", generated, columns, "Generated images"),
            _panel("nearest", nearest, columns, below, labels),
        ]
    )


def learning_curves(metrics: Mapping[str, Curve]) -> Figure:
    """Draws metrics against training steps, one panel for each quantity.

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
    if not metrics:
        raise ValueError("there is no metric to draw; give at least one, {name: (steps, values)}")
    quantities: dict[str, dict[str, Curve]] = {}
    for name, (steps, values) in metrics.items():
        if len(steps) != len(values):
            raise ValueError(f"{name!r} has {len(steps)} steps but {len(values)} values")
        quantities.setdefault(_quantity(name), {})[name] = (steps, values)
    columns = min(3, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = Figure(
        (0.4 + 3.4 * columns, 0.2 + 2.5 * rows), DPI, facecolor="white", layout="constrained"
    )
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for axes, (quantity, curves) in zip(grid, quantities.items(), strict=False):
        _draw_curves(axes, quantity, curves)
    for axes in grid[len(quantities) :]:
        axes.remove()
    return figure


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Curve]:
    r"""Reads the `metrics.csv` of Lightning's `CSVLogger`.

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
            raise ValueError(f"{path} has no column 'step', only {names}; give a metrics.csv")
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
    """Draws named values between their bounds, the first on top.

    Arguments:
        rows: Label, lower bound, value and upper bound of each. A value outside its bounds is
            drawn where it is: estimated bounds can miss.
        quantity: What the values are, with their unit.

    Raises:
        ValueError: If there is no row, a number is not finite, or a lower bound exceeds the upper.

    Example:
        >>> figure = intervals([("factorial", -96.1, -95.8, -95.4), ("RBM", -90.2, -89.9, -88.7)])
    """
    brackets = [_checked_interval(*row) for row in rows]
    if not brackets:
        raise ValueError("there is no interval to draw; give (label, lower, value, upper)")
    figure = Figure(
        (6.4, 0.9 + 0.36 * len(brackets)), DPI, facecolor="white", layout="constrained"
    )
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
    """Writes a figure as PNG, atomically, at its own size and resolution.

    Arguments:
        figure: The figure.
        path: The file to write or to replace, ending in `.png`; its folder is created where it
            is missing.

    Raises:
        ValueError: If `path` does not end in `.png`.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"figures are saved as PNG, got {str(path)!r}; end the name in .png")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi="figure", bbox_inches=None)


class _Panel(NamedTuple):
    """A titled block of images, laid out in columns."""

    images: Tensor
    columns: int
    title: str
    captions: Sequence[object]

    @property
    def scale(self) -> int:
        """The number of pixels of the figure to a side of an image's pixel."""
        return max(1, round(TILE_PIXELS / max(self.images.shape[1:])))

    @property
    def gap(self) -> int:
        """The space between two images, in pixels of an image."""
        return max(1, round(5 / self.scale))

    @property
    def foot(self) -> int:
        """The space for a caption under an image, in pixels of an image."""
        return math.ceil(26 / self.scale) if self.captions else 0


def _panel(
    name: str,
    images: Tensor,
    columns: int,
    title: str = "",
    captions: Sequence[object] = (),
) -> _Panel:
    """Returns a panel of images, which must be drawable."""
    if images.dim() != 3 or 0 in images.shape:
        raise ValueError(f"{name} must be images (n, rows, cols), got {tuple(images.shape)}")
    images = images.detach().float().cpu()
    if not (images.abs() <= 1 + 1e-3).all():
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"{name} must lie in [-1, 1], got values from {low:g} to {high:g}")
    if len(captions) not in (0, len(images)):
        raise ValueError(f"got {len(captions)} captions for {len(images)} {name}; give each one")
    if columns < 1:
        raise ValueError(f"columns must be a positive number of images, got {columns}")
    return _Panel(images, min(columns, len(images)), title, captions)


def _draw_panels(panels: Sequence[_Panel]) -> Figure:
    """Stacks panels of images, each pixel of an image on a whole number of pixels."""
    mosaics = [_mosaic(panel) for panel in panels]
    sizes = [
        (mosaic.shape[0] * panel.scale, mosaic.shape[1] * panel.scale)
        for mosaic, panel in zip(mosaics, panels, strict=True)
    ]
    titled = any(panel.title for panel in panels)
    width = max(columns for _, columns in sizes) + 2 * MARGIN_PIXELS
    width = max(width, LEAST_WIDTH_PIXELS) if titled else width
    # A title brings its own space above it.
    top = 0 if titled else MARGIN_PIXELS
    height = top + sum(rows + TITLE_PIXELS * titled for rows, _ in sizes) + MARGIN_PIXELS
    # Older Matplotlib cuts a size down to whole pixels: rounding must not cost one.
    figure = Figure(((width + 0.01) / DPI, (height + 0.01) / DPI), DPI, facecolor="white")
    bottom = height - top
    for panel, mosaic, (rows, columns) in zip(panels, mosaics, sizes, strict=True):
        bottom -= rows + TITLE_PIXELS * titled
        place = (MARGIN_PIXELS / width, bottom / height, columns / width, rows / height)
        _draw_mosaic(figure.add_axes(place), panel, mosaic)
    return figure


def _mosaic(panel: _Panel) -> Tensor:
    """Lays the images of a panel out in one, NaN in the gaps."""
    num_images, height, width = panel.images.shape
    num_rows = -(-num_images // panel.columns)
    cell = (height + panel.gap + panel.foot, width + panel.gap)
    tiles = torch.full((num_rows * panel.columns, *cell), torch.nan)
    tiles[:num_images, :height, :width] = panel.images
    tiles = tiles.view(num_rows, panel.columns, *cell).transpose(1, 2)
    mosaic = tiles.reshape(num_rows * cell[0], panel.columns * cell[1])
    return mosaic[: mosaic.shape[0] - panel.gap, : mosaic.shape[1] - panel.gap]


def _draw_mosaic(axes: Axes, panel: _Panel, mosaic: Tensor) -> None:
    """Draws a mosaic pixel by pixel, with its title and captions."""
    axes.imshow(
        mosaic.numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest", aspect="auto"
    )
    axes.set_axis_off()
    axes.set_title(panel.title, loc="left", color=INK, fontsize=9, pad=5)
    _, height, width = panel.images.shape
    for place, caption in enumerate(panel.captions):
        row, column = divmod(place, panel.columns)
        x = column * (width + panel.gap) + (width - 1) / 2
        y = row * (height + panel.gap + panel.foot) + height - 0.5 + panel.foot / 2
        axes.text(x, y, str(caption), color=INK, fontsize=6.5, ha="center", va="center")


def _quantity(name: str) -> str:
    """Returns the name of a metric without its stage and cadence."""
    return CADENCE.sub("", STAGE.sub("", name))


def _draw_curves(axes: Axes, quantity: str, curves: Mapping[str, Curve]) -> None:
    """Draws the curves of one quantity."""
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
    """Returns an interval, which must be finite and not empty."""
    bracket = Interval(str(label), float(lower), float(value), float(upper))
    if not all(math.isfinite(number) for number in bracket[1:]):
        raise ValueError(f"bounds and value of {label!r} must be finite, got {bracket[1:]}")
    if bracket.lower > bracket.upper:
        raise ValueError(f"the lower bound of {label!r} exceeds the upper: {lower} > {upper}")
    return bracket


def _draw_interval(axes: Axes, place: int, bracket: Interval) -> None:
    """Draws one interval, with its numbers to the right of the axes."""
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
    """Hides some sides of the frame, and draws the rest of it lightly."""
    axes.spines[list(hidden)].set_visible(False)
    axes.spines[:].set_color(FAINT)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)


def _number(text: str, name: str, path: str | os.PathLike[str], line: int) -> float:
    """Returns the number in a cell of a table."""
    try:
        return float(text)
    except (TypeError, ValueError):
        raise ValueError(f"{path}, line {line}: {name!r} must be a number, got {text!r}") from None
