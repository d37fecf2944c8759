r"""How levels and classes become units: grids, noise within levels, spins, one-hot codes."""

from __future__ import annotations

__all__ = ["dequantize", "draw_spins", "grid_rows", "levels_of", "one_hot_spins"]

import torch
from torch import Tensor
from torch.nn import functional as F

from qahm_torch.data.loader import check_count


def dequantize(
    values: Tensor, num_features: int, num_levels: int, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns rows whose levels are spread by uniform noise over equal bins of [-1, 1].

    Level :math:`l` of :math:`L` becomes :math:`v = 2 (l + u) / L - 1` with u uniform in [0, 1).
    The bin of a row has volume :math:`(2 / L)^D` for D features, so that in nats

    .. math::
        \log P(l) \ge E_u[\log p(v)] + D \log(2 / L).

    u is kept 2 L machine epsilons from 0 and from 1 (6e-5 for 256 levels in float32), or rounding
    would carry some values into the next bin.

    Arguments:
        values: The rows of shape (*, num_visible), float32 or float64. The first `num_features`
            units are values of the grid :math:`2 l / (L - 1) - 1`, the others remain as they are.
        num_features: The number D of features.
        num_levels: The number L of levels, at least 2.
        generator: The source of the noise; torch's global generator by default.

    Returns:
        The rows of shape (*, num_visible).

    Raises:
        ValueError: If there are fewer units than features or fewer than two levels.

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
    features, _ = _split_units(values, num_features)
    margin = 2 * num_levels * torch.finfo(values.dtype).eps
    noise = _uniform(features, generator).clamp_(margin, 1 - margin)
    # The same as above with l = (L - 1) (value + 1) / 2, in fewer steps: this is done per batch.
    rows = values.clone()
    noise.mul_(2 / num_levels).sub_(1 / num_levels)
    rows[..., :num_features].mul_((num_levels - 1) / num_levels).add_(noise)
    return rows


def draw_spins(
    values: Tensor, num_features: int, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns rows whose features are independent spins with the given expectations.

    Arguments:
        values: The rows of shape (*, num_visible). The first `num_features` units are expected
            spins in [-1, 1], so +1 has probability (1 + value) / 2; the others remain as they are.
        num_features: The number of features.
        generator: The source of the draws; torch's global generator by default.

    Returns:
        The rows of shape (*, num_visible).

    Raises:
        ValueError: If there are fewer units than features.

    Example:
        >>> draw_spins(torch.tensor([-1.0, 1.0, -1.0]), num_features=2)
        tensor([-1.,  1., -1.])
    """
    features, classes = _split_units(values, num_features)
    is_up = _uniform(features, generator) < (1 + features) / 2
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
    outside = labels[(labels < 0) | (labels >= num_classes)].tolist()
    if outside:
        raise ValueError(f"labels hold {outside[0]}, but the classes are 0 to {num_classes - 1}")
    spins = 2 * F.one_hot(labels.long(), num_classes) - 1
    return spins.to(torch.get_default_dtype())


def grid_rows(levels: Tensor, num_levels: int, labels: Tensor, num_classes: int) -> Tensor:
    r"""Returns rows of levels, as values of the grid on [-1, 1], and of class units after them.

    Arguments:
        levels: The whole numbers from 0 to L - 1, of shape (R, num_features).
        num_levels: The number L of levels; level l is the value :math:`2 l / (L - 1) - 1`.
        labels: The whole numbers from 0 to num_classes - 1, of shape (R,).
        num_classes: The number of classes; 0 for rows without class units.

    Returns:
        The rows of shape (R, num_features + num_classes), of torch's default dtype.

    Raises:
        ValueError: If a label is out of range.

    Example:
        >>> grid_rows(torch.tensor([[0, 1, 2]]), 3, torch.tensor([1]), 2)
        tensor([[-1.,  0.,  1., -1.,  1.]])
    """
    features = 2 * levels.to(torch.get_default_dtype()) / (num_levels - 1) - 1
    if num_classes == 0:
        return features
    return torch.cat([features, one_hot_spins(labels, num_classes)], dim=-1)


def levels_of(
    name: str, values: Tensor, told: int | None = None, *, is_all: bool = False
) -> int | None:
    r"""Returns the number L of levels that values have by their dtype; None for floats.

    The one rule for data sets and for batches: floats are taken as they are, booleans are bits,
    with L = 2, and bytes have L = 256. Other whole numbers have the L that is told, which comes
    first for bytes, too. Which values there are decides nothing, or a batch of dark pictures
    would be one of bits.

    Arguments:
        name: What the values are called, for an error.
        values: The values, of any shape.
        told: What is known of L: from the user, or from units that take spins only.
        is_all: Whether these are all the values that there are. Bytes of which none is above 1
            are then asked about, since they look like bits and would all be dark.

    Raises:
        TypeError: If the number is told of floats, or is needed and not told.

    Example:
        >>> levels_of("values", torch.tensor([True])), levels_of("values", torch.tensor([0.5]))
        (2, None)
        >>> dark = torch.tensor([0, 1], dtype=torch.uint8)
        >>> levels_of("values", dark), levels_of("values", dark, told=2)
        (256, 2)
    """
    if values.is_floating_point():
        if told is not None:
            raise TypeError(
                f"num_levels is {told}, but {name} have dtype {values.dtype}: levels are whole "
                "numbers, and floats are taken as they are"
            )
        return None
    if told is not None or values.dtype == torch.bool:
        return told or 2
    if values.dtype != torch.uint8:
        raise TypeError(
            f"{name} have dtype {values.dtype}, whose range is not known: say num_levels, or make "
            "them floats, such as spins of -1 and +1"
        )
    if is_all and not (values > 1).any():
        raise TypeError(
            f"{name} are bytes of which none is above 1: for bits make them booleans, by "
            "values.bool(); for 256 levels of gray make them floats, by 2 * values / 255 - 1"
        )
    return 256


def _split_units(values: Tensor, num_features: int) -> tuple[Tensor, Tensor]:
    check_count("num_features", num_features, 0, values.shape[-1])
    return values[..., :num_features], values[..., num_features:]


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
