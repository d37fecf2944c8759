r"""Reweighted wake-sleep: several weighted hidden states per datum."""

from __future__ import annotations

__all__ = ["ReweightedLoss", "ReweightedWakeSleep", "reweighted_wake_loss"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.objectives.class_units import ClassUnits, View
from qahm_torch.objectives.objective import Objective, check_weight
from qahm_torch.objectives.wake_sleep import dream_seeds, sleep_loss


class ReweightedLoss(NamedTuple):
    r"""The parts of a reweighted wake phase, in nats per datum."""

    theta: Tensor  # trains the generator and the prior
    phi: Tensor  # trains the recognition network
    log_likelihood: Tensor  # importance-sampled estimate with K particles, no gradient


def reweighted_wake_loss(
    machine: HelmholtzMachine,
    visible: Tensor,
    num_particles: int,
    negative: Samples | None = None,
    view: View | None = None,
    unit_weights: Tensor | None = None,
    fill_missing: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> ReweightedLoss:
    r"""Returns the losses of the wake phase of reweighted wake-sleep.

    .. math::
        \theta: -\sum_k \bar w_k \log p(v, u^k), \qquad
        \phi: -\sum_k \bar w_k \log q(u^k | v), \qquad
        w_k = p(v, u^k) / q(u^k | v), \quad \bar w_k = w_k / \sum_j w_j,

    averaged over the data, with :math:`u^k \sim q(u | v)` and weights without gradient. The
    gradient of the first is a biased estimate of that of -log p(v), better with more particles;
    with one particle it is that of `wake_loss`.

    Arguments:
        machine: The machine.
        visible: Data of shape (*, N_visible).
        num_particles: The number of hidden states K per datum.
        negative: Samples of the prior for its negative phase, of shape (S, N); None to call the
            prior's sampler.
        view: What the recognition network sees of the data; None for all of it.
        unit_weights: Weights of the visible units' log-probabilities, of shape (N_visible,); None
            for 1, the log-likelihood.
        fill_missing: Whether missing columns (NaN) of `MixedUnits` are drawn along with the hidden
            states, and weighted with them, so that the generator learns from complete rows.
        generator: The source of random numbers.

    References:
        | Reweighted wake-sleep (Bornschein & Bengio, 2014)
        | https://arxiv.org/abs/1406.2751
    """
    seen = visible if view is None else view(visible)
    states, log_q = machine.infer(seen, num_particles, generator=generator)
    expanded = visible.expand(num_particles, *visible.shape)
    known = None
    if fill_missing:
        expanded, known = machine.fill(expanded, states, generator=generator)
    log_p = machine.log_joint([expanded, *states], negative, unit_weights)
    # Missing units are drawn from the model itself, so that their log-probabilities cancel.
    log_w = ((log_p if known is None else known) - log_q).detach()
    normalized = torch.softmax(log_w, 0)
    return ReweightedLoss(
        theta=-(normalized * log_p).sum(0).mean(),
        phi=-(normalized * log_q).sum(0).mean(),
        log_likelihood=(torch.logsumexp(log_w, 0) - math.log(num_particles)).mean(),
    )


class ReweightedWakeSleep(Objective):
    r"""Reweighted wake-sleep: hidden states of data are weighted by the model.

    Its losses are `wake_theta` and `wake_phi`, the two of `reweighted_wake_loss`, and `sleep_phi`,
    the `sleep_loss`; the loss that is minimized is their weighted sum.

    Arguments:
        num_particles: The number of hidden states per datum.
        wake_phi: The weight of the recognition network's wake loss.
        sleep_phi: The weight of its sleep loss.
        class_weight: The weight of the class units' log-probability in the wake phase. Above 1,
            hidden states are drawn to tell classes apart, at some cost in likelihood; what is
            evaluated always has weight 1.
        hide_classes: The probability with which a datum's class is hidden from recognition, so
            that the network learns to infer without it. Needs a machine with class units.
        fill_missing: Whether missing columns are drawn along with the hidden states, where columns
            see those before them (`MixedUnits`). Otherwise they do not count.

    Raises:
        ValueError: If a setting is out of its range.

    References:
        | Reweighted wake-sleep (Bornschein & Bengio, 2014)
        | https://arxiv.org/abs/1406.2751

    Example:
        >>> ReweightedWakeSleep(num_particles=10, hide_classes=0.5).num_particles
        10
    """

    def __init__(
        self,
        num_particles: int = 5,
        wake_phi: float = 1.0,
        sleep_phi: float = 1.0,
        class_weight: float = 1.0,
        hide_classes: float = 0.0,
        fill_missing: bool = False,
    ):
        if num_particles < 1:
            raise ValueError(f"num_particles is {num_particles}, but at least 1 is needed")
        self.num_particles = num_particles
        self.wake_phi = check_weight("wake_phi", wake_phi)
        self.sleep_phi = check_weight("sleep_phi", sleep_phi)
        self.class_weight = class_weight
        self.hide_classes = hide_classes
        self.fill_missing = fill_missing
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
        seeds = dream_seeds(machine, negative, batch, generator)
        sleep = sleep_loss(machine, seeds, view, batch, generator=generator)
        wake = reweighted_wake_loss(
            machine,
            batch,
            self.num_particles,
            negative,
            view,
            weights,
            self.fill_missing,
            generator=generator,
        )
        loss = wake.theta + self.wake_phi * wake.phi + self.sleep_phi * sleep
        parts = {"wake_theta": wake.theta, "wake_phi": wake.phi, "sleep_phi": sleep}
        return {"loss": loss, **parts}

    def check(self, machine: HelmholtzMachine) -> None:
        self._classes.check(machine)
