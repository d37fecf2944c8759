r"""Test log-likelihood, reconstruction and classification of Helmholtz machines."""

from __future__ import annotations

__all__ = [
    "EvidenceBound",
    "LogLikelihood",
    "bits_per_dimension",
    "classification_accuracy",
    "evidence_bound",
    "known_gap",
    "log_likelihood",
    "prior_log_likelihood",
    "reconstruction_error",
]

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from qahm_torch.evaluation.watching import steps
from qahm_torch.nn import HelmholtzMachine, Prior
from qahm_torch.nn.machine import UNITS_PER_CHUNK
from qahm_torch.samplers import LogZ


class LogLikelihood(NamedTuple):
    r"""Mean log-likelihood of data in nats, and the interval of its estimate."""

    value: float
    lower: float
    upper: float
    stderr: float  # of the mean over the data, as a sample of what there could be
    num_particles: int  # 0 where no hidden state had to be drawn


@torch.no_grad()
def log_likelihood(
    machine: HelmholtzMachine,
    data: Tensor,
    *,
    log_z: LogZ | None,
    num_particles: int = 1000,
    batch_size: int = 100,
) -> LogLikelihood:
    r"""Returns the mean of log p(v) over data, by importance sampling.

    With K particles, the estimate :math:`L_K = \log \frac1K \sum_k w_k` is below log p(v) on
    average. `value` is its mean at the value of log Z, `lower` its mean at the upper end of log Z.
    `upper` is the jackknife estimate :math:`K L_K - (K - 1) L_{K-1}`, whose bias is of higher
    order in 1/K, at the lower end of log Z: an estimate and not a bound. Without a log Z, `value`
    and `lower` are the same.

    Arguments:
        machine: The machine.
        data: Visible states of shape (B, N_visible).
        log_z: The log-partition function of the prior, a Boltzmann machine; None for any prior's
            own log-probability as it is.
        num_particles: The number of particles K per datum.
        batch_size: The number of data at a time.

    Raises:
        ValueError: If there are fewer than 2 particles.
        TypeError: If there is a log Z, and the prior is no Boltzmann machine.

    References:
        | Importance weighted autoencoders (Burda et al., 2015)
        | https://arxiv.org/abs/1509.00519
        | Debiasing evidence approximations: on importance-weighted autoencoders and jackknife
          variational inference (Nowozin, 2018)
        | https://openreview.net/forum?id=HyZoi-WRb
    """
    if num_particles < 2:
        raise ValueError(f"num_particles is {num_particles}, but the jackknife needs at least 2")
    plain, corrected = [], []
    for batch in steps(torch.split(data, batch_size)):
        total, jackknife = _log_mean_weights(machine, batch, num_particles)
        plain.append(total)
        corrected.append(jackknife)
    # The machine counts its stored log Z in; what is reported counts the estimate of the caller.
    stored = 0.0 if log_z is None else _stored_log_z(machine.prior)
    known = LogZ(0.0, 0.0, 0.0, 0.0) if log_z is None else log_z
    anchored = torch.cat(plain).double() + stored
    debiased = torch.cat(corrected).double() + stored
    return LogLikelihood(
        value=float(anchored.mean()) - known.value,
        lower=float(anchored.mean()) - known.upper,
        upper=float(debiased.mean()) - known.lower,
        stderr=float(anchored.std() / math.sqrt(len(anchored))),
        num_particles=num_particles,
    )


@torch.no_grad()
def prior_log_likelihood(
    prior: Prior, data: Tensor, *, log_z: LogZ | None, batch_size: int = 1000
) -> LogLikelihood:
    r"""Returns the mean of log p(v) over data for a prior alone, which needs no hidden states.

    `value` is at the value of log Z, and `lower` and `upper` are at the ends of its interval:
    :math:`\log p(v) = -F(v) - \log Z`. Without a log Z, all three are the prior's own.

    Arguments:
        prior: The prior.
        data: Spins of shape (B, N_visible).
        log_z: The log-partition function of a Boltzmann machine; None for any prior's own
            log-probability as it is.
        batch_size: The number of data at a time.

    Raises:
        TypeError: If there is a log Z, and the prior is no Boltzmann machine.

    Example:
        >>> from qahm_torch import QuantumPriorLayer, estimate_log_z
        >>> prior, data = QuantumPriorLayer(4), torch.ones(3, 4)
        >>> log_z = estimate_log_z(prior.ising().detach())
        >>> result = prior_log_likelihood(prior, data, log_z=log_z)
        >>> energy = float(prior.energy(data[0]).detach())
        >>> abs(result.value + energy + log_z.value) < 1e-5
        True
    """
    own = torch.cat(
        [prior.log_prob(batch) for batch in steps(torch.split(data, batch_size))]
    ).double()
    stored = 0.0 if log_z is None else _stored_log_z(prior)
    known = LogZ(0.0, 0.0, 0.0, 0.0) if log_z is None else log_z
    mean = float(own.mean()) + stored
    ends = mean - known.value, mean - known.upper, mean - known.lower
    return LogLikelihood(*ends, stderr=float(own.std() / math.sqrt(len(own))), num_particles=0)


class EvidenceBound(NamedTuple):
    r"""The evidence lower bound of data in nats, and what it is the difference of."""

    value: float
    reconstruction: float  # E_q[log p(v | u_1)]
    kl: float  # E_q[log q(u | v) - log p(u)], by the stored log Z of a Boltzmann machine


