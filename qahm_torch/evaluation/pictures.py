r"""Figures of images: grids, and images above what belongs to them."""

from __future__ import annotations

__all__ = ["data_and_reconstructed", "generated_and_nearest", "image_grid"]

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from qahm_torch.evaluation.figures import blank_figure
from qahm_torch.evaluation.style import DPI, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE_PIXELS = 96
MARGIN_PIXELS = 16
TITLE_PIXELS = 52
LEAST_WIDTH_PIXELS = 640


def image_grid(images: Tensor, columns: int = 10, captions: Sequence[object] = ()) -> Figure:
    r"""Returns a figure of images side by side, -1 in black and +1 in white.

    Arguments:
        images: The gray images with values in [-1, 1], of shape (n, rows, cols).
        columns: The number of images in a row.
        captions: What to write under each image, n of them or none.

    Raises:
        ValueError: If `images` is not such a stack, the captions are not one for each image, or
            `columns` is not positive.

    Example:
        >>> figure = image_grid(torch.rand(20, 16, 16) * 2 - 1, columns=5)
    """
    return _draw_panels([_panel("images", images, columns, captions=captions)])


def generated_and_nearest(
    generated: Tensor,
    nearest: Tensor,
    distances: Tensor | None = None,
    labels: Sequence[object] = (),
    columns: int = 10,
) -> Figure:
    r"""Returns a figure of generated images and, below, the training images nearest to them.

    Both are in the same order. A model that copies its training set shows the same images twice.

    Arguments:
        generated: The generated images with values in [-1, 1], of shape (n, rows, cols).
        nearest: The training image nearest to each, of shape (n, rows, cols).
        distances: The distance between the two, of shape (n,), the mean of which goes into the
            title.
        labels: The class of each training image, written under it; n of them or none.
        columns: The number of images in a row.

    Raises:
        ValueError: If the images are not two such stacks of one shape, the distances or the
            labels are not one for each image, or `columns` is not positive.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018), figure 4
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> digits = torch.rand(30, 16, 16) * 2 - 1
        >>> figure = generated_and_nearest(digits, digits.sign(), labels=30 * ["7"])
    """
    if nearest.shape != generated.shape:
        raise ValueError(
            f"nearest has shape {tuple(nearest.shape)}, but generated has "
            f"{tuple(generated.shape)}: one is needed for each"
        )
    if distances is not None and distances.shape != generated.shape[:1]:
        raise ValueError(
            f"distances has shape {tuple(distances.shape)}, but one for each image has "
            f"{tuple(generated.shape[:1])}"
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


def data_and_reconstructed(data: Tensor, reconstructed: Tensor, columns: int = 10) -> Figure:
    r"""Returns a figure of images of the data and, below, what a machine has made of them.

    Arguments:
        data: The images with values in [-1, 1], of shape (n, rows, cols).
        reconstructed: The reconstruction of each, in the same order, of shape (n, rows, cols).
        columns: The number of images in a row.

    Raises:
        ValueError: If the images are not two such stacks of one shape, or `columns` is not
            positive.

    Example:
        >>> digits = torch.rand(8, 16, 16) * 2 - 1
        >>> figure = data_and_reconstructed(digits.sign(), digits)
    """
    if reconstructed.shape != data.shape:
        raise ValueError(
            f"reconstructed has shape {tuple(reconstructed.shape)}, but data has "
            f"{tuple(data.shape)}: one is needed for each"
        )
    return _draw_panels(
        [
            _panel("data", data, columns, "data"),
            _panel("reconstructed", reconstructed, columns, "reconstructed"),
        ]
    )


class _Panel(NamedTuple):
    r"""A titled block of images, laid out in columns."""

    images: Tensor
    columns: int
    title: str
    captions: Sequence[object]

    @property
    def scale(self) -> int:
        r"""The number of pixels of the figure to a side of an image's pixel."""
        return max(1, round(TILE_PIXELS / max(self.images.shape[1:])))

    @property
    def gap(self) -> int:
        r"""The space between two images, in pixels of an image."""
        return max(1, round(5 / self.scale))

    @property
    def foot(self) -> int:
        r"""The space for a caption under an image, in pixels of an image."""
        return math.ceil(26 / self.scale) if self.captions else 0


def _panel(
    name: str,
    images: Tensor,
    columns: int,
    title: str = "",
    captions: Sequence[object] = (),
) -> _Panel:
    r"""Returns a panel of images, after a look at whether they can be drawn."""
    if images.dim() != 3 or 0 in images.shape:
        raise ValueError(
            f"{name} has shape {tuple(images.shape)}, but images have (n, rows, cols)"
        )
    images = images.detach().float().cpu()
    if not (images.abs() <= 1 + 1e-3).all():
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"{name} has values from {low:g} to {high:g}, but they lie in [-1, 1]")
    if len(captions) not in (0, len(images)):
        raise ValueError(
            f"{name} has {len(images)} images, but {len(captions)} captions: give each one"
        )
    if columns < 1:
        raise ValueError(f"columns is {columns}, but at least 1 image in a row is needed")
    return _Panel(images, min(columns, len(images)), title, captions)


def _draw_panels(panels: Sequence[_Panel]) -> Figure:
    r"""Returns a figure of panels one below the other.

    Each pixel of an image is on a whole number of pixels.
    """
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
    wide, high = width + 0.001, height + 0.001
    figure = blank_figure(wide / DPI, high / DPI)
    bottom = height - top
    for panel, mosaic, (rows, columns) in zip(panels, mosaics, sizes, strict=True):
        bottom -= rows + TITLE_PIXELS * titled
        place = (MARGIN_PIXELS / wide, bottom / high, columns / wide, rows / high)
        _draw_mosaic(figure.add_axes(place), panel, mosaic)
    return figure


def _mosaic(panel: _Panel) -> Tensor:
    r"""Returns the images of a panel laid out in one, with NaN in the gaps."""
    num_images, height, width = panel.images.shape
    num_rows = -(-num_images // panel.columns)
    cell = (height + panel.gap + panel.foot, width + panel.gap)
    tiles = torch.full((num_rows * panel.columns, *cell), torch.nan)
    tiles[:num_images, :height, :width] = panel.images
    tiles = tiles.view(num_rows, panel.columns, *cell).transpose(1, 2)
    mosaic = tiles.reshape(num_rows * cell[0], panel.columns * cell[1])
    return mosaic[: mosaic.shape[0] - panel.gap, : mosaic.shape[1] - panel.gap]


def _draw_mosaic(axes: Axes, panel: _Panel, mosaic: Tensor) -> None:
    r"""Draws a mosaic pixel by pixel, with its title and captions."""
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
