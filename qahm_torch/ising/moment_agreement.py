r"""Whether two sets of samples have the same moments, and how much each of them should count."""

from __future__ import annotations

__all__ = ["Agreement", "Spread", "agreement", "mixed_samples", "spread"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising.graph import CouplingGraph
from qahm_torch.ising.model import Moments
from qahm_torch.ising.samples import Samples


class Agreement(NamedTuple):
    r"""How far apart the moments of samples and of a reference are."""

    p_value: float  # the probability of so great a distance, were the laws the same
    distance: float  # squared, summed over moments
    noise: float  # the distance to be expected of the finite numbers of samples alone
    weight: float  # of the samples, in the mixture with the reference that errs least


class Spread(NamedTuple):
    r"""The moments of independent samples, and the covariance of their errors as a factor."""

    mean: Tensor  # (K,), with K = N + E
    factor: Tensor  # (S, K), and factor.T @ factor estimates the covariance of the mean

    @property
    def variance(self) -> Tensor:
        r"""The variance of the mean, summed over moments."""
        return self.factor.square().sum()


def agreement(graph: CouplingGraph, spins: Tensor, reference: Tensor | Moments) -> Agreement:
    r"""Compares the moments of samples, such as those of a device, with those of a reference.

    With m the moments of S samples, r those of S' samples of the reference, and :math:`\Sigma`,
    :math:`\Sigma'` the covariances of a sample's spins and products of spins, the statistic is

    .. math::
        D = |m - r|^2, \qquad \langle D \rangle = |b|^2 + v + v', \qquad
        v = \operatorname{tr} \Sigma / S, \quad v' = \operatorname{tr} \Sigma' / S',

    where b is the bias of the samples. Without bias, D is distributed as a weighted sum of squared
    normals whose weights are the eigenvalues of :math:`\Sigma / S + \Sigma' / S'`. It is replaced
    by the chi-square law with the same mean, variance and skewness, which gives the p-value.

    The mixture :math:`w m + (1 - w) r` has the least squared error at :math:`w = v' / (|b|^2 + v +
    v')`, the inverse variances where there is no bias. Since D estimates the denominator, the
    weight is :math:`v' / D`, at most :math:`v' / (v + v')`: the less, the more biased the samples
    are and the more precise the reference is; 0 for exact moments.

    Arguments:
        graph: The graph, with N spins and E edges.
        spins: Independent samples of shape (S, N); of a Markov chain, one per chain.
        reference: Independent samples of shape (S', N) of the law that is meant, or its exact
            moments.

    Raises:
        ValueError: If there are fewer than 2 samples, or spins of another number than in the
            graph.

    References:
        | Note on an approximation to the distribution of non-central chi-square (Pearson, 1959)
        | https://doi.org/10.2307/2333542
        | A James-Stein type estimator for combining unbiased and possibly biased estimators (Green
          & Strawderman, 1991)
        | https://doi.org/10.1080/01621459.1991.10475144

    Example:
        >>> graph = CouplingGraph.complete(3)
        >>> spins = torch.randint(0, 2, (1000, 3)) * 2.0 - 1
        >>> agreement(graph, spins, spins.roll(1, 0)).p_value
        1.0
        >>> agreement(graph, spins, torch.ones(1000, 3)).p_value < 1e-6
        True
    """
    found, other = spread(graph, spins), spread(graph, reference)
    distance = float((found.mean - other.mean).square().sum())
    noise = float(found.variance + other.variance)
    p_value = _tail(distance, torch.cat([found.factor, other.factor]))
    most = max(distance, noise)
    weight = float(other.variance) / most if most > 0 else 0.0
    return Agreement(p_value, distance, noise, weight)


@torch.no_grad()
def spread(graph: CouplingGraph, samples: Tensor | Moments) -> Spread:
    r"""Returns the moments of independent samples (S, N) and the scatter of these.

    Exact moments have no scatter: their factor has no rows.

    Raises:
        ValueError: As in `agreement`.
    """
    if isinstance(samples, Moments):
        mean = torch.cat(list(samples)).double()
        return Spread(mean, mean.new_zeros(0, len(mean)))
    if samples.ndim != 2 or samples.shape[1] != graph.num_spins:
        raise ValueError(
            f"spins have shape {tuple(samples.shape)}, but samples of this graph have "
            f"(S, {graph.num_spins})"
        )
    count = len(samples)
    if count < 2:
        raise ValueError(f"there is {count} sample, but scatter is seen in 2 or more")
    i, j = graph.edges.to(samples.device).unbind(-1)
    spins = samples.double()
    features = torch.cat([spins, spins[:, i] * spins[:, j]], -1)
    mean = features.mean(0)
    return Spread(mean, (features - mean) / (count * (count - 1)) ** 0.5)


def mixed_samples(samples: Samples, reference: Samples, weight: float) -> Samples:
    r"""Returns samples whose moments are those of two sets, mixed.

    They are the rows of both sets, weighted such that the moments are exactly :math:`w m + (1 - w)
    r`, for use as the `negative` of a prior. State and info are those of the first set.

    Arguments:
        samples: The first set, S samples.
        reference: The second set, S' samples.
        weight: The weight w of the first set, from 0 to 1.

    Raises:
        ValueError: If the weight is not from 0 to 1.

    Example:
        >>> up, down = Samples(torch.ones(2, 3)), Samples(-torch.ones(8, 3))
        >>> mixed = mixed_samples(up, down, 0.75)
        >>> mixed.weights @ mixed.spins
        tensor([0.5000, 0.5000, 0.5000])
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}, but it is from 0 to 1")
    shares = [weight * _normalized(samples), (1 - weight) * _normalized(reference)]
    spins = torch.cat([samples.spins, reference.spins.to(samples.spins)])
    return samples._replace(spins=spins, weights=torch.cat([s.to(spins) for s in shares]))


def _normalized(samples: Samples) -> Tensor:
    if samples.weights is None:
        return samples.spins.new_full((len(samples.spins),), 1 / len(samples.spins))
    return samples.weights / samples.weights.sum()


def _tail(distance: float, factor: Tensor) -> float:
    r"""Returns the probability that a sum of squared normals exceeds a distance.

    Arguments:
        distance: The distance.
        factor: The normals have covariance `factor.T @ factor`, of shape (R, K).
    """
    # The two products have the same eigenvalues but for zeros; the smaller one is cheaper.
    rows, columns = factor.shape
    matrix = factor.T @ factor if columns <= rows else factor @ factor.T
    first, second = float(matrix.trace()), float(matrix.square().sum())
    third = float((matrix @ matrix * matrix).sum())
    if not third > 0:
        return 1.0 if distance == 0 else 0.0
    degrees = second**3 / third**2
    x = degrees + (distance - first) * (degrees / second) ** 0.5
    halves = torch.tensor([degrees / 2, max(x, 0.0) / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(halves[0], halves[1]))
