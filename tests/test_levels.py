r"""Levels on a grid: the discretized logistic, and ordinal units."""

import math
from itertools import pairwise

import mpmath
import pytest
import torch
from models import F64
from unit_laws import BOTH, grid, ordinal, p_of_counts, seeded

from qahm_torch import DiscretizedLogistic, OrdinalUnits
from qahm_torch.nn.levels import OrderedLogistic

EXTREMES = torch.cartesian_prod(
    torch.tensor([-1e4, -1.5, -1.0, -0.3, 0.0, 0.7, 0.999, 1.0, 1e4]),
    torch.tensor([-1e4, -50.0, -7.0, -5.0, -3.0, 0.0, 7.0, 50.0, 1e4]),
)


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("num_levels", [2, 3, 256])
def test_discretized_logistic_is_normalized_at_the_extremes(num_levels, dtype):
    activations = EXTREMES.to(dtype).requires_grad_()
    law = DiscretizedLogistic(1, num_levels)(activations)
    log_prob = law.log_prob(grid(num_levels, dtype).unsqueeze(1))
    total = log_prob.double().exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)
    assert log_prob.isfinite().all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), activations)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", BOTH)
def test_discretized_logistic_is_the_integral_of_its_bins(dtype):
    # float32 has to find probabilities of e^-200 that a plain difference gives as zero.
    m, log_s, num_levels = 0.3125, -5.0, 64
    law = DiscretizedLogistic(1, num_levels)(torch.tensor([m, log_s], dtype=dtype))
    log_prob = law.log_prob(grid(num_levels, dtype))

    def mass(edge):
        return 1 / (1 + mpmath.exp(-(edge - m) / mpmath.exp(log_s)))

    with mpmath.workdps(400):
        edges = [mpmath.mpf(2 * level - num_levels) / 63 for level in range(1, num_levels)]
        masses = [mpmath.mpf(0), *(mass(edge) for edge in edges), mpmath.mpf(1)]
        bins = [float(mpmath.log(b - a)) for a, b in pairwise(masses)]
    rtol = 1e-12 if dtype is F64 else 1e-5
    expected = torch.tensor(bins, dtype=F64)
    torch.testing.assert_close(log_prob.double(), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("num_levels", [2, 7, 256])
def test_mean_and_entropy_of_the_discretized_logistic(num_levels):
    law = DiscretizedLogistic(1, num_levels)(EXTREMES.double())
    log_p = law.log_prob(grid(num_levels).unsqueeze(1))
    expected = (log_p.exp() * grid(num_levels)).sum(0, keepdim=True).mT
    torch.testing.assert_close(law.mean, expected)
    torch.testing.assert_close(law.entropy(), -(log_p.exp() * log_p).sum(0))


def test_discretized_logistic_bounds_the_log_scale():
    units = DiscretizedLogistic(1, 256, min_log_scale=-2.0)
    at, below = (units(torch.tensor([0.1, s], dtype=F64)) for s in (-2.0, -9.0))
    torch.testing.assert_close(at.log_prob(grid(256)), below.log_prob(grid(256)))


@pytest.mark.parametrize("kind", ["levels", "ordinal"])
def test_the_nearest_level_counts(kind):
    law = {
        "levels": DiscretizedLogistic(1, 3)(torch.tensor([0.2, -1.0], dtype=F64)),
        "ordinal": ordinal(1, 3)(torch.tensor([0.2], dtype=F64)),
    }[kind]
    off = torch.tensor([[-1.2], [-0.51], [-0.49], [0.4], [0.6], [1.7]], dtype=F64)
    on = torch.tensor([[-1.0], [-1.0], [0.0], [0.0], [1.0], [1.0]], dtype=F64)
    assert torch.equal(law.log_prob(off), law.log_prob(on))
    assert len(law.log_prob(on).unique()) == 3


def p_of_levels(draws, law, num_levels):
    level = ((draws + 1) * (num_levels - 1) / 2).flatten()
    torch.testing.assert_close(level, level.round())
    return p_of_counts(level.round().long(), law.log_prob(grid(num_levels)))


def gray(num_levels, scale=1.0):
    activations = torch.tensor([0.4, math.log(scale) - 1.0], dtype=F64)
    return DiscretizedLogistic(1, num_levels)(activations)


@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_gray_levels_are_sampled(num_levels):
    draws = gray(num_levels).sample((20_000,), seeded(4))
    assert p_of_levels(draws, gray(num_levels), num_levels) > 1e-3
    wrong = gray(num_levels, 1.2).sample((20_000,), seeded(4))
    assert p_of_levels(wrong, gray(num_levels), num_levels) < 1e-3


@pytest.mark.parametrize(("location", "level"), [(1e4, 1.0), (-1e4, -1.0)])
def test_levels_of_a_distant_location(location, level):
    # In bfloat16 a uniform draw is 0 often enough to be seen.
    activations = torch.tensor([location, -1e4], dtype=torch.bfloat16)
    draws = DiscretizedLogistic(1, num_levels=3)(activations).sample((100_000,), seeded())
    assert (draws == level).all()


# Ordinal units.


@pytest.mark.parametrize("num_levels", [2, 3, 7])
def test_ordinal_levels_start_equally_probable(num_levels):
    law = OrdinalUnits(2, num_levels)(torch.zeros(2))
    p = law.log_prob(grid(num_levels, torch.float32).expand(-1, 2)).exp()
    torch.testing.assert_close(p, torch.full((num_levels,), 1 / num_levels**2))


@pytest.mark.parametrize("num_levels", [2, 3, 7])
def test_cumulative_logits_differ_by_constants(num_levels):
    units = ordinal(1, num_levels)
    m = torch.linspace(-20, 20, 9, dtype=F64).unsqueeze(-1)
    p = units(m).log_prob(grid(num_levels).unsqueeze(1)).exp()
    torch.testing.assert_close(p.sum(0), torch.ones(9, dtype=F64))
    above = torch.logit(p.flip(0).cumsum(0).flip(0)[1:])[:, 3:6] - m[3:6, 0]
    torch.testing.assert_close(above, above[:, :1].expand(-1, 3))
    assert (above.diff(dim=0) < 0).all()


def test_each_ordinal_unit_has_thresholds_of_its_own():
    units = ordinal(2, 4)
    terms = units(torch.zeros(2, dtype=F64)).base_dist.log_prob(grid(4))
    assert not torch.allclose(terms[:, 0], terms[:, 1])
    for k in range(2):
        single = OrdinalUnits(1, 4).double()
        single.load_state_dict({name: p[k : k + 1] for name, p in units.state_dict().items()})
        torch.testing.assert_close(
            single(torch.zeros(1, dtype=F64)).log_prob(grid(4)), terms[:, k]
        )


@pytest.mark.parametrize("num_levels", [2, 5])
def test_ordinal_levels_are_sampled(num_levels):
    law, wrong = (ordinal(1, num_levels)(torch.tensor([m], dtype=F64)) for m in (0.4, 0.6))
    draws = law.sample((20_000,), seeded(5))
    assert p_of_levels(draws, law, num_levels) > 1e-3
    assert p_of_levels(draws, wrong, num_levels) < 1e-3


@pytest.mark.parametrize("m", [-200.0, 0.3, 200.0])
def test_far_ordinal_levels_keep_their_digits(m):
    loc, first, gaps = (torch.tensor(x, dtype=F64) for x in ([m], [-0.7], [[0.01, 3.0]]))
    found = OrderedLogistic(loc, first, gaps).log_prob(grid(4)).flatten()
    with mpmath.workdps(400):
        above = [1 / (1 + mpmath.exp(c - m)) for c in (-0.7, -0.7 + 0.01, -0.7 + 0.01 + 3.0)]
        tails = [mpmath.mpf(1), *above, mpmath.mpf(0)]
        exact = [float(mpmath.log(a - b)) for a, b in pairwise(tails)]
    torch.testing.assert_close(found, torch.tensor(exact, dtype=F64), rtol=1e-12, atol=1e-13)


def test_thresholds_are_learned():
    torch.manual_seed(1)
    truth = torch.tensor([0.1, 0.6, 0.05, 0.25])
    data = grid(4, torch.float32)[torch.multinomial(truth, 4000, replacement=True)]
    units = OrdinalUnits(1, 4)
    optimizer = torch.optim.Adam(units.parameters(), lr=0.1)
    for _ in range(150):
        loss = -units(torch.zeros(1)).log_prob(data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    p = units(torch.zeros(1)).log_prob(grid(4, torch.float32)).exp()
    assert (p - truth).abs().max() < 0.04


def test_settings_are_checked():
    for kind in (DiscretizedLogistic, OrdinalUnits):
        with pytest.raises(ValueError, match="num_levels is 1, but at least 2 levels"):
            kind(3, num_levels=1)
        with pytest.raises(ValueError, match="num_levels is 2.5, but a positive integer"):
            kind(3, num_levels=2.5)
    for least in (20.0, math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match=f"min_log_scale is {least}, but a finite one below"):
            DiscretizedLogistic(3, min_log_scale=least)
