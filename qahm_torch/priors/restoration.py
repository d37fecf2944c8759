r"""Visible spins that are not known, restored from those that are."""

from __future__ import annotations

__all__ = ["restore"]

import torch
from torch import Tensor

from qahm_torch.priors.boltzmann import BoltzmannPrior
from qahm_torch.samplers import Sampler


@torch.no_grad()
def restore(
    prior: BoltzmannPrior,
    visible: Tensor,
    num_samples: int = 100,
    *,
    sampler: Sampler | None = None,
    batch_size: int = 20,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns visible spins as they are where they are known, and their means where they are not.

    .. math::
        \hat v_i = \langle v_i \mid v_{\rm known} \rangle
        \approx \frac1S \sum_k v_i^k, \qquad v^k \sim p(v \mid v_{\rm known})

    Known spins are held, so what is drawn is the law of the others given them. The sign of a mean
    is the more likely value, and the spin is wrong with probability
    :math:`(1 - |\hat v_i|) / 2`, if the prior is right.

    On a device, a held spin has no qubit: what it does to free ones is added to their fields,

    .. math:: h'_i = h_i + \sum_{j \text{ held}} J_{ij} s_j,

    and each row with other known spins is a problem of its own (one for each gauge), so that the
    device is programmed once per picture.

    Arguments:
        prior: The prior.
        visible: Visible spins of shape (B, N_visible), +-1, or NaN where they are not known.
        num_samples: The number of samples S for each row.
        sampler: The sampler; None for that of the prior. One of single spins, such as
            `GibbsSampler`, comes to a halt on the strands of an `EmbeddedPrior`;
            `AnnealedSampler` does not.
        batch_size: The number of rows at a time, which are problems that a device has at once.
        generator: The source of random numbers.

    Returns:
        The values of shape (B, N_visible).

    Raises:
        ValueError: If the spins are of a wrong shape, or neither NaN nor -1 or +1.

    Example:
        >>> from qahm_torch import QuantumPriorLayer
        >>> layer = QuantumPriorLayer(3)
        >>> with torch.no_grad():
        ...     layer.J.fill_(-2.0)  # all spins want to be equal
        Parameter containing:
        tensor([-2., -2., -2.], requires_grad=True)
        >>> values = restore(layer, torch.tensor([[1.0, torch.nan, 1.0], [-1.0, -1.0, torch.nan]]))
        >>> values.sign()
        tensor([[ 1.,  1.,  1.],
                [-1., -1., -1.]])
    """
    if visible.ndim != 2 or visible.shape[1] != prior.num_visible:
        raise ValueError(
            f"visible has shape {tuple(visible.shape)}, but rows of {prior.num_visible} visible "
            f"spins have (B, {prior.num_visible})"
        )
    known = ~visible.isnan()
    strange = visible[known & (visible.abs() != 1)]
    if len(strange):
        raise ValueError(f"visible holds {float(strange[0])}, but -1, +1 or NaN is needed")
    if len(visible) == 0:
        return visible.clone()
    parts = []
    for rows in visible.nan_to_num(nan=0.0).split(batch_size):
        clamp = prior.clamp_of(rows).repeat_interleave(num_samples, 0)
        drawn = (sampler or prior.sampler).sample(
            prior.ising(), len(clamp), clamp=clamp, generator=generator
        )
        spins = prior.to_visible(drawn.spins).view(len(rows), num_samples, -1)
        parts.append(spins.to(visible).mean(1))
    return torch.where(known, visible, torch.cat(parts))