@torch.no_grad()
def evidence_bound(
    machine: HelmholtzMachine, data: Tensor, *, num_particles: int = 10, batch_size: int = 100
) -> EvidenceBound:
    r"""Returns the evidence lower bound, as the reconstruction less the divergence.

    .. math::
        E_q[\log p(v | u_1)] - \operatorname{KL}\big(q(u | v) \,\|\, p(u)\big),

    averaged over data and hidden states that the recognition draws. The divergence tells how much
    the hidden units are used: near 0, the visible units do without them.

    Arguments:
        machine: The machine.
        data: Visible states of shape (B, N_visible).
        num_particles: The number of hidden states per datum.
        batch_size: The number of data at a time.
    """
    generator = machine.generator
    totals, terms = [], []
    for batch in steps(torch.split(data, batch_size)):
        states, log_q = machine.infer(batch, num_particles)
        rows = batch.expand(num_particles, *batch.shape)
        last = generator.conditional(len(states) - 1, states[0])
        terms.append(last.log_prob(rows).double().mean(0))
        totals.append((machine.log_joint([rows, *states]) - log_q).double().mean(0))
    value, reconstruction = (float(torch.cat(x).mean()) for x in (totals, terms))
    return EvidenceBound(value, reconstruction, reconstruction - value)


def bits_per_dimension(nats: float, num_dimensions: int, num_levels: int | None = None) -> float:
    r"""Returns the bits per dimension of a log-likelihood.

    For the log-density of dequantized gray values, a level covers the width 2 / L of [-1, 1], and
    :math:`-\log_2 P \le -\log_2 p - \log_2(2 / L)` per dimension on average.

    Arguments:
        nats: The log-likelihood of a datum.
        num_dimensions: The number of dimensions.
        num_levels: The number of gray levels L if `nats` is a log-density on [-1, 1]; None if it
            is a log-probability already.
    """
    bits = -nats / (num_dimensions * math.log(2))
    return bits if num_levels is None else bits - math.log2(2 / num_levels)


@torch.no_grad()
def reconstruction_error(
    machine: HelmholtzMachine,
    data: Tensor,
    *,
    depth: int | None = None,
    num_draws: int = 1,
    batch_size: int = 1000,
) -> float:
    r"""Returns the mean squared error of reconstructed pixels, per pixel in [-1, 1].

    Arguments:
        machine: The machine.
        data: Visible states of shape (B, N_visible); its class units are hidden from recognition,
            and missing values (NaN) do not count.
        depth: The hidden layer at which to turn round; None for the deepest.
        num_draws: The number of reconstructions to average over before they are compared.
        batch_size: The number of data at a time.
    """
    total, count = 0.0, 0
    for batch in steps(torch.split(data, batch_size)):
        seen = batch.clone()
        seen[:, machine.num_pixels :] = torch.nan
        gap = known_gap(machine, machine.reconstruct(seen, depth, num_draws), batch)
        total += float(gap.square().sum())
        count += len(gap)
    return total / count if count else math.nan


def known_gap(machine: HelmholtzMachine, guess: Tensor, data: Tensor) -> Tensor:
    r"""Returns by how much pixels differ from data where these are known, of shape (number,).

    Arguments:
        machine: The machine.
        guess: Visible states of shape (B, N_visible); class units do not count.
        data: Data of the same shape, NaN where missing.
    """
    gap = (guess - data)[:, : machine.num_pixels]
    return gap[~data[:, : machine.num_pixels].isnan()]


@torch.no_grad()
def classification_accuracy(
    machine: HelmholtzMachine,
    data: Tensor,
    *,
    rule: Literal["classify", "read_out"] = "classify",
    num_particles: int = 100,
    batch_size: int = 200,
) -> float:
    r"""Returns the fraction of data whose class is the most probable one given the pixels.

    Arguments:
        machine: A machine with class units.
        data: Visible states of shape (B, N_visible), class units last; rows whose class is not
            known (NaN) do not count, and without any that is the fraction is NaN.
        rule: The method of `HelmholtzMachine` that gives the probabilities.
        num_particles: The number of hidden states per datum.
        batch_size: The number of data at a time.
    """
    data = data[~data[:, machine.num_pixels :].isnan().any(-1)]
    correct = 0
    for batch in steps(torch.split(data, batch_size)) if len(data) else ():
        guess = getattr(machine, rule)(batch, num_particles).argmax(-1)
        correct += int((guess == batch[:, machine.num_pixels :].argmax(-1)).sum())
    return correct / len(data) if len(data) else math.nan


def _stored_log_z(prior: Prior) -> float:
    stored = getattr(prior, "log_z", None)
    if stored is None:
        raise TypeError(
            f"log_z is given, but {type(prior).__name__} is no Boltzmann machine and has "
            "its log-probability as it is: pass None"
        )
    return float(stored)


def _log_mean_weights(
    machine: HelmholtzMachine, batch: Tensor, num_particles: int
) -> tuple[Tensor, Tensor]:
    r"""Returns the estimate with K particles and its jackknife correction, both (B,)."""
    chunk = max(1, min(num_particles, UNITS_PER_CHUNK // batch.numel()))
    sizes = [chunk] * (num_particles // chunk)
    sizes += [num_particles % chunk] if num_particles % chunk else []
    log_w = torch.cat([machine.log_weights(batch, size) for size in sizes]).double()
    k = num_particles
    total = torch.logsumexp(log_w, 0)
    # log of the sum without particle k; 1 - w_k / sum > 0 unless one particle is everything.
    share = torch.exp(log_w - total).clamp(max=1 - 1e-12)
    without = total + torch.log1p(-share)
    plain = total - math.log(k)
    jackknife = k * plain - (k - 1) * (without.mean(0) - math.log(k - 1))
    return plain, jackknife
