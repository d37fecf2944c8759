r"""What a transverse field adds to the logarithm of a weight, by integration over the field."""

from __future__ import annotations

__all__ = ["FieldIntegral", "field_integral"]

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising
from qahm_torch.samplers.path_integral import PathIntegralSampler, WorldLines


class FieldIntegral(NamedTuple):
    r"""Estimates in nats, and their standard errors."""

    value: Tensor
    stderr: Tensor


@torch.no_grad()
def field_integral(
    ising: Ising,
    spins: Tensor | None = None,
    *,
    num_lines: int = 64,
    num_points: int = 8,
    num_rounds: int = 8,
    sampler: PathIntegralSampler | None = None,
    generator: torch.Generator | None = None,
) -> FieldIntegral:
    r"""Returns by how much a transverse field raises the logarithm of a weight.

    .. math::
        \log W(\Gamma) - \log W(0)
            = \int_0^1 \frac{\langle n \rangle_{t \Gamma}}{t} \, dt,

    where n is the number of kinks of all world lines, which are free for the weight :math:`W =
    Z(\Gamma)` and held at time 0 for :math:`W = \langle s | e^{-H} | s \rangle`, whose logarithm
    at 0 is :math:`-E(s)`. The integral is taken by Gauss-Legendre quadrature, from weak fields to
    strong ones, on which the lines run on.

    Arguments:
        ising: The model.
        spins: The spins s of shape (B, N) to hold at time 0, each of which has its own integral;
            None for the partition function.
        num_lines: The number of chains, for each s where there are some.
        num_points: The number of strengths of the field.
        num_rounds: How often the kinks are counted at each of them; before, the lines run as long
            as it takes to count them once.
        sampler: What runs the lines between two counts, by default for 5 sweeps.
        generator: The source of random numbers.

    Returns:
        Values and standard errors, of shape (B) or (). The errors are those of the means over
        chains, which are independent of each other.

    Raises:
        ValueError: If a number is too small.

    References:
        | Simulating normalizing constants: from importance sampling to bridge sampling to path
          sampling (Gelman & Meng, 1998)
        | https://doi.org/10.1214/ss/1028905934

    Example:
        >>> from qahm_torch import CouplingGraph, exact_log_partition
        >>> graph, h, J = CouplingGraph.complete(3), torch.zeros(3), torch.ones(3)
        >>> value, stderr = field_integral(Ising(graph, h, J, gamma=1.0), num_lines=1000)
        >>> log_z = exact_log_partition(Ising(graph, h, J)) + value
        >>> bool((log_z - exact_log_partition(Ising(graph, h, J, gamma=1.0))).abs() < 5 * stderr)
        True
    """
    for name, number, least in (
        ("num_lines", num_lines, 2),
        ("num_points", num_points, 1),
        ("num_rounds", num_rounds, 1),
    ):
        if number < least:
            raise ValueError(f"{name} is {number}, but it is at least {least}")
    shape = () if spins is None else (len(spins),)
    if ising.gamma is None:
        zeros = ising.h.new_zeros(shape)
        return FieldIntegral(zeros, zeros.clone())
    sampler = sampler or PathIntegralSampler(num_sweeps=5)
    clamp = None if spins is None else spins.to(ising.h).repeat_interleave(num_lines, 0)
    chains: Chains | None = None
    rates = torch.zeros(num_lines if clamp is None else len(clamp), dtype=torch.float64)
    for strength, weight in _quadrature(num_points):
        model = Ising(ising.graph, ising.h, ising.J, ising.gamma * strength)
        for turn in range(num_rounds + 1):
            answer = sampler.sample(
                model, len(rates), clamp=clamp, state=chains, generator=generator
            )
            assert isinstance(answer.state, WorldLines)
            chains = answer.state
            if turn > 0:
                kinks = answer.state.num_kinks.sum(-1).double().cpu()
                rates += weight * kinks / (strength * num_rounds)
    rates = rates.view(*shape, num_lines).to(ising.h)
    return FieldIntegral(rates.mean(-1), rates.std(-1) / num_lines**0.5)


def _quadrature(num_points: int) -> list[tuple[float, float]]:
    r"""Returns points between 0 and 1 in increasing order, and their weights."""
    points, weights = np.polynomial.legendre.leggauss(num_points)
    return [(float(x + 1) / 2, float(w) / 2) for x, w in zip(points, weights, strict=True)]
