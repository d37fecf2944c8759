r"""Images turned by angles of their own."""

from __future__ import annotations

__all__ = ["check_degrees", "rotate", "turned"]

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate(images: Tensor, degrees: Tensor, background: float = 0.0) -> Tensor:
    r"""Returns images turned about their middle, counterclockwise.

    Levels between pixels are interpolated linearly.

    Arguments:
        images: The images of shape (R, height, width).
        degrees: The angle of each, in degrees, of shape (R,).
        background: The level of what comes in from outside.

    Returns:
        The images of shape (R, height, width), of floating dtype.

    Raises:
        ValueError: If there is not one angle for each image.

    References:
        | An empirical evaluation of deep architectures on problems with many factors of variation
          (Larochelle et al., 2007), for MNIST turned by random angles
        | https://doi.org/10.1145/1273496.1273556

    Example:
        >>> image = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
        >>> rotate(image, torch.tensor([90.0])).round()
        tensor([[[0., 1.],
                 [0., 1.]]])
    """
    if degrees.shape != images.shape[:1]:
        raise ValueError(
            f"degrees have shape {tuple(degrees.shape)}, but {len(images)} images need one each"
        )
    height, width = images.shape[1:]
    radians = torch.deg2rad(degrees.to(torch.get_default_dtype()))
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # Where a pixel comes from: rows point down, and both axes of the grid run from -1 to 1.
    first = torch.stack([cos, -sin * height / width, zero], -1)
    second = torch.stack([sin * width / height, cos, zero], -1)
    maps = torch.stack([first, second], 1)
    pixels = images.unsqueeze(1).to(radians) - background
    grid = F.affine_grid(maps, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False).squeeze(1) + background


def turned(levels: Tensor, max_degrees: float, seed: int) -> Tensor:
    r"""Returns images (R, height, width) turned by random angles, their levels still whole.

    Arguments:
        levels: The images.
        max_degrees: The largest angle, to either side; 0 for the images as they are.
        seed: The seed of the angles, which belong to a data set and not to a run.
    """
    if max_degrees == 0:
        return levels
    share = torch.rand(len(levels), generator=torch.Generator().manual_seed(seed))
    return rotate(levels, max_degrees * (2 * share - 1)).round()


def check_degrees(max_degrees: float) -> float:
    r"""Returns a largest angle; raises ValueError if it is none."""
    if not 0 <= max_degrees <= 180:
        raise ValueError(f"max_degrees is {max_degrees}, but angles are 0 to 180")
    return max_degrees
