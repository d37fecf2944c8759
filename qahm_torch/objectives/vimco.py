r"""The importance-weighted bound through spins themselves, by the variational method of VIMCO."""

from __future__ import annotations

__all__ = ["VIMCO"]

import math

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.objectives.bound import BoundTerms, check_particles, log_mean_exp
from qahm_torch.objectives.objective import Objective


class VIMCO(Objective):
    r"""The importance-weighted bound, whose gradient has each particle for a baseline of others.

    With K hidden states of each datum, drawn from the recognition, and
    :math:`L = \log \frac1K \sum_k w_k`,

    .. math::
        \nabla E[L] = E \Big[ \sum_k \bar w_k \nabla \log w_k
        + \sum_k (L - L_{-k}) \nabla \log q(u^k | v) \Big],

    where :math:`\bar w_k = w_k / \sum_j w_j`, and :math:`L_{-k}` is L with :math:`w_k` replaced by
    the geometric mean of the others. Unlike that of relaxed draws the gradient is without bias,
    for any recognition.

    Its losses are the bound, `reconstruction`, the mean of :math:`-\log p(v | u)`, and `kl`, an
    estimate of the divergence of the recognition from the prior.

    Arguments:
        num_particles: The number of hidden states K of each datum, at least 2.

    Raises:
        ValueError: If there are fewer than 2 particles.

    References:
        | Variational inference for Monte Carlo objectives (Mnih & Rezende, 2016)
        | https://arxiv.org/abs/1602.06725

    Example:
        >>> from qahm_torch import BeliefNetwork, QuantumPriorLayer
        >>> networks = BeliefNetwork([6, 3]), BeliefNetwork([3, 6])
        >>> machine = HelmholtzMachine(*networks, QuantumPriorLayer(3))
        >>> losses = VIMCO(num_particles=5)(machine, torch.ones(4, 6), machine.prior.draw())
        >>> losses["loss"].backward()
    """

    def __init__(self, num_particles: int = 5):
        self.num_particles = check_particles(num_particles, 2)

    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        states, log_q = machine.infer(batch, self.num_particles, generator=generator)
        terms = BoundTerms.of(machine, batch, states, log_q, negative)
        log_w = terms.log_weights()
        bound = log_mean_exp(log_w)
        signal = bound.detach() - _without_each(log_w.detach())
        score = (signal * log_q).sum(0)
        # What the score adds is its gradient; as a number it would only disturb the log.
        loss = -(bound + score - score.detach()).mean()
        return terms.losses(loss)


def _without_each(log_weights: Tensor) -> Tensor:
    r"""Returns the bounds (K, B) with each weight replaced by the geometric mean of the others."""
    number = len(log_weights)
    others = (log_weights.sum(0) - log_weights) / (number - 1)
    own = torch.eye(number, dtype=torch.bool, device=log_weights.device).unsqueeze(-1)
    replaced = torch.where(own, others.unsqueeze(0), log_weights.unsqueeze(0))
    return torch.logsumexp(replaced, 1) - math.log(number)
