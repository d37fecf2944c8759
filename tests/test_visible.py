import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck

from qahm_torch import (
    Concatenated,
    ContinuousSpins,
    DiscretizedLogistic,
    OneHot,
    Spins,
    VisibleDistribution,
)
from qahm_torch.nn.gray import langevin, log_normalizer

F64 = torch.float64
BOTH = [torch.float32, F64]
MAGNITUDES = [0.0, 1e-8, 1e-3, 0.05, 0.29, 0.31, 1.0, 30.0, 1e4]
NATURAL = [*MAGNITUDES, *(-a for a in MAGNITUDES[1:])]

LEVELS = 5
DISTRIBUTIONS = {
    "spins": Spins(4),
    "one-hot": OneHot(4),
    "continuous": ContinuousSpins(4),
    "logistic": DiscretizedLogistic(4, num_levels=LEVELS),
    "concatenated": Concatenated([DiscretizedLogistic(1, LEVELS), ContinuousSpins(1), OneHot(2)]),
}
each = pytest.mark.parametrize("units", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS.keys())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters_of(units, *shape, dtype=F64, seed=0):
    return torch.randn(*shape, units.num_parameters, generator=seeded(seed), dtype=dtype)


def codes(n):
    r"""Every state of a one-hot layer, of shape (n, n)."""
    return 2 * torch.eye(n, dtype=F64) - 1


def grid(num_levels, dtype=F64):
    r"""Every level of one unit, of shape (L, 1)."""
    level = torch.arange(num_levels, dtype=dtype)
    return (2 * level / (num_levels - 1) - 1).unsqueeze(-1)


def exact_log_normalizer(a):
    return mpmath.log(2 * mpmath.sinh(a) / a) if a else mpmath.log(2)


def exact_langevin(a):
    return mpmath.coth(a) - 1 / a if a else mpmath.mpf(0)


def exact_slope(a):
    return 1 / a**2 - mpmath.csch(a) ** 2 if a else mpmath.mpf(1) / 3


def by_mpmath(function, a):
    r"""The function at the very numbers of the tensor, rounded to float64 at the end."""
    with mpmath.workdps(60):
        exact = [float(function(mpmath.mpf(x))) for x in a.double().tolist()]
    return torch.tensor(exact, dtype=F64)


def quadrature(a):
    r"""Nodes and weights for the integral over [-1, 1] of what falls off like exp(a v)."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(200))
    width = min(2.0, 100 / max(abs(a), 1e-300))
    return math.copysign(1, a) * (1 - width * (1 - nodes) / 2), weights * width / 2


def cdf(v, a):
    r"""The distribution function of `ContinuousSpins`, given a != 0."""
    if a < 0:
        return 1 - cdf(-v, -a)
    return np.exp(a * (v - 1)) * np.expm1(-a * (v + 1)) / np.expm1(-2 * a)


def p_of_counts(states, log_prob):
    r"""The p-value of Pearson's test of the states, numbered, against their log-probabilities."""
    counts = torch.bincount(states, minlength=len(log_prob)).double()
    return stats.chisquare(counts, log_prob.exp() * len(states)).pvalue


# The functions of the natural parameter.


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-6), (F64, 1e-14)])
def test_log_normalizer(dtype, rtol):
    a = torch.tensor(NATURAL, dtype=dtype)
    expected = by_mpmath(exact_log_normalizer, a)
    assert log_normalizer(a).dtype is dtype
    torch.testing.assert_close(log_normalizer(a).double(), expected, rtol=rtol, atol=0)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (F64, 1e-14)])
def test_langevin_is_the_gradient_of_the_log_normalizer(dtype, atol):
    a = torch.tensor(NATURAL, dtype=dtype, requires_grad=True)
    expected = by_mpmath(exact_langevin, a)
    (gradient,) = torch.autograd.grad(log_normalizer(a).sum(), a)
    torch.testing.assert_close(langevin(a).detach().double(), expected, rtol=0, atol=atol)
    assert torch.equal(gradient, langevin(a))


