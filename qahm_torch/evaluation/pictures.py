r"""Figures of images: grids, and images above what belongs to them."""

from __future__ import annotations

__all__ = ["generated_and_nearest", "image_grid"]

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from qahm_torch.evaluation.figures import blank_figure
from qahm_torch.evaluation.mosaics import Panel, make_panel, mosaic_of
from qahm_torch.evaluation.style import DPI, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN_PIXELS = 16
TITLE_PIXELS = 52
LEAST_WIDTH_PIXELS = 640
CAPTION_POINTS = 6.5
LABEL_POINTS = 7.5
LABEL_GAP_PIXELS = 14


def image_grid(
    images: Tensor,
    columns: int | None = None,
    captions: Sequence[object] = (),
    row_labels: Sequence[object] = (),
) -> Figure:
    r"""Returns a figure of images side by side, -1 in black and +1 in white, or in color.

    Arguments:
        images: The images with values in [-1, 1], gray of shape (n, rows, cols), or of shape
            (n, rows, cols, 3), red, green and blue of a pixel last.
        columns: The number of images in a row; None for as many as the row labels leave to each
            row, or else for whole rows that are about as many as they are long (of 11 images,
            which have no such rows, the last row lacks as few as may be).
        captions: What to write under each image, n of them or none.
        row_labels: What to write to the left of each row, one for each or none.

    Raises:
        ValueError: If `images` is not such a stack, the captions are not one for each image or the
            labels one for each row, or `columns` is not positive.

    Example:
        >>> import torch
        >>> figure = image_grid(torch.rand(20, 16, 16) * 2 - 1, columns=5)
        >>> colors = torch.rand(8, 16, 16, 3) * 2 - 1
        >>> figure = image_grid(colors, row_labels=["data", "reconstructed"])
    """
    panel = make_panel("images", images, columns, captions=captions, row_labels=row_labels)
    return _draw_panels([panel])


def generated_and_nearest(
    generated: Tensor,
    nearest: Tensor,
    distances: Tensor | None = None,
    labels: Sequence[object] = (),
    columns: int | None = None,
) -> Figure:
    r"""Returns a figure of generated images and, below, the training images nearest to them.

    Both are in the same order. A model that copies its training set shows the same images twice.

    Arguments:
        generated: The generated images with values in [-1, 1], of shape (n, rows, cols), or
            (n, rows, cols, 3) in color.
        nearest: The training image nearest to each, of the same shape.
        distances: The distance between the two, of shape (n,), the mean of which goes into the
            title.
        labels: The class of each training image, written under it; n of them or none.
        columns: The number of images in a row; None for whole rows, where there are such, in a
            figure near a square.

    Raises:
        ValueError: If the images are not two such stacks of one shape, the distances or the
            labels are not one for each image, or `columns` is not positive.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018), figure 4
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> import torch
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
            make_panel("generated", generated, columns, 2, title="Generated images"),
            make_panel("nearest", nearest, columns, 2, title=below, captions=labels),
        ]
    )


def _draw_panels(panels: Sequence[Panel]) -> Figure:
    r"""Returns a figure of panels one below the other.

    Each pixel of an image is on a whole number of pixels.
    """
    mosaics = [mosaic_of(panel) for panel in panels]
    sizes = [
        (mosaic.shape[0] * panel.scale, mosaic.shape[1] * panel.scale)
        for mosaic, panel in zip(mosaics, panels, strict=True)
    ]
    titled = any(panel.title for panel in panels)
    left = MARGIN_PIXELS + max(_label_width(panel.row_labels) for panel in panels)
    width = left + max(columns for _, columns in sizes) + MARGIN_PIXELS
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
        place = (left / wide, bottom / high, columns / wide, rows / high)
        _draw_mosaic(figure.add_axes(place), panel, mosaic)
    return figure


def _draw_mosaic(axes: Axes, panel: Panel, mosaic: Tensor) -> None:
    r"""Draws a mosaic pixel by pixel, with its title and captions."""
    if mosaic.dim() == 3:  # in color, which has no NaN: gaps are white
        levels = (mosaic.nan_to_num(nan=1) + 1) * 127.5
        mosaic = levels.round().clamp(0, 255).byte()
    axes.imshow(
        mosaic.numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest", aspect="auto"
    )
    axes.set_axis_off()
    axes.set_title(panel.title, loc="left", color=INK, fontsize=9, pad=5)
    (height, width), (down, right) = panel.shape, panel.cell
    for place, caption in enumerate(panel.captions):
        row, column = divmod(place, panel.columns)
        x = column * right + (width - 1) / 2
        y = row * down + height - 0.5 + panel.foot / 2
        text = _shortened(str(caption), right * panel.scale)
        axes.text(x, y, text, color=INK, fontsize=CAPTION_POINTS, ha="center", va="center")
    for row, label in enumerate(panel.row_labels):
        x = -0.5 - LABEL_GAP_PIXELS / panel.scale
        y = row * down + (height - 1) / 2
        axes.text(x, y, str(label), color=INK, fontsize=LABEL_POINTS, ha="right", va="center")


def _label_width(labels: Sequence[object]) -> int:
    r"""Returns how many pixels of the figure labels take to the left of their rows."""
    texts = [str(label) for label in labels if str(label).strip()]
    if not texts:
        return 0
    return max(_pixels_wide(text, LABEL_POINTS) for text in texts) + LABEL_GAP_PIXELS


def _shortened(text: str, width: int) -> str:
    r"""Returns as much of a caption as there is room for under an image so many pixels wide."""
    short = text
    while len(text) > 1 and _pixels_wide(short, CAPTION_POINTS) > width:
        text = text[:-1]
        short = text + "…"
    return short


def _pixels_wide(text: str, points: float) -> int:
    r"""Returns how many pixels of the figure a text of a size takes."""
    from matplotlib.textpath import TextPath  # only now, because it takes time

    return math.ceil(float(TextPath((0, 0), text, points).get_extents().x1) / 72 * DPI)
