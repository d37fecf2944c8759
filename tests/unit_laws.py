r"""Layers of units of every kind, and what their laws are compared with."""

import math

import mpmath
import numpy as np
import pytest
import torch
from models import F64
from scipy import stats

from qahm_torch import (
    Autoregressive,
    CausalLinear,
    Concatenated,
    ContinuousSpins,
    DiscretizedLogistic,
    LogisticUnits,
    NormalUnits,
    OneHot,
    OrdinalUnits,
    PoissonUnits,
    Spins,
)

BOTH = [torch.float32, F64]
MAGNITUDES = [0.0, 1e-8, 1e-3, 0.05, 0.29, 0.31, 1.0, 30.0, 1e4]
NATURAL = [*MAGNITUDES, *(-a for a in MAGNITUDES[1:])]
LEVELS = 5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ordinal(num_units, num_levels, seed=0):
    r"""Ordinal units with thresholds of their own."""
    units = OrdinalUnits(num_units, num_levels).double()
    for parameter in units.parameters():
        parameter.data += torch.randn(parameter.shape, generator=seeded(seed), dtype=F64)
    return units


def autoregressive(units, num_per_unit=1, seed=0, scale=0.7):
    r"""Units in a row, with random weights between them."""
    context = CausalLinear(units.num_units, num_per_unit).double()
    context.weight.data.normal_(0, scale, generator=seeded(seed))
    return Autoregressive(units, context)


INDEPENDENT = {
    "spins": Spins(4),
    "relaxed": Spins(4, temperature=0.5),
    "continuous": ContinuousSpins(4),
    "levels": DiscretizedLogistic(4, num_levels=LEVELS),
    "ordinal": ordinal(4, LEVELS),
    "normal": NormalUnits(4),
    "logistic": LogisticUnits(4),
    "counts": PoissonUnits(4),
}
UNITS = {
    **INDEPENDENT,
    "one-hot": OneHot(4),
    "relaxed one-hot": OneHot(4, temperature=0.5),
    "concatenated": Concatenated([DiscretizedLogistic(1, LEVELS), ContinuousSpins(1), OneHot(2)]),
    "autoregressive": autoregressive(Spins(4)),
}
each = pytest.mark.parametrize("units", UNITS.values(), ids=UNITS.keys())


def activations_of(units, *shape, dtype=F64, seed=0):
    return torch.randn(*shape, units.num_parameters, generator=seeded(seed), dtype=dtype)


def codes(n):
    r"""Every state of a one-hot layer, of shape (n, n)."""
    return 2 * torch.eye(n, dtype=F64) - 1


def grid(num_levels, dtype=F64):
    r"""Every level of one unit, of shape (L, 1)."""
    level = torch.arange(num_levels, dtype=dtype)
    return (2 * level / (num_levels - 1) - 1).unsqueeze(-1)


def by_mpmath(function, *arguments):
    r"""The function at the very numbers of the tensors, rounded to float64 at the end."""
    rows = zip(*(a.double().tolist() for a in arguments), strict=True)
    with mpmath.workdps(60):
        exact = [float(function(*(mpmath.mpf(x) for x in row))) for row in rows]
    return torch.tensor(exact, dtype=F64)


def quadrature(a):
    r"""Nodes and weights for the integral over [-1, 1] of what falls off like exp(a v)."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(200))
    width = min(2.0, 100 / max(abs(a), 1e-300))
    return math.copysign(1, a) * (1 - width * (1 - nodes) / 2), weights * width / 2


def p_of_counts(states, log_prob):
    r"""The p-value of Pearson's test of the states, numbered, against their log-probabilities."""
    counts = torch.bincount(states, minlength=len(log_prob)).double()
    return stats.chisquare(counts, log_prob.detach().exp() * len(states)).pvalue


def p_of_cdf(draws, cdf):
    r"""The p-value of the test of Kolmogorov and Smirnov of draws against a law."""
    return stats.kstest(draws.flatten().double().numpy(), cdf).pvalue