def test_langevin_keeps_its_digits_at_small_parameters():
    a = torch.cat([torch.logspace(-12, 0, 200, dtype=F64), -torch.logspace(-1, 1, 200, dtype=F64)])
    expected = by_mpmath(exact_langevin, a)
    torch.testing.assert_close(langevin(a), expected, rtol=3e-14, atol=0)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 3e-6), (F64, 1e-14)])
def test_slope_of_langevin(dtype, atol):
    a = torch.tensor(NATURAL, dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(langevin(a).sum(), a)
    expected = by_mpmath(exact_slope, a)
    torch.testing.assert_close(slope.double(), expected, rtol=0, atol=atol)
    assert (slope > 0).all()


@pytest.mark.parametrize("function", [log_normalizer, langevin])
def test_first_and_second_gradients(function):
    a = torch.tensor(NATURAL, dtype=F64, requires_grad=True)
    assert gradcheck(function, a)
    assert gradgradcheck(function, a)


def test_langevin_beyond_all_bounds():
    assert langevin(torch.tensor([math.inf, -math.inf])).tolist() == [1, -1]
    a = torch.tensor([1e30, -1e30], requires_grad=True)
    value = langevin(a)
    (slope,) = torch.autograd.grad(value.sum(), a, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), a)
    assert value.tolist() == [1, -1]
    assert slope.tolist() == curvature.tolist() == [0, 0]


def test_log_normalizer_in_function_transforms():
    a = torch.tensor(NATURAL, dtype=F64)
    gradients = torch.func.vmap(torch.func.grad(log_normalizer))(a)
    torch.testing.assert_close(gradients, langevin(a))


# Normalization.


@pytest.mark.parametrize("a", NATURAL)
def test_continuous_spins_integrate_to_one_and_to_the_mean(a):
    units, a = ContinuousSpins(1), torch.tensor([a], dtype=F64)
    nodes, weights = quadrature(a.item())
    density = units.log_prob(nodes.unsqueeze(-1), a).exp()
    torch.testing.assert_close((weights * density).sum(), torch.ones((), dtype=F64))
    torch.testing.assert_close((weights * density * nodes).sum(), units.mean(a)[0])


@pytest.mark.parametrize("dtype", BOTH)
def test_spins_are_normalized(dtype):
    a = torch.tensor(NATURAL, dtype=dtype)
    units = Spins(len(NATURAL))
    up, down = (units.unit_log_prob(s * torch.ones_like(a), a) for s in (1, -1))
    torch.testing.assert_close(torch.logaddexp(up, down), torch.zeros_like(a))
    torch.testing.assert_close(up - down, 2 * a)
    torch.testing.assert_close(up.exp() - down.exp(), units.mean(a))


def test_one_hot_is_normalized():
    units, a = OneHot(4), 3 * torch.randn(7, 1, 4, generator=seeded(), dtype=F64)
    p = units.log_prob(codes(4), a).exp()
    torch.testing.assert_close(p, torch.softmax(a.squeeze(1), -1))
    torch.testing.assert_close(p @ codes(4), units.mean(a).squeeze(1))


EXTREMES = torch.cartesian_prod(
    torch.tensor([-1e4, -1.5, -1.0, -0.3, 0.0, 0.7, 0.999, 1.0, 1e4]),
    torch.tensor([-1e4, -50.0, -7.0, -5.0, -3.0, 0.0, 7.0, 50.0, 1e4]),
)


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("num_levels", [2, 3, 256])
def test_discretized_logistic_is_normalized_at_the_extremes(num_levels, dtype):
    units = DiscretizedLogistic(1, num_levels)
    parameters = EXTREMES.to(dtype).requires_grad_()
    log_prob = units.log_prob(grid(num_levels, dtype).unsqueeze(1), parameters)
    total = log_prob.double().exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)
    assert log_prob.isfinite().all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), parameters)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", BOTH)
