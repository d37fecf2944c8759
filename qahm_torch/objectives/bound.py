r"""The importance-weighted bound of the likelihood, and its gradient by relaxed draws."""

from __future__ import annotations

__all__ = ["BoundTerms", "RelaxedELBO", "check_particles", "log_mean_exp"]

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.nn.distributions import unit_log_prob
from qahm_torch.objectives.class_units import ClassUnits
from qahm_torch.objectives.objective import Objective, check_weight


class BoundTerms(NamedTuple):
    r"""The terms of the log-weights of hidden states, each (K, B), in nats."""

    reconstruction: Tensor  # log p(v | u_1)
    divergence: Tensor  # log q(u_1, ..., u_L | v) - log p(u_1, ..., u_L), whose mean is the KL

    @classmethod
    def of(
        cls,
        machine: HelmholtzMachine,
        visible: Tensor,
        states: Sequence[Tensor],
        log_q: Tensor,
        negative: Samples | None = None,
        unit_weights: Tensor | None = None,
    ) -> BoundTerms:
        r"""Returns the terms of hidden states, and what they depend on with a gradient.

        Arguments:
            machine: The machine.
            visible: Data of shape (B, N_visible).
            states: Hidden states [u_1, ..., deepest], each (K, B, width).
            log_q: Their log-probability under the recognition, (K, B).
            negative: Samples of the prior for its gradient.
            unit_weights: Weights of the visible units' log-probabilities, of shape
                (N_visible,); None for 1.
        """
        generator, last = machine.generator, len(states) - 1
        divergence = log_q - machine.prior.log_prob(states[-1], negative)
        for k in range(last):
            # Layer k of the generator goes from one state to the next towards the data.
            above, below = states[last - k], states[last - k - 1]
            divergence = divergence - generator.conditional(k, above).log_prob(below)
        rows = visible.expand(*log_q.shape, visible.shape[-1])
        output = generator.conditional(last, states[0])
        if unit_weights is None:
            return cls(output.log_prob(rows), divergence)
        return cls((unit_log_prob(output, rows) * unit_weights).sum(-1), divergence)

    def log_weights(self, kl_weight: float = 1.0) -> Tensor:
        r"""Returns the log-weights (K, B), with the divergence weighed."""
        return self.reconstruction - kl_weight * self.divergence

    def losses(self, loss: Tensor) -> dict[str, Tensor]:
        r"""Returns a loss and the means of the terms, by name."""
        return {
            "loss": loss,
            "reconstruction": -self.reconstruction.detach().mean(),
            "kl": self.divergence.detach().mean(),
        }


class RelaxedELBO(Objective):
    r"""The evidence lower bound, or its importance-weighted form, through relaxed spins.

    .. math::
        -\frac1B \sum_b \log \frac1K \sum_k w_k, \qquad
        \log w_k = \log p(v | \zeta^k) + \beta \, \big( \log p(\zeta^k) - \log q(\zeta^k | v)
        \big),

    where the hidden states :math:`\zeta^k` are the relaxed draws of the recognition (its
    `rsample`), a smooth function of its parameters and of noise, so that one backward pass trains
    all networks and the prior. The gradient is biased by the relaxation: low temperatures have a
    small bias and a large variance. Nothing dreams here; the samples of the prior are its negative
    phase.

    The kind of draws is a setting of the recognition: `BeliefNetwork(..., temperature=1/7)` gives
    that of GumBolt, and with `hard=True` the straight-through draws, which are spins in the
    forward pass and relaxed in the backward pass.

    Its losses are the bound, `reconstruction`, the mean of :math:`-\log p(v | \zeta)`, and `kl`,
    an estimate of the divergence of the recognition from the prior.

    Arguments:
        num_particles: The number of draws K of each datum; 1 is the evidence lower bound.
        kl_weight: The weight :math:`\beta` of the divergence. A schedule that raises it to 1 (see
            `qahm_torch.training.Scheduled`) keeps units alive at the start.
        class_weight: The weight of the class units' log-probability in the reconstruction. Above
            1, hidden states are to tell classes apart, at some cost in likelihood.
        hide_classes: The probability with which a datum's class is hidden from recognition.

    Raises:
        ValueError: If there is no particle, or a setting is out of its range; in `check` if the
            classes have a setting and the machine has none.

    References:
        | GumBolt: extending Gumbel trick to Boltzmann priors (Khoshaman & Amin, 2018)
        | https://arxiv.org/abs/1805.07349
        | Importance weighted autoencoders (Burda et al., 2015)
        | https://arxiv.org/abs/1509.00519
        | Estimating or propagating gradients through stochastic neurons for conditional
          computation (Bengio et al., 2013), for straight-through draws
        | https://arxiv.org/abs/1308.3432

    Example:
        >>> from qahm_torch import BeliefNetwork, QuantumPriorLayer
        >>> recognition = BeliefNetwork([6, 3], temperature=1 / 7)
        >>> machine = HelmholtzMachine(recognition, BeliefNetwork([3, 6]), QuantumPriorLayer(3))
        >>> losses = RelaxedELBO()(machine, torch.ones(4, 6), machine.prior.draw())
        >>> list(losses)
        ['loss', 'reconstruction', 'kl']
    """

    def __init__(
        self,
        num_particles: int = 1,
        kl_weight: float = 1.0,
        class_weight: float = 1.0,
        hide_classes: float = 0.0,
    ):
        self.num_particles = check_particles(num_particles, 1)
        self.kl_weight = check_weight("kl_weight", kl_weight)
        self.class_weight = class_weight
        self.hide_classes = hide_classes
        self._classes = ClassUnits(class_weight, hide_classes)

    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        view = self._classes.view(machine, generator)
        weights = self._classes.unit_weights(machine, batch)
        seen = machine.seen(batch if view is None else view(batch))
        rows = seen.expand(self.num_particles, *batch.shape)
        states, log_q = machine.recognition.rsample(rows, generator)
        terms = BoundTerms.of(machine, batch, states, log_q, negative, weights)
        return terms.losses(-log_mean_exp(terms.log_weights(self.kl_weight)).mean())

    def check(self, machine: HelmholtzMachine) -> None:
        self._classes.check(machine)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    r"""Returns the logarithm of the mean weight, (K, B) -> (B)."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def check_particles(num_particles: int, least: int, name: str = "num_particles") -> int:
    r"""Returns a number of particles; raises ValueError if there are too few."""
    if num_particles < least:
        raise ValueError(
            f"{name} is {num_particles}, but at least {least} "
            f"{'is' if least == 1 else 'are'} needed"
        )
    return num_particles
