r"""Training rules of the Helmholtz machine, as losses in nats per datum."""

from __future__ import annotations

__all__ = ["ReweightedLoss", "reweighted_wake_loss", "sleep_loss", "wake_loss"]

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine

View = Callable[[Tensor], Tensor]


def wake_loss(
    machine: HelmholtzMachine,
    visible: Tensor,
    negative: Samples | None = None,
    view: View | None = None,
    unit_weights: Tensor | None = None,
) -> Tensor:
    r"""Returns the loss of the wake phase, which trains the generator and the prior.

    .. math::
        -\frac1B \sum_b \log p(v_b, u_b), \qquad u_b \sim q(u | v_b).

    Its expectation is the variational free energy less the entropy of q, a term without gradient
    in the generator and the prior. The recognition network gets no gradient.

    Arguments:
        machine: The machine.
        visible: Data of shape (*, N_visible).
        negative: Samples of the prior for its negative phase; None to call the prior's sampler.
        view: What the recognition network sees of the data; None for all of it.
        unit_weights: Weights of the visible units' log-probabilities, of shape (N_visible,); None
            for 1, the log-likelihood.

    References:
        | The wake-sleep algorithm for unsupervised neural networks (Hinton et al., 1995)
        | https://doi.org/10.1126/science.7761831
    """
    with torch.no_grad():
        states = machine.recognition.sample(visible if view is None else view(visible))
    return -machine.log_joint([visible, *states], negative, unit_weights).mean()


def sleep_loss(machine: HelmholtzMachine, deepest: Tensor, view: View | None = None) -> Tensor:
    r"""Returns the loss of the sleep phase, which trains the recognition network on dreams.

    .. math::
        -\frac1S \sum_s \log q(u_s | v_s), \qquad (u_s, v_s) \sim p(v, u),

    where the dreams grow from the given samples of the prior: those of the negative phase, so that
    a device is programmed once per update. The generator and the prior get no gradient.

    Arguments:
        machine: The machine.
        deepest: Samples of the deepest layer, of shape (S, N).
        view: What the recognition network sees of a dream; None for all of it.
    """
    dream = [deepest, *machine.generator.sample(deepest)][::-1]
    seen = dream[0] if view is None else view(dream[0])
    return -machine.recognition.log_prob([seen, *dream[1:]]).mean()


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
        negative: Samples of the prior for its negative phase; None to call the prior's sampler.
        view: What the recognition network sees of the data; None for all of it.
        unit_weights: Weights of the visible units' log-probabilities, of shape (N_visible,); None
            for 1, the log-likelihood.

    References:
        | Reweighted wake-sleep (Bornschein & Bengio, 2014)
        | https://arxiv.org/abs/1406.2751
    """
    seen = visible if view is None else view(visible)
    states, log_q = machine.infer(seen, num_particles)
    expanded = visible.expand(num_particles, *visible.shape)
    log_p = machine.log_joint([expanded, *states], negative, unit_weights)
    log_w = (log_p - log_q).detach()
    normalized = torch.softmax(log_w, 0)
    return ReweightedLoss(
        theta=-(normalized * log_p).sum(0).mean(),
        phi=-(normalized * log_q).sum(0).mean(),
        log_likelihood=(torch.logsumexp(log_w, 0) - math.log(num_particles)).mean(),
    )
