r"""Images laid out in one, in rows that are whole, with gaps between them."""

from __future__ import annotations

__all__ = ["TEXT_PIXELS", "Panel", "even_columns", "make_panel", "mosaic_of"]

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TILE_PIXELS = 96
TEXT_PIXELS = 26  # the height of a line of text


class Panel(NamedTuple):
    r"""A titled block of images, laid out in columns."""

    images: Tensor  # (n, rows, cols), or (n, rows, cols, 3) in color
    columns: int
    title: str
    captions: Sequence[object]
    row_labels: Sequence[object]

    @property
    def shape(self) -> tuple[int, int]:
        r"""The numbers of rows and columns of an image."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def scale(self) -> int:
        r"""The number of pixels of the figure to a side of an image's pixel."""
        return max(1, round(TILE_PIXELS / max(self.shape)))

    @property
    def gap(self) -> int:
        r"""The space between two images, in pixels of an image."""
        return max(1, round(5 / self.scale))

    @property
    def foot(self) -> int:
        r"""The space for a text under an image, in pixels of an image."""
        text = math.ceil(TEXT_PIXELS / self.scale)
        if self.captions:
            return text
        # A label beside a row needs some only where images are lower than it is.
        return max(0, text - self.shape[0] - self.gap) if self.row_labels else 0

    @property
    def cell(self) -> tuple[int, int]:
        r"""The numbers of rows and columns from an image to the next one."""
        return self.shape[0] + self.gap + self.foot, self.shape[1] + self.gap


def even_columns(num_images: int, num_panels: int = 1) -> int:
    r"""Returns in how many columns images stand in whole rows, and the figure is near a square.

    Where no such number is near, as of 11 images, it is the one whose last row lacks the fewest.

    Arguments:
        num_images: The number of images in a panel.
        num_panels: The number of panels of so many images, one below the other.

    Example:
        >>> [even_columns(n) for n in (9, 20, 64, 7, 11)]
        [3, 5, 8, 7, 4]
        >>> even_columns(40, num_panels=2)
        10
    """
    square = math.sqrt(num_images * num_panels)
    fewest = min(num_images, math.ceil(square))
    most = max(fewest, min(num_images, math.floor(3 * square)))
    return min(range(fewest, most + 1), key=lambda columns: (-num_images % columns, columns))


def make_panel(
    name: str,
    images: Tensor,
    columns: int | None,
    num_panels: int = 1,
    *,
    title: str = "",
    captions: Sequence[object] = (),
    row_labels: Sequence[object] = (),
) -> Panel:
    r"""Returns a panel of images, after a look at whether they can be drawn.

    Arguments:
        name: What the images are called, for an error.
        images: The images, of shape (n, rows, cols), or (n, rows, cols, 3) in color.
        columns: The number of images in a row; None for what the row labels leave to each row, or
            else for `even_columns`.
        num_panels: The number of panels like this one in the figure.
        title: What to write above the panel.
        captions: What to write under each image, n of them or none.
        row_labels: What to write to the left of each row, one for each or none.

    Raises:
        ValueError: If they cannot, for one of the reasons that `image_grid` names.
    """
    _check_shape(name, tuple(images.shape))
    images = images.detach().float().cpu()
    if not (images.abs() <= 1 + 1e-3).all():
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"{name} has values from {low:g} to {high:g}, but they lie in [-1, 1]")
    if len(captions) not in (0, len(images)):
        raise ValueError(
            f"{name} has {len(images)} images, but {len(captions)} captions: give each one"
        )
    if columns is None and row_labels:
        columns = math.ceil(len(images) / len(row_labels))
    elif columns is None:
        columns = even_columns(len(images), num_panels)
    if columns < 1:
        raise ValueError(f"columns is {columns}, but at least 1 image in a row is needed")
    num_rows = math.ceil(len(images) / columns)
    if len(row_labels) not in (0, num_rows):
        raise ValueError(
            f"{name} has {len(images)} images in {num_rows} rows of {columns}, but "
            f"{len(row_labels)} row_labels: give each row one"
        )
    return Panel(images, min(columns, len(images)), title, captions, row_labels)


def mosaic_of(panel: Panel) -> Tensor:
    r"""Returns the images of a panel laid out in one, with NaN in the gaps."""
    num_images, height, width, *colors = panel.images.shape
    num_rows = math.ceil(num_images / panel.columns)
    tiles = torch.full((num_rows * panel.columns, *panel.cell, *colors), torch.nan)
    tiles[:num_images, :height, :width] = panel.images
    tiles = tiles.unflatten(0, (num_rows, panel.columns)).transpose(1, 2)
    mosaic: Tensor = tiles.flatten(2, 3).flatten(0, 1)
    return mosaic[: mosaic.shape[0] - panel.gap, : mosaic.shape[1] - panel.gap]


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    is_color = len(shape) == 4 and shape[3] == 3
    if 0 not in shape and (len(shape) == 3 or is_color):
        return
    told = f"{name} has shape {shape}, but images have (n, rows, cols), or (n, rows, cols, 3)"
    if len(shape) == 4 and shape[1] == 3:
        raise ValueError(f"{told} in color: put colors last by {name}.movedim(1, -1)")
    raise ValueError(f"{told} in color")
