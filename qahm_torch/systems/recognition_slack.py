r"""What a recognition leaves of the likelihood, by enumeration of all hidden states."""

from __future__ import annotations

__all__ = ["Slack", "best_independent", "log_joint_table", "slack_of"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import all_states
from qahm_torch.nn import HelmholtzMachine, Recognition
from qahm_torch.priors import ConditionalBoltzmann

NUM_STARTS = 4
NUM_ROUNDS = 15
DATA_PER_CHUNK = 50


class Slack(NamedTuple):
    r"""The exact likelihood, and how far the bound of a recognition is below it, in nats."""

    log_prob: Tensor  # log p(v), of shape (B,)
    slack: Tensor  # log p(v) - ELBO, the Kullback-Leibler divergence of q and p(u|v), (B,)


@torch.no_grad()
def log_joint_table(machine: HelmholtzMachine, data: Tensor) -> Tensor:
    r"""Returns log p(v, u) of all states of the hidden layer, of shape (B, 2^N)."""
    states = _states(machine).to(data)
    spread = states.unsqueeze(1)
    parts = [
        machine.log_joint([v.expand(len(states), *v.shape), spread.expand(-1, len(v), -1)]).T
        for v in data.split(DATA_PER_CHUNK)
    ]
    return torch.cat(parts).double()


@torch.no_grad()
def slack_of(machine: HelmholtzMachine, data: Tensor, joint: Tensor | None = None) -> Slack:
    r"""Returns log p(v) and the slack of the machine's recognition, for data (B, N_visible).

    Arguments:
        machine: The machine, of one hidden layer, with an exact log Z.
        data: The data.
        joint: Their `log_joint_table`, if it is known.
    """
    joint = log_joint_table(machine, data) if joint is None else joint
    log_q = _log_q(machine.recognition, _states(machine).to(data), data).double()
    log_prob = joint.logsumexp(-1)
    bound = (log_q.exp() * (joint - log_q)).sum(-1)
    return Slack(log_prob, log_prob - bound)


@torch.no_grad()
def best_independent(joint: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Returns the slack of the best law of independent spins for each datum, of shape (B,).

    It is found by coordinate ascent from the marginal laws of the posterior and from random
    starts, and is an upper bound of what the very best law leaves.

    Arguments:
        joint: The log-probabilities log p(v, u) of all hidden states, of shape (B, 2^N).
        generator: The source of the random starts.
    """
    log_posterior = joint.log_softmax(-1)
    num_spins = joint.shape[-1].bit_length() - 1
    up = (all_states(num_spins, joint.dtype) > 0).to(joint)
    starts = [log_posterior.exp() @ up]
    size = starts[0].shape
    for _ in range(NUM_STARTS - 1):
        starts.append(torch.rand(size, generator=generator, dtype=joint.dtype))
    return torch.stack([_ascended(log_posterior, start) for start in starts]).min(0).values


def _ascended(log_posterior: Tensor, up: Tensor) -> Tensor:
    r"""Returns the slack after coordinate ascent from probabilities (B, N) of +1."""
    up = up.clone()
    for _ in range(NUM_ROUNDS):
        for i in range(up.shape[-1]):
            others = _product(up, without=i) * log_posterior
            by_value = others.view(len(up), -1, 2, 2**i).sum((1, 3))
            up[:, i] = torch.sigmoid(by_value[:, 1] - by_value[:, 0])
    law = _product(up)
    return (torch.xlogy(law, law) - law * log_posterior).sum(-1)


def _product(up: Tensor, without: int | None = None) -> Tensor:
    r"""Returns the law of independent spins, (B, 2^N), or 1 in the place of one spin's."""
    law = up.new_ones(len(up), 1)
    for j in range(up.shape[-1]):
        if j == without:
            law = torch.cat([law, law], -1)
        else:
            law = torch.cat([law * (1 - up[:, j : j + 1]), law * up[:, j : j + 1]], -1)
    return law


def _log_q(recognition: Recognition, states: Tensor, data: Tensor) -> Tensor:
    if isinstance(recognition, ConditionalBoltzmann):
        return recognition.machines(data).log_probs()
    spread = states.unsqueeze(1)
    parts = [
        recognition.log_prob([v.expand(len(states), *v.shape), spread.expand(-1, len(v), -1)]).T
        for v in data.split(DATA_PER_CHUNK)
    ]
    return torch.cat(parts)


def _states(machine: HelmholtzMachine) -> Tensor:
    return all_states(machine.prior.num_visible)