def test_discretized_logistic_is_the_integral_of_its_bins(dtype):
    # float32 has to find probabilities of e^-200 that a plain difference gives as zero.
    m, log_s, num_levels = 0.3125, -5.0, 64
    values = grid(num_levels, dtype)
    log_prob = DiscretizedLogistic(1, num_levels).log_prob(
        values, torch.tensor([m, log_s], dtype=dtype)
    )

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
def test_mean_of_the_discretized_logistic(num_levels):
    units = DiscretizedLogistic(1, num_levels)
    parameters = EXTREMES.double()
    p = units.log_prob(grid(num_levels).unsqueeze(1), parameters).exp()
    expected = (p * grid(num_levels)).sum(0, keepdim=True).mT
    torch.testing.assert_close(units.mean(parameters), expected)


def test_discretized_logistic_bounds_the_log_scale():
    units = DiscretizedLogistic(1, 256, min_log_scale=-2.0)
    at = units.log_prob(grid(256), torch.tensor([0.1, -2.0], dtype=F64))
    below = units.log_prob(grid(256), torch.tensor([0.1, -9.0], dtype=F64))
    torch.testing.assert_close(at, below)


def test_discretized_logistic_takes_the_nearest_level():
    units = DiscretizedLogistic(1, 3)
    parameters = torch.tensor([0.2, -1.0], dtype=F64)
    off = torch.tensor([[-1.2], [-0.51], [-0.49], [0.4], [0.6], [1.7]], dtype=F64)
    on = torch.tensor([[-1.0], [-1.0], [0.0], [0.0], [1.0], [1.0]], dtype=F64)
    assert torch.equal(units.log_prob(off, parameters), units.log_prob(on, parameters))


# Gradients of the distributions.


@each
def test_gradients(units):
    parameters = parameters_of(units).requires_grad_()
    values = units.sample(parameters)
    assert gradcheck(lambda a: units.log_prob(values, a), parameters)
    assert gradgradcheck(lambda a: units.log_prob(values, a), parameters)
    assert gradcheck(units.mean, parameters)
    assert gradgradcheck(units.mean, parameters)


@pytest.mark.parametrize("units", [Spins(1), ContinuousSpins(1)])
def test_score_is_value_minus_mean(units):
    a = torch.tensor(NATURAL, dtype=F64).unsqueeze(-1).requires_grad_()
    for value in (-1.0, 1.0):
        log_prob = units.log_prob(torch.full_like(a, value), a)
        (score,) = torch.autograd.grad(log_prob.sum(), a)
        torch.testing.assert_close(score, value - units.mean(a))


def test_gradient_reaches_continuous_values():
    a = torch.tensor([-2.0, 0.5], dtype=F64)
    values = torch.zeros(2, dtype=F64, requires_grad=True)
    ContinuousSpins(2).log_prob(values, a).backward()
    assert torch.equal(values.grad, a)


# Sampling.


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("a", [0.0, 1e-12, 0.05, 1.0, -3.0, 30.0, -1e4])
def test_continuous_spins_are_sampled(a, dtype):
    drawn = ContinuousSpins(1).sample(torch.full((20_000, 1), a, dtype=dtype), seeded(1))
    law = stats.uniform(-1, 2).cdf if abs(a) < 1e-6 else lambda v: cdf(v, a)
    assert stats.kstest(drawn.flatten().double().numpy(), law).pvalue > 1e-3


@pytest.mark.parametrize("a", [1.0, -3.0, 30.0, -1e4])
def test_continuous_spins_test_sees_a_wrong_parameter(a):
    drawn = ContinuousSpins(1).sample(torch.full((20_000, 1), 1.2 * a), seeded(1))
    drawn = drawn.flatten().double().numpy()
    assert stats.kstest(drawn, lambda v: cdf(v, a)).pvalue < 1e-3


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("a", [1e4, -1e4, 0.0])
def test_continuous_samples_lie_inside(a, dtype):
    drawn = ContinuousSpins(1).sample(torch.full((100_000, 1), a, dtype=dtype), seeded())
    assert drawn.isfinite().all()
    assert drawn.abs().max() <= 1
    assert a == 0 or (drawn * a > 0).all()


