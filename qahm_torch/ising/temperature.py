r"""Effective inverse temperature of samples by maximum pseudo-likelihood."""

from __future__ import annotations

__all__ = ["Beta", "estimate_beta"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising.model import Ising


class Beta(NamedTuple):
    r"""An inverse temperature with its standard error."""

    value: float
    stderr: float


def estimate_beta(ising: Ising, spins: Tensor, weights: Tensor | None = None) -> Beta:
    r"""Returns the inverse temperature at which the samples are most likely.

    The pseudo-likelihood estimate :math:`\hat\beta` solves

    .. math::
        \sum_s \sum_i f_i(s) / (1 + e^{\beta f_i(s)}) = 0, \qquad f_i(s) = -2 s_i (h_i + \sum_j
        J_{ij} s_j),

    where :math:`f_i` is the energy gained by a flip of spin i. It is 1 within errors if the
    samples come from `ising`; a device programmed with `ising` that answers with 2.5 has
    :math:`\beta_\text{eff} = 2.5`. The standard error is the sandwich estimate for independent
    samples; samples along a chain have a larger one.

    Arguments:
        ising: The classical model that was programmed.
        spins: The samples of shape (S, N).
        weights: The weights of the samples of shape (S,); None for equal ones.

    Raises:
        ValueError: If the model has no fields and couplings, so that it has no temperature.

    References:
        | Global warming: temperature estimation in annealers (Raymond et al., 2016)
        | https://arxiv.org/abs/1606.00919
    """
    from dwave.system.temperatures import maximum_pseudolikelihood_temperature

    if not (ising.h.any() or ising.J.any()):
        raise ValueError("all fields and couplings are 0: every temperature fits any samples")
    sample_weights = None if weights is None else weights.double().cpu().numpy()
    temperature, _ = maximum_pseudolikelihood_temperature(
        bqm=ising.to_bqm(),
        sampleset=(spins.detach().cpu().to(torch.int8).numpy(), list(ising.graph.labels)),
        sample_weights=sample_weights,
    )
    # Samples that are all local minima fit zero temperature, for which Ocean answers T = 0.
    beta = 1 / float(temperature) if temperature > 0 else math.inf
    return Beta(beta, _sandwich_stderr(ising, spins, weights, beta))


def _sandwich_stderr(ising: Ising, spins: Tensor, weights: Tensor | None, beta: float) -> float:
    if not math.isfinite(beta):
        return math.inf
    spins = spins.detach().double()
    gain = -2 * spins * _fields(ising, spins)
    weights = torch.ones(len(spins)) if weights is None else weights
    weights = weights.to(gain) / weights.sum()
    flip = torch.sigmoid(-beta * gain)
    score = (gain * flip).sum(-1)
    slope = (weights @ (gain.square() * flip * (1 - flip)).sum(-1)).abs()
    return float((weights.square() @ score.square()).sqrt() / slope)


def _fields(ising: Ising, spins: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = spins.clone().requires_grad_()
        double = Ising(ising.graph, ising.h.detach().double(), ising.J.detach().double())
        return torch.autograd.grad(double.energy(leaf).sum(), leaf)[0]
