r"""Images of which pixels are hidden: NaN, at random places or in a block."""

from __future__ import annotations

__all__ = ["hide_block", "hide_pixels"]

import math

import torch
from torch import Tensor

from qahm_torch.data.image_rows import ImageShape
from qahm_torch.data.loader import check_count


def hide_pixels(
    rows: Tensor, num_pixels: int, fraction: float, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns rows in which a fraction of the pixels, the same number in each, is NaN.

    The number is rounded to a whole one; all sets of so many pixels are equally likely.

    Arguments:
        rows: The rows of shape (B, num_visible), whose first units are the pixels of an image.
            The others remain as they are.
        num_pixels: The number of pixels.
        fraction: The fraction of them to hide, from 0 to 1.
        generator: The source of the places; torch's global generator by default.

    Raises:
        ValueError: If the fraction is none, or there are fewer units than pixels.

    Example:
        >>> rows = hide_pixels(torch.ones(5, 12), num_pixels=10, fraction=0.3)
        >>> rows.isnan().sum(-1)
        tensor([3, 3, 3, 3, 3])
    """
    check_count("num_pixels", num_pixels, 0, rows.shape[-1])
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}, but it is from 0 to 1")
    keys = torch.rand(len(rows), num_pixels, generator=generator, device=rows.device)
    # Places in a random order: the first so many are hidden.
    hidden = keys.argsort(-1).argsort(-1) < round(fraction * num_pixels)
    return _hide(rows, hidden)


def hide_block(
    rows: Tensor,
    image_shape: ImageShape,
    block_shape: tuple[int, int],
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns rows in which a block of pixels, at a random place in each, is NaN.

    Of a pixel in color all three values are.

    Arguments:
        rows: The rows of shape (B, num_visible), whose first units are the pixels of an image, row
            by row. The others remain as they are.
        image_shape: The numbers of rows and columns of the image, and 3 besides where it is in
            color.
        block_shape: The numbers of rows and columns of the block, which lies in the image wholly.
        generator: The source of the places; torch's global generator by default.

    Raises:
        ValueError: If the block is not within the image, or there are fewer units than pixels.

    Example:
        >>> rows = hide_block(torch.ones(1, 6), (2, 3), (2, 1))
        >>> rows.view(2, 3).isnan().sum(0).sort().values
        tensor([0, 0, 2])
    """
    check_count("the number of values of pixels", math.prod(image_shape), 0, rows.shape[-1])
    hidden = torch.ones(len(rows), 1, 1, dtype=torch.bool, device=rows.device)
    for dim, (size, extent) in enumerate(zip(image_shape[:2], block_shape, strict=True)):
        check_count(f"block_shape[{dim}]", extent, 1, size)
        start = torch.randint(size - extent + 1, (len(rows), 1), generator=generator)
        at = torch.arange(size) - start
        inside = ((at >= 0) & (at < extent)).to(rows.device)
        hidden = hidden & inside.unsqueeze(2 - dim)
    values = hidden.flatten(1).repeat_interleave(math.prod(image_shape[2:]), dim=1)
    return _hide(rows, values)


def _hide(rows: Tensor, hidden: Tensor) -> Tensor:
    values = rows.clone()
    values[:, : hidden.shape[1]].masked_fill_(hidden, torch.nan)
    return values
