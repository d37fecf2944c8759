r"""Whether the gradient that a device gives points the right way, and what may be done if not."""

from __future__ import annotations

__all__ = ["GradientDirection", "GradientRule", "corrected_moments", "gradient_direction"]

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Moments, agreement
from qahm_torch.ising.moment_agreement import Spread, spread

Verdict = Literal["noise only", "right direction", "wrong direction", "unclear"]
GradientRule = Literal["raw", "flip", "signs", "mix"]


class GradientDirection(NamedTuple):
    r"""The cosine between the gradient of a device and that of a reference."""

    cosine: float  # without the part that the noise of samples takes off; NaN if nothing is left
    lower: float  # the ends of its confidence interval
    upper: float
    plain_cosine: float  # of the gradients as they are, noise included
    p_value: float  # of the agreement of moments; see `agreement`
    verdict: Verdict


@torch.no_grad()
def gradient_direction(
    graph: CouplingGraph,
    data: Moments,
    spins: Tensor,
    reference: Tensor | Moments,
    *,
    confidence: float = 0.95,
    level: float = 1e-3,
) -> GradientDirection:
    r"""Compares the gradient by samples of a device with that by a reference.

    The gradient of the negative log-likelihood is g = d - m by moments d of the data and m of S
    samples, and :math:`g' = d - m'` by those of the reference. Near the optimum both are nothing
    but noise, and their cosine falls, though nothing is wrong. The noise lengthens each vector,
    by :math:`v = \operatorname{tr} \Sigma / S` in its square, and leaves their product alone
    where the two sets of samples are independent. What is estimated is the cosine of the gradients
    without noise,

    .. math::
        c = \frac{g \cdot g'}{\sqrt{(|g|^2 - v) (|g'|^2 - v')}},

    cut off at +-1, with an interval by the delta method. Where a gradient is not longer than what
    noise would make it, there is no direction to speak of, the cosine is NaN and the interval is
    [-1, 1].

    The verdict is "noise only" where the moments agree within noise, so that nothing is wrong
    whatever the cosine is; otherwise "right direction" if the interval is above 0, "wrong
    direction" if it is below 0, and "unclear" if it has 0 in it.

    Arguments:
        graph: The graph, with N spins and E edges.
        data: The moments of the data, for this batch. With hidden units, those of the units given
            the data.
        spins: Independent samples of the device, of shape (S, N).
        reference: Independent samples of the model, of shape (S', N), or its exact moments.
        confidence: The probability that the interval covers the cosine. With few samples it is
            less (about 0.9 for 0.95), where noise is a good part of the gradient.
        level: The probability with which samples of the model itself are not "noise only".

    Raises:
        ValueError: If `confidence` or `level` is not between 0 and 1, or as in `agreement`.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> graph = CouplingGraph.complete(3)
        >>> data = Moments(torch.ones(3), torch.ones(3))
        >>> spins = torch.randint(0, 2, (1000, 3)) * 2.0 - 1
        >>> gradient_direction(graph, data, spins, spins.flip(0)).verdict
        'noise only'
    """
    for name, value in (("confidence", confidence), ("level", level)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, but a probability is between 0 and 1")
    side, other = (_Side(data, spread(graph, s), confidence) for s in (spins, reference))
    plain = float(torch.cosine_similarity(side.gradient, other.gradient, dim=0))
    cosine, lower, upper = _interval(side, other, confidence)
    p_value = agreement(graph, spins, reference).p_value
    verdict: Verdict = "unclear"
    if p_value >= level:
        verdict = "noise only"
    elif lower > 0:
        verdict = "right direction"
    elif upper < 0:
        verdict = "wrong direction"
    return GradientDirection(cosine, lower, upper, plain, p_value, verdict)


def corrected_moments(
    rule: GradientRule, data: Moments, found: Moments, reference: Moments, weight: float = 1.0
) -> Moments:
    r"""Returns the moments with which the gradient of a device is corrected by a reference.

    With the gradients g = d - m of the device and :math:`g' = d - m'` of the reference, the one
    that is taken is

    - "raw": g;
    - "flip": g, turned around as a whole where :math:`g \cdot g' < 0`, so that its projection on
      the reference is never negative, which is what descent asks for;
    - "signs": :math:`|g_k| \operatorname{sign} g'_k`, each component of g turned around where its
      sign disagrees with that of the reference;
    - "mix": :math:`w g + (1 - w) g'`, with the weight that `agreement` gives.

    Arguments:
        rule: The rule.
        data: The moments d of the data.
        found: The moments m of samples of the device.
        reference: The moments of the reference.
        weight: The weight w of the device in a mixture.

    Returns:
        Moments, which are d less the gradient, for `log_partition`. Those of "flip" and "signs"
        need not be moments of any law.

    Raises:
        ValueError: If the rule is unknown, or the weight is not from 0 to 1.

    Example:
        >>> data, found = Moments(torch.zeros(1), torch.zeros(1)), Moments(*torch.ones(2, 1))
        >>> reference = Moments(torch.tensor([0.5]), torch.tensor([-2.0]))
        >>> corrected_moments("signs", data, found, reference)
        Moments(mean=tensor([1.]), correlation=tensor([-1.]))
        >>> corrected_moments("flip", data, found, reference)
        Moments(mean=tensor([-1.]), correlation=tensor([-1.]))
    """
    if rule not in get_args(GradientRule):
        raise ValueError(f"rule is {rule!r}, but it is one of {get_args(GradientRule)}")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}, but it is from 0 to 1")
    pairs = list(zip(data, found, reference, strict=True))
    product = sum(float((d - m) @ (d - r)) for d, m, r in pairs)
    if rule == "flip" and product < 0:
        return Moments(*(2 * d - m for d, m, _ in pairs))
    if rule == "signs":
        return Moments(*(d - (d - m).abs() * (d - r).sign() for d, m, r in pairs))
    if rule == "mix":
        return Moments(*(weight * m + (1 - weight) * r for _, m, r in pairs))
    return found


