r"""Expectations of parities, of which the maximum mean discrepancy is a mixture."""

from __future__ import annotations

__all__ = ["ParityMoments", "draw_subsets", "parity_moments", "product_moments"]

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.priors.mmd import check_bandwidths


class ParityMoments(NamedTuple):
    r"""Unbiased estimates of the mean of each parity and of the square of that mean, (A,).

    A parity is :math:`Z_a = \prod_{i \in a} (-s_i)`: +1 where an even number of the qubits in a
    subset a are read as 1.
    """

    mean: Tensor
    square: Tensor

    def squared_gaps(self, other: ParityMoments) -> Tensor:
        r"""Returns unbiased estimates of the squared gap to other, independent moments, (A,).

        Their mean over the subsets of `draw_subsets` is an unbiased estimate of the squared
        maximum mean discrepancy.
        """
        return self.square - 2 * self.mean * other.mean + other.square


def draw_subsets(
    num_subsets: int,
    num_spins: int,
    bandwidths: Sequence[float],
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns random subsets of spins, whose parities make up the maximum mean discrepancy.

    .. math::
        \mathrm{MMD}^2(p, q) = E_a \big[ (\langle Z_a \rangle_p - \langle Z_a \rangle_q)^2 \big],
        \qquad P(i \in a) = \tfrac12 \big( 1 - e^{-1 / 2 \sigma^2} \big),

    independently for each spin i, for the kernel :math:`e^{-d / 2 \sigma^2}` of the number d of
    spins that differ. Each subset is of one of the bandwidths, at random.

    Arguments:
        num_subsets: The number of subsets A.
        num_spins: The number of spins N.
        bandwidths: The bandwidths :math:`\sigma` of a mean of kernels.
        generator: The source of random numbers, on the CPU.

    Returns:
        1 where a spin is in a subset and 0 elsewhere, of shape (A, N).

    Raises:
        ValueError: If a bandwidth is not positive.

    References:
        | Train on classical, deploy on quantum: scaling generative quantum machine learning to a
          thousand qubits (Recio-Armengol et al., 2025)
        | https://arxiv.org/abs/2503.02934
    """
    check_bandwidths(bandwidths)
    rates = torch.tensor([(1 - math.exp(-1 / (2 * b**2))) / 2 for b in bandwidths])
    which = torch.randint(len(rates), (num_subsets, 1), generator=generator)
    return torch.bernoulli(rates[which].expand(-1, num_spins), generator=generator)


def parity_moments(spins: Tensor, subsets: Tensor) -> ParityMoments:
    r"""Returns the moments of at least 2 samples, (S, N), for subsets (A, N)."""
    return moments_of(1 - 2 * ((subsets @ (spins > 0).to(subsets).T) % 2))


def product_moments(means: Tensor, subsets: Tensor) -> ParityMoments:
    r"""Returns the moments of independent spins of given means (N,), for subsets (A, N)."""
    mean = torch.where(subsets > 0, -means, 1.0).prod(-1)
    return ParityMoments(mean, mean.square())


def moments_of(values: Tensor) -> ParityMoments:
    r"""Returns the moments of independent values, (A, S), whose mean is a parity's."""
    total, size = values.sum(-1), values.shape[-1]
    square = (total.square() - values.square().sum(-1)) / (size * (size - 1))
    return ParityMoments(total / size, square)