def p_of_spins(a, drawn_with):
    drawn = Spins(1).sample(torch.full((20_000, 1), drawn_with, dtype=F64), seeded(2))
    states = torch.tensor([[-1.0], [1.0]], dtype=F64)
    log_prob = Spins(1).log_prob(states, torch.tensor([a], dtype=F64))
    return p_of_counts((drawn.flatten() > 0).long(), log_prob)


@pytest.mark.parametrize("a", [0.0, 0.4, -1.0, 2.0])
def test_spins_are_sampled(a):
    assert p_of_spins(a, a) > 1e-3


@pytest.mark.parametrize("a", [0.4, -1.0, 2.0])
def test_spins_test_sees_a_wrong_parameter(a):
    assert p_of_spins(a, 1.2 * a) < 1e-3
    assert p_of_spins(a, -a) < 1e-3


def p_of_classes(scale):
    a = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=F64)
    drawn = OneHot(4).sample((scale * a).expand(20_000, 4), seeded(3))
    assert torch.equal(drawn.sum(-1), torch.full((20_000,), -2.0, dtype=F64))
    return p_of_counts(drawn.argmax(-1), OneHot(4).log_prob(codes(4), a))


def test_classes_are_sampled():
    assert p_of_classes(1.0) > 1e-3


def test_classes_test_sees_wrong_parameters():
    assert p_of_classes(1.2) < 1e-3


def p_of_levels(scale, num_levels):
    units = DiscretizedLogistic(1, num_levels)
    m, log_s = 0.4, -1.0
    wrong = torch.tensor([m, log_s + math.log(scale)], dtype=F64)
    drawn = units.sample(wrong.expand(20_000, 2), seeded(4))
    level = ((drawn + 1) * (num_levels - 1) / 2).flatten()
    torch.testing.assert_close(level, level.round())
    log_prob = units.log_prob(grid(num_levels), torch.tensor([m, log_s], dtype=F64))
    return p_of_counts(level.round().long(), log_prob)


@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_levels_are_sampled(num_levels):
    assert p_of_levels(1.0, num_levels) > 1e-3


@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_levels_test_sees_a_wrong_scale(num_levels):
    assert p_of_levels(1.2, num_levels) < 1e-3


@pytest.mark.parametrize(("location", "level"), [(1e4, 1.0), (-1e4, -1.0)])
def test_levels_of_a_distant_location(location, level):
    # In bfloat16 a uniform draw is 0 often enough to be seen.
    parameters = torch.tensor([location, -1e4], dtype=torch.bfloat16).expand(100_000, 2)
    drawn = DiscretizedLogistic(1, num_levels=3).sample(parameters, seeded())
    assert (drawn == level).all()


@each
def test_samples_repeat_with_the_generator_and_carry_no_gradient(units):
    parameters = parameters_of(units, 50).requires_grad_()
    first, again, other = (units.sample(parameters, seeded(seed)) for seed in (7, 7, 8))
    assert not first.requires_grad
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# Parts of a layer.


def test_one_hot_terms_can_be_masked():
    units, a = OneHot(3), torch.tensor([0.5, 0.0, -1.0])
    terms = units.unit_log_prob(torch.tensor([-1.0, 1.0, -1.0]), a)
    assert terms.tolist() == [0, torch.log_softmax(a, 0)[1].item(), 0]


def test_concatenated_is_its_parts_in_order():
    parts = [DiscretizedLogistic(2, LEVELS), OneHot(3), Spins(1)]
    units = Concatenated(parts)
    assert list(units.parts) == parts
    assert (units.num_units, units.num_parameters) == (6, 8)
    parameters = parameters_of(units, 9)
    own = parameters[:, :4], parameters[:, 4:7], parameters[:, 7:]
    v = units.sample(parameters, seeded())
    values = v[:, :2], v[:, 2:5], v[:, 5:]
    zipped = list(zip(parts, values, own, strict=True))
    total = sum(part.log_prob(x, a) for part, x, a in zipped)
    terms = torch.cat([part.unit_log_prob(x, a) for part, x, a in zipped], -1)
    torch.testing.assert_close(units.log_prob(v, parameters), total)
    assert torch.equal(units.unit_log_prob(v, parameters), terms)
    means = torch.cat([part.mean(a) for part, _, a in zipped], -1)
    assert torch.equal(units.mean(parameters), means)
    generator = seeded()
    drawn = torch.cat([part.sample(a, generator) for part, _, a in zipped], -1)
    assert torch.equal(v, drawn)


