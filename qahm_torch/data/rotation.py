r"""Images turned by angles of their own."""

from __future__ import annotations

__all__ = ["rotate"]

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
