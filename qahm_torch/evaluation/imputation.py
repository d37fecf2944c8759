r"""Missing entries of visible states, filled in by a machine."""

from __future__ import annotations

__all__ = ["Imputation", "impute"]

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.nn import HelmholtzMachine


class Imputation(NamedTuple):
    r"""What a machine makes of visible states with missing units."""

    mean: Tensor  # (B, *): the mean of filled states, or of a statistic of them
    log_prob: Tensor  # (B,): log p(known units) in nats, summed over the missing ones
    effective: Tensor  # (B,): the number of particles that count, of those drawn


@torch.no_grad()
def impute(
    machine: HelmholtzMachine,
    visible: Tensor,
    num_particles: int = 1000,
    *,
    statistic: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 20,
    generator: torch.Generator | None = None,
) -> Imputation:
    r"""Returns the means of missing units given the known ones, by importance sampling.

    .. math::
        p(v_{known}) \approx \frac1K \sum_k w_k, \qquad
        w_k = \frac{p(u^k)}{q(u^k \mid v_{known})}
        \prod_{i \text{ known}} p(v_i \mid v^k_{<i}, u^k)

    where recognition draws hidden states and the generator draws missing columns, each given all
    columns before it (`MixedDistribution.fill`). The log-probability is below that of the known
    units on average, by a bias that vanishes as K grows. The mean of a spin tells its probability.

    Arguments:
        machine: A machine whose visible units are `MixedUnits`.
        visible: Visible states of shape (B, N_visible), NaN where they are missing.
        num_particles: The number of particles K per row.
        statistic: What the mean is of, from filled states (K, B, N_visible) to (K, B, *); None for
            the states themselves.
        batch_size: The number of rows at a time.
        generator: The source of randomness.

    Raises:
        TypeError: If the visible units are others.

    References:
        | Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2018)
        | https://arxiv.org/abs/1807.03653
    """
    parts = []
    for rows in torch.split(visible, batch_size):
        states, log_w = _weighed(machine, rows, num_particles, generator)
        values = states if statistic is None else statistic(states)
        weights = torch.softmax(log_w, 0)
        mean = torch.einsum("kb,kb...->b...", weights.to(values), values)
        log_prob = log_w.logsumexp(0) - math.log(num_particles)
        parts.append(Imputation(mean, log_prob, weights.square().sum(0).reciprocal()))
    return Imputation(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _weighed(
    machine: HelmholtzMachine,
    visible: Tensor,
    num_particles: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    r"""Returns filled visible states (K, B, N_visible) and their log-weights (K, B)."""
    states, log_q = machine.infer(visible, num_particles, generator=generator)
    rows = visible.expand(num_particles, *visible.shape)
    filled = machine.fill(rows, states, generator=generator)
    return filled.values, filled.log_prob - log_q