# What every distribution promises.


@each
def test_leading_dimensions_broadcast(units):
    parameters = parameters_of(units, 5, 1)
    values = units.sample(parameters_of(units, 3, 1, 4, seed=1))
    terms = units.unit_log_prob(values, parameters)
    assert terms.shape == (3, 5, 4, units.num_units)
    torch.testing.assert_close(units.log_prob(values, parameters), terms.sum(-1))
    single = units.unit_log_prob(values[2, 0, 1], parameters[4, 0])
    torch.testing.assert_close(terms[2, 4, 1], single)
    assert units.mean(parameters).shape == (5, 1, units.num_units)
    assert units.sample(parameters[0, 0]).shape == (units.num_units,)


@each
@pytest.mark.parametrize("dtype", BOTH)
def test_dtype_follows_the_parameters(units, dtype):
    parameters = parameters_of(units, 2, dtype=dtype)
    for value_dtype in (torch.float32, F64, torch.int64):
        values = units.sample(parameters).to(value_dtype)
        assert units.log_prob(values, parameters).dtype is dtype
    assert units.sample(parameters).dtype is dtype
    assert units.mean(parameters).dtype is dtype


@each
def test_device_follows_the_parameters(units):
    parameters = parameters_of(units, 2).to("meta")
    values = units.sample(parameters)
    assert values.device.type == "meta"
    assert units.log_prob(values, parameters).device.type == "meta"
    assert units.mean(parameters).device.type == "meta"


@each
def test_another_number_of_units_or_parameters_is_an_error(units):
    n, k = units.num_units, units.num_parameters
    values, parameters = torch.ones(2, n), torch.zeros(2, k)
    with pytest.raises(ValueError, match=rf"values must be {n}, got shape \(2, {n + 1}\)"):
        units.log_prob(torch.ones(2, n + 1), parameters)
    wrong = rf"parameters must be {k}, got shape \(2, {k - 1}\)"
    with pytest.raises(ValueError, match=wrong):
        units.log_prob(values, parameters[:, 1:])
    with pytest.raises(ValueError, match=wrong):
        units.sample(parameters[:, 1:])
    with pytest.raises(ValueError, match=wrong):
        units.mean(parameters[:, 1:])
    with pytest.raises(ValueError, match=rf"parameters must be {k}, got shape \(\)"):
        units.mean(torch.tensor(0.0))


@pytest.mark.parametrize("kind", [Spins, OneHot, ContinuousSpins, DiscretizedLogistic])
@pytest.mark.parametrize("number", [0, -1, 2.5])
def test_number_of_units_is_checked(kind, number):
    with pytest.raises(ValueError, match=f"num_units must be a positive integer, got {number}"):
        kind(number)


def test_settings_of_the_discretized_logistic_are_checked():
    with pytest.raises(ValueError, match="num_levels must be at least 2, got 1"):
        DiscretizedLogistic(3, num_levels=1)
    for least in (20.0, math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match="min_log_scale must be finite and below 20"):
            DiscretizedLogistic(3, min_log_scale=least)


def test_parts_are_checked():
    with pytest.raises(ValueError, match="at least one distribution"):
        Concatenated([])
    with pytest.raises(TypeError, match="parts must be VisibleDistributions, got Linear"):
        Concatenated([Spins(2), torch.nn.Linear(2, 2)])


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        VisibleDistribution(2, 2)


def test_repr_shows_the_settings():
    assert repr(Spins(3)) == "Spins(num_units=3, num_parameters=3)"
    text = repr(Concatenated([DiscretizedLogistic(2, 16)]))
    assert "num_units=2, num_parameters=4, num_levels=16, min_log_scale=-7.0" in text
