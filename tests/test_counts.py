r"""Counts: Poisson units."""

import math

import pytest
import torch
from models import F64
from scipy import stats
from unit_laws import p_of_counts, seeded

from qahm_torch import PoissonUnits


def law_of(rate):
    return PoissonUnits(1)(torch.tensor([math.log(rate)], dtype=F64))


@pytest.mark.parametrize("rate", [1e-3, 0.7, 30.0, 1e5])
def test_log_probabilities_are_those_of_scipy(rate):
    counts = torch.arange(100, dtype=F64)
    found = law_of(rate).log_prob(counts.unsqueeze(-1))
    torch.testing.assert_close(found, torch.from_numpy(stats.poisson.logpmf(counts, rate)))


def p_of_rate(draws, rate):
    states = draws.flatten().long().clamp(max=8)
    log_p = law_of(rate).log_prob(torch.arange(8, dtype=F64).unsqueeze(-1))
    rest = torch.log1p(-log_p.exp().sum()).unsqueeze(0)
    return p_of_counts(states, torch.cat([log_p, rest]))


@pytest.mark.parametrize("rate", [0.7, 3.0])
def test_counts_are_sampled(rate):
    draws = law_of(rate).sample((20_000,), seeded(1))
    assert p_of_rate(draws, rate) > 1e-3
    assert p_of_rate(draws, 1.2 * rate) < 1e-3


def test_rates_beyond_all_bounds():
    law = PoissonUnits(2)(torch.tensor([-1e4, 1e4]))
    assert law.mean.isfinite().all() and (law.mean > 0).all()
    assert law.log_prob(torch.tensor([3.0, 3.0])).isfinite()
    assert law.log_prob(torch.zeros(2)).isfinite()
