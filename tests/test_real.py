r"""Real values: normal and logistic units."""

import math

import pytest
import torch
from models import F64
from scipy import stats
from unit_laws import p_of_cdf, seeded

from qahm_torch import LogisticUnits, NormalUnits
from qahm_torch.nn.real import Logistic

KINDS = {NormalUnits: stats.norm, LogisticUnits: stats.logistic}
each = pytest.mark.parametrize("kind", KINDS)


def law_of(kind, loc, scale, min_scale=1e-3):
    activations = torch.tensor([loc, math.log(scale - min_scale)], dtype=F64)
    return kind(1, min_scale)(activations)


@each
def test_log_densities_are_those_of_scipy(kind):
    values = torch.linspace(-50, 50, 11, dtype=F64).unsqueeze(-1)
    found = law_of(kind, 0.3, 1.7).log_prob(values)
    expected = KINDS[kind].logpdf(values.squeeze(-1), 0.3, 1.7)
    torch.testing.assert_close(found, torch.from_numpy(expected))


@each
def test_real_values_are_sampled(kind):
    law, expected = law_of(kind, 0.3, 1.7), KINDS[kind](0.3, 1.7).cdf
    for draws in (law.sample((20_000,), seeded(1)), law.rsample((20_000,), seeded(1))):
        assert p_of_cdf(draws, expected) > 1e-3
    assert p_of_cdf(law_of(kind, 0.3, 2.04).sample((20_000,), seeded(1)), expected) < 1e-3
    assert p_of_cdf(law_of(kind, 0.5, 1.7).sample((20_000,), seeded(1)), expected) < 1e-3


@each
def test_distribution_function(kind):
    law = law_of(kind, 0.3, 1.7).base_dist
    v = torch.linspace(-5, 5, 7, dtype=F64)
    torch.testing.assert_close(law.cdf(v), torch.from_numpy(KINDS[kind](0.3, 1.7).cdf(v)))


@each
def test_scale_has_a_floor_from_which_there_is_a_way_back(kind):
    activations = torch.tensor([0.0, -7.0], requires_grad=True)
    law = kind(1, min_scale=0.01)(activations)
    far = law.log_prob(torch.tensor([1.0]))
    (gradient,) = torch.autograd.grad(far, activations)
    assert gradient[1] > 0  # a broader one explains a value far off better
    narrow = kind(1, min_scale=0.01)(torch.tensor([0.0, -1e4]))
    assert narrow.log_prob(torch.zeros(1)) < -math.log(0.01)
    assert narrow.log_prob(torch.tensor([1.0])).isfinite()
    assert kind(1)(torch.tensor([0.0, 1e4])).log_prob(torch.zeros(1)).isfinite()


def test_a_distant_draw_is_finite():
    law = Logistic(torch.zeros(100_000, dtype=torch.bfloat16), torch.ones(()).bfloat16())
    assert law.sample(generator=seeded()).isfinite().all()


@each
@pytest.mark.parametrize("floor", [0.0, -1.0, math.inf, math.nan])
def test_the_floor_is_checked(kind, floor):
    with pytest.raises(ValueError, match=f"min_scale is {floor}, but a positive number"):
        kind(2, min_scale=floor)
