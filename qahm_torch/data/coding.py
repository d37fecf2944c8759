r"""How images and classes become visible units: noise within grey levels, spins, one-hot codes."""

from __future__ import annotations

__all__ = ["dequantize", "draw_spins", "one_hot_spins"]

import torch
from torch import Tensor
from torch.nn import functional as F

from qahm_torch.data.loader import check_count


def dequantize(
    values: Tensor, num_pixels: int, num_levels: int, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns rows whose grey levels are spread by uniform noise over equal bins of [-1, 1].

    Level :math:`l` of :math:`L` becomes :math:`v = 2 (l + u) / L - 1` with u uniform in [0, 1).
    The bin of an image has volume :math:`(2 / L)^P` for P pixels, so that in nats

    .. math::
        \log P(l) \ge E_u[\log p(v)] + P \log(2 / L).

    u is kept 2 L machine epsilons from 0 and from 1 (6e-5 for 256 levels in float32), or rounding
    would carry some values into the next bin.

    Arguments:
        values: The rows of shape (*, num_visible), float32 or float64. The first `num_pixels`
            units are values of the grid :math:`2 l / (L - 1) - 1`, the others remain as they are.
        num_pixels: The number of image units.
        num_levels: The number of grey levels, at least 2.
        generator: The source of the noise; torch's global generator by default.

    Returns:
        The rows of shape (*, num_visible).

    Raises:
        ValueError: If there are fewer units than pixels or fewer than two levels.

    References:
        | A note on the evaluation of generative models (Theis et al., 2015)
        | https://arxiv.org/abs/1511.01844

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> v = dequantize(torch.tensor([-1.0, 1.0, 1.0]), 2, 2, generator)
        >>> bool(-1 <= v[0] < 0 <= v[1] < 1), v[2]
        (True, tensor(1.))
    """
    check_count("num_levels", num_levels, 2)
    pixels, _ = _split_units(values, num_pixels)
    margin = 2 * num_levels * torch.finfo(values.dtype).eps
    noise = _uniform(pixels, generator).clamp_(margin, 1 - margin)
    # The same as above with l = (L - 1) (value + 1) / 2, in fewer steps: this is done per batch.
    rows = values.clone()
    noise.mul_(2 / num_levels).sub_(1 / num_levels)
    rows[..., :num_pixels].mul_((num_levels - 1) / num_levels).add_(noise)
    return rows


def draw_spins(
    values: Tensor, num_pixels: int, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns rows whose image units are independent spins with the given expectations.

    Arguments:
        values: The rows of shape (*, num_visible). The first `num_pixels` units are expected
            spins in [-1, 1], so +1 has probability (1 + value) / 2; the others remain as they are.
        num_pixels: The number of image units.
        generator: The source of the draws; torch's global generator by default.

    Returns:
        The rows of shape (*, num_visible).

    Raises:
        ValueError: If there are fewer units than pixels.

    Example:
        >>> draw_spins(torch.tensor([-1.0, 1.0, -1.0]), num_pixels=2)
        tensor([-1.,  1., -1.])
    """
    pixels, classes = _split_units(values, num_pixels)
    is_up = _uniform(pixels, generator) < (1 + pixels) / 2
    return torch.cat([2 * is_up.to(values.dtype) - 1, classes], dim=-1)


def one_hot_spins(labels: Tensor, num_classes: int) -> Tensor:
    r"""Returns labels coded as spins: +1 for the class and -1 for the others.

    Arguments:
        labels: The whole numbers from 0 to num_classes - 1, of shape (*).
        num_classes: The number of classes.

    Returns:
        The spins of shape (*, num_classes), of torch's default dtype.

    Raises:
        ValueError: If a label is out of range.

    Example:
        >>> one_hot_spins(torch.tensor([0, 2]), 3)
        tensor([[ 1., -1., -1.],
                [-1., -1.,  1.]])
    """
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, got {outside.unique().tolist()}"
        )
    spins = 2 * F.one_hot(labels.long(), num_classes) - 1
    return spins.to(torch.get_default_dtype())


def _split_units(values: Tensor, num_pixels: int) -> tuple[Tensor, Tensor]:
    check_count("num_pixels", num_pixels, 0, values.shape[-1])
    return values[..., :num_pixels], values[..., num_pixels:]


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