class _Side:
    r"""A gradient by samples, and its length without the noise of these."""

    def __init__(self, data: Moments, samples: Spread, confidence: float):
        self.gradient = torch.cat(list(data)).to(samples.mean) - samples.mean
        self.factor = samples.factor
        self.square = float(self.gradient.square().sum() - samples.variance)
        # Without a gradient the square would scatter around 0, by so much.
        scatter = math.sqrt(2 * _overlap(self, self))
        self.is_told = self.square > max(_quantile(confidence) * scatter, 1e-20)


def _overlap(side: _Side, other: _Side) -> float:
    r"""Returns the trace of the product of the covariances of two gradients."""
    return float((side.factor @ other.factor.T).square().sum())


def _interval(side: _Side, other: _Side, confidence: float) -> tuple[float, float, float]:
    r"""Returns the cosine without noise, and the ends of its interval."""
    if not (side.is_told and other.is_told):
        return math.nan, -1.0, 1.0
    lengths = (side.square * other.square) ** 0.5
    cosine = float(side.gradient @ other.gradient) / lengths
    # That of second order, which is all that there is where the cosine is 1.
    variance = _overlap(side, other) / lengths**2
    for one, two in ((side, other), (other, side)):
        # The derivative of the cosine in one of the gradients.
        slope = two.gradient / lengths - cosine * one.gradient / one.square
        variance += float((one.factor @ slope).square().sum())
        variance += cosine**2 * _overlap(one, one) / (2 * one.square**2)
    margin = _quantile(confidence) * variance**0.5
    ends = (cosine, cosine - margin, cosine + margin)
    middle, lower, upper = (min(max(x, -1.0), 1.0) for x in ends)
    return middle, lower, upper


def _quantile(confidence: float) -> float:
    r"""Returns the normal quantile that bounds an interval of so much confidence."""
    return float(torch.special.ndtri(torch.tensor((1 + confidence) / 2, dtype=torch.float64)))
