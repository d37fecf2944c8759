r"""How images lie in rows: gray or in color, pixel after pixel."""

from __future__ import annotations

__all__ = ["FlatRows", "ImageShape", "check_image_shape", "flat_rows"]

import math
from typing import NamedTuple, TypeAlias

from torch import Tensor

# (rows, columns) of gray pixels, or (rows, columns, 3) of red, green and blue of each pixel
ImageShape: TypeAlias = tuple[int, int] | tuple[int, int, int]
_FORMS = (
    "gray images (R, rows, columns) or (R, 1, rows, columns), and color images (R, 3, rows, "
    "columns) or (R, rows, columns, 3)"
)


class FlatRows(NamedTuple):
    r"""Rows of values, and the shape of the images that they are, if they are some."""

    rows: Tensor  # (R, N)
    image_shape: ImageShape | None


def check_image_shape(image_shape: ImageShape, num_features: int) -> None:
    r"""Looks at whether so many features are an image of this shape.

    Raises:
        ValueError: If it has neither rows and columns nor, besides, 3 colors, or another number of
            values.
    """
    if len(image_shape) not in (2, 3) or image_shape[2:] not in ((), (3,)):
        raise ValueError(
            f"image_shape is {image_shape}, but it is (rows, columns), or (rows, columns, 3) in "
            "color"
        )
    if math.prod(image_shape) != num_features:
        raise ValueError(
            f"image_shape is {image_shape}, but the {num_features} features are not "
            f"{math.prod(image_shape)} values of pixels"
        )


def flat_rows(name: str, values: Tensor) -> FlatRows:
    r"""Returns rows of what is a table or a stack of images.

    A row is pixel after pixel, and red, green and blue of a pixel are side by side, whichever
    comes first in a stack in color.

    Arguments:
        name: What the values are called, for an error.
        values: Of shape (R, N), of gray images (R, rows, columns) or (R, 1, rows, columns), or of
            color images (R, 3, rows, columns) or (R, rows, columns, 3).

    Raises:
        ValueError: If the shape is another, such as that of images of two channels, or it may be
            either of color, with 3 in both places.
    """
    shape = tuple(values.shape)
    if values.ndim == 2:
        return FlatRows(values, None)
    if values.ndim == 3 or (values.ndim == 4 and shape[1] == 1):
        return FlatRows(values.flatten(1), (shape[-2], shape[-1]))
    if values.ndim != 4:
        raise ValueError(f"{name} has shape {shape}, but rows have (R, N), {_FORMS}")
    if shape[1] == 3 == shape[3]:
        raise ValueError(
            f"{name} has shape {shape}, of which it is not known whether colors come first or "
            "last: make rows (R, N) of them, by values.movedim(1, -1).flatten(1) or by "
            "values.flatten(1)"
        )
    if 3 not in (shape[1], shape[3]):
        raise ValueError(
            f"{name} has shape {shape}, but of 4 dimensions there are {_FORMS}: make rows (R, N) "
            f"of images of {shape[1]} channels, by values.flatten(1) or, for a pixel after the "
            "other, by values.movedim(1, -1).flatten(1)"
        )
    pixels = values if shape[3] == 3 else values.movedim(1, -1)
    return FlatRows(pixels.flatten(1), (pixels.shape[1], pixels.shape[2], 3))
