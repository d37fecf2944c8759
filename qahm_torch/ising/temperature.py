r"""At what inverse temperature samples are, and whether they are thermal at all."""

from __future__ import annotations

__all__ = ["Beta", "estimate_beta", "estimate_beta_two_scales", "thermal_misfit"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising.model import Ising

# The cutoff and the estimate depend on each other; so many rounds settle them.
ROUNDS = 20
# With fewer spins in weak fields than this, all are asked.
MIN_SPINS = 200


class Beta(NamedTuple):
    r"""An inverse temperature with its standard error."""

    value: float
    stderr: float


def estimate_beta(
    ising: Ising, spins: Tensor, weights: Tensor | None = None, cutoff: float = math.inf
) -> Beta:
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
        cutoff: Only spins whose neighbors leave them a field :math:`\beta |f_i|` of at most so
            much are asked. What a spin does given its neighbors tells the temperature whichever
            of their states one looks at, and in strong fields the few flips that a device reads
            are errors of reading rather than heat, by which the whole estimate would be too low.

    Raises:
        ValueError: If the model has no fields and couplings, so that it has no temperature.

    References:
        | Global warming: temperature estimation in annealers (Raymond et al., 2016)
        | https://arxiv.org/abs/1606.00919
    """
    if not (ising.h.any() or ising.J.any()):
        raise ValueError("all fields and couplings are 0: every temperature fits any samples")
    spins = spins.detach().double()
    gain = -2 * spins * ising.fields(spins)
    weights = torch.ones(len(spins)) if weights is None else weights
    weights = weights.to(gain) / weights.sum()
    beta = _root(gain, weights)
    if math.isfinite(cutoff) and 0 < beta < math.inf:
        gain, beta = _within(gain, weights, beta, cutoff)
    return Beta(beta, _sandwich_stderr(gain, weights, beta))


@torch.no_grad()
def estimate_beta_two_scales(
    ising: Ising, spins: Tensor, scaled_spins: Tensor, scale: float
) -> Beta:
    r"""Returns the inverse temperature from samples of a model programmed at two scales.

    Where :math:`p_x(E) \propto g(E) e^{-x \beta E}` with the same density of states g,

    .. math::
        \log \frac{p_x(E)}{p_1(E)} = (1 - x) \beta E + \text{const},

    so that beta is the slope of a logistic regression which tells the two sets of samples apart by
    their energies. It is the identity of QuALe, fitted without a histogram: maximum likelihood
    has no bins to choose. Unlike the pseudo-likelihood, which asks single spins, it looks at the
    distribution of the energy as a whole.

    Arguments:
        ising: The classical model that was programmed.
        spins: The samples of the model, of shape (S, N).
        scaled_spins: The samples of the model of `scale` times h and J, of shape (S', N).
        scale: The factor x, not 1.

    Raises:
        ValueError: If the scale is 1 or not positive, or the energies of the two sets do not
            overlap or do not vary, so that they say nothing.

    References:
        | Estimation of effective temperatures in quantum annealers for sampling applications
          (Benedetti et al., 2016)
        | https://arxiv.org/abs/1510.07611
    """
    if not scale > 0 or scale == 1:
        raise ValueError(f"scale is {scale}; a positive number other than 1 tells temperatures")
    energies = [ising.energy(s.to(ising.h)).double() for s in (spins, scaled_spins)]
    energy = torch.cat(energies)
    center, width = energy.mean(), energy.std()
    if not width > 0:
        raise ValueError("all samples have the same energy: every temperature fits them")
    label = torch.cat([torch.zeros(len(energies[0])), torch.ones(len(energies[1]))]).double()
    slope, stderr = _logistic_slope((energy - center) / width, label)
    factor = float(width) * (1 - scale)
    return Beta(slope / factor, stderr / abs(factor))


@torch.no_grad()
def thermal_misfit(ising: Ising, spins: Tensor, beta: float = 1.0) -> tuple[float, float]:
    r"""Returns how far off the fields are that spins obey, and the scatter of that.

    At thermal equilibrium, :math:`p(s_i | \text{rest}) = \sigma(-2 s_i \beta f_i)` with the field
    :math:`f_i = h_i + \sum_j J_{ij} s_j`. Each spin is allowed a temperature and an offset of its
    own, :math:`(\beta + a_i) f_i + b_i`, and the misfit is

    .. math::
        \sqrt{\langle (a_i f_i + b_i)^2 \rangle / \langle 1 + (\beta f_i)^2 \rangle},

    with the part subtracted that comes of the finite number of samples: a fraction where fields
    are strong, in units of the temperature where they are weak. Control noise, spurious fields,
    and a mixture of temperatures raise it above 0.

    Arguments:
        ising: The classical model.
        spins: Independent samples of shape (S, N).
        beta: The inverse temperature of the samples.

    Returns:
        The misfit, and the greatest misfit to be expected of so many thermal samples.

    Raises:
        ValueError: If the model has no fields and couplings.
    """
    if not (ising.h.any() or ising.J.any()):
        raise ValueError("without fields and couplings there is nothing to obey")
    spins = spins.detach().double()
    field = ising.fields(spins)
    mean = -torch.tanh(beta * field)
    weight, error = 1 - mean.square(), spins - mean
    # One Newton step from a = b = 0. Its score statistic is chi-square with 2 degrees of freedom
    # at each spin if the samples are thermal.
    moments = [(weight * field**k).sum(0) for k in range(3)]
    score = torch.stack([(error * field).sum(0), error.sum(0)])
    determinant = (moments[2] * moments[0] - moments[1].square()).clamp(min=1e-12)
    statistic = (
        moments[0] * score[0].square()
        - 2 * moments[1] * score[0] * score[1]
        + moments[2] * score[1].square()
    ) / determinant
    # Spins that hardly ever move would tell of errors in reading them, not of their fields.
    told = moments[0] > max(25.0, 0.02 * len(spins))
    if not bool(told.any()):
        return 0.0, math.inf  # frozen spins obey any field
    unit = float((moments[0] + beta**2 * moments[2]).sum())
    excess = float((statistic[told] - 2).sum()) / unit
    scatter = 3 * 2 * int(told.sum()) ** 0.5 / unit
    return math.sqrt(max(0.0, excess)), math.sqrt(scatter)


def _logistic_slope(x: Tensor, label: Tensor) -> tuple[float, float]:
    features = torch.stack([x, torch.ones_like(x)], -1)
    weights = torch.zeros(2, dtype=torch.float64)
    for _ in range(50):
        p = torch.sigmoid(features @ weights)
        hessian = (features.T * (p * (1 - p))) @ features
        step = torch.linalg.lstsq(hessian, features.T @ (label - p)).solution
        weights += step
        if float(step.abs().max()) < 1e-10:
            covariance = torch.linalg.inv(hessian)
            return float(weights[0]), float(covariance[0, 0].sqrt())
        if float(weights.abs().max()) > 50:
            break
    raise ValueError(
        "the energies of the two sets of samples do not overlap; take a scale closer to 1"
    )


def _within(gain: Tensor, weights: Tensor, beta: float, cutoff: float) -> tuple[Tensor, float]:
    r"""Returns the gains of spins in weak fields, 0 for others, and the estimate from them."""
    kept = gain
    for _ in range(ROUNDS):
        # A flip gains twice the field.
        weak = torch.where(gain.abs() * beta <= 2 * cutoff, gain, 0.0)
        if int((weak != 0).sum()) < MIN_SPINS:
            break
        found = _root(weak, weights)
        if not 0 < found < math.inf:
            break
        settled = abs(found / beta - 1) < 1e-3
        kept, beta = weak, found
        if settled:
            break
    return kept, beta


def _root(gain: Tensor, weights: Tensor) -> float:
    r"""Returns where the score, which falls with beta, is 0; infinite where that is nowhere."""
    low, high, beta = 0.0, math.inf, 1.0
    if bool((gain >= 0).all()):
        return math.inf  # nothing but local minima
    if float(weights @ gain.sum(-1)) <= 0:
        low = -math.inf
    for _ in range(200):
        flip = torch.sigmoid(-beta * gain)
        score = float(weights @ (gain * flip).sum(-1))
        slope = float(weights @ (gain.square() * flip * (1 - flip)).sum(-1))
        low, high = (beta, high) if score > 0 else (low, beta)
        step = beta + score / slope if slope > 0 else math.nan
        if abs(step - beta) <= 1e-9 * abs(beta):
            return step
        # Newton's step where it stays inside the bracket, and half or double the way otherwise.
        beta = step if low < step < min(high, 4 * abs(beta)) else _between(low, high, beta)
    return beta


def _between(low: float, high: float, beta: float) -> float:
    if math.isfinite(low) and math.isfinite(high):
        return (low + high) / 2
    return 2 * beta if math.isfinite(low) else beta - 2 * abs(beta)


def _sandwich_stderr(gain: Tensor, weights: Tensor, beta: float) -> float:
    if not math.isfinite(beta):
        return math.inf
    flip = torch.sigmoid(-beta * gain)
    score = (gain * flip).sum(-1)
    slope = (weights @ (gain.square() * flip * (1 - flip)).sum(-1)).abs()
    return float((weights.square() @ score.square()).sqrt() / slope)
