r"""Continuous spins: the functions of their natural parameter, their law and their draws."""

import math

import mpmath
import numpy as np
import pytest
import torch
from models import F64
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck
from unit_laws import BOTH, NATURAL, by_mpmath, p_of_cdf, quadrature, seeded

from qahm_torch import ContinuousSpins
from qahm_torch.nn.gray import (
    SpinContinuousBernoulli,
    differential_entropy,
    langevin,
    log_normalizer,
)


def exact_log_normalizer(a):
    return mpmath.log(2 * mpmath.sinh(a) / a) if a else mpmath.log(2)


def exact_langevin(a):
    return mpmath.coth(a) - 1 / a if a else mpmath.mpf(0)


def exact_slope(a):
    return 1 / a**2 - mpmath.csch(a) ** 2 if a else mpmath.mpf(1) / 3


def exact_entropy(a):
    return exact_log_normalizer(a) - a * exact_langevin(a)


def cdf(v, a):
    r"""The distribution function of `ContinuousSpins`, given a != 0."""
    if a < 0:
        return 1 - cdf(-v, -a)
    return np.exp(a * (v - 1)) * np.expm1(-a * (v + 1)) / np.expm1(-2 * a)


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


@pytest.mark.parametrize("function", [log_normalizer, langevin, differential_entropy])
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


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (F64, 4e-15)])
def test_differential_entropy(dtype, atol):
    a = torch.tensor(NATURAL, dtype=dtype, requires_grad=True)
    found = differential_entropy(a)
    torch.testing.assert_close(found.double(), by_mpmath(exact_entropy, a), rtol=atol, atol=atol)
    (slope,) = torch.autograd.grad(found.sum(), a)
    expected = by_mpmath(lambda x: -x * exact_slope(x), a)
    torch.testing.assert_close(slope.double(), expected, rtol=10 * atol, atol=3 * atol)


def test_log_normalizer_in_function_transforms():
    a = torch.tensor(NATURAL, dtype=F64)
    gradients = torch.func.vmap(torch.func.grad(log_normalizer))(a)
    torch.testing.assert_close(gradients, langevin(a))


# The law.


@pytest.mark.parametrize("a", NATURAL)
def test_continuous_spins_integrate_to_one_and_to_the_mean(a):
    law = ContinuousSpins(1)(torch.tensor([a], dtype=F64))
    nodes, weights = quadrature(a)
    density = law.log_prob(nodes.unsqueeze(-1)).exp()
    torch.testing.assert_close((weights * density).sum(), torch.ones((), dtype=F64))
    torch.testing.assert_close((weights * density * nodes).sum(), law.mean[0])


def test_gradient_reaches_continuous_values():
    a = torch.tensor([-2.0, 0.5], dtype=F64)
    values = torch.zeros(2, dtype=F64, requires_grad=True)
    ContinuousSpins(2)(a).log_prob(values).backward()
    assert torch.equal(values.grad, a)


# Draws.


def drawn(a, dtype, number=20_000):
    return SpinContinuousBernoulli(torch.tensor(a, dtype=dtype)).sample((number,), seeded(1))


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("a", [0.0, 1e-12, 0.05, 1.0, -3.0, 30.0, -1e4])
def test_continuous_spins_are_sampled(a, dtype):
    law = stats.uniform(-1, 2).cdf if abs(a) < 1e-6 else lambda v: cdf(v, a)
    assert p_of_cdf(drawn(a, dtype), law) > 1e-3


@pytest.mark.parametrize("a", [1.0, -3.0, 30.0, -1e4])
def test_continuous_spins_test_sees_a_wrong_parameter(a):
    assert p_of_cdf(drawn(1.2 * a, torch.float32), lambda v: cdf(v, a)) < 1e-3


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("a", [1e4, -1e4, 0.0])
def test_continuous_samples_lie_inside(a, dtype):
    draws = drawn(a, dtype, 100_000)
    assert draws.isfinite().all()
    assert draws.abs().max() <= 1
    assert a == 0 or (draws * a > 0).all()


def exact_draw_slope(a, v):
    r"""dv/da at a fixed value of the distribution function, -(dF/da) / p."""
    if a == 0:
        return (1 - v**2) / 2
    a, v = abs(a), v * mpmath.sign(a)
    return (2 * mpmath.expm1(-a * (1 + v)) / mpmath.expm1(-2 * a) - (1 + v)) / a


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2e-5), (F64, 1e-11)])
def test_slope_of_a_draw(dtype, atol):
    near = [0.0, 1e-8, 1e-3, 0.0199, 0.0201, 0.3, 1.0, 5.0, 30.0]
    a = torch.tensor([*near, *(-x for x in near[1:])], dtype=dtype, requires_grad=True)
    law = SpinContinuousBernoulli(a.expand(500, -1))
    draws = law.rsample(generator=seeded(2))
    slope = torch.autograd.grad(draws.sum(), a, retain_graph=True)[0]
    flat = a.detach().expand(500, -1).flatten()
    expected = by_mpmath(exact_draw_slope, flat, draws.detach().flatten()).view(500, -1).sum(0)
    torch.testing.assert_close(slope.double() / 500, expected / 500, rtol=0, atol=atol)


def test_slopes_of_draws_average_to_the_slope_of_the_mean():
    a = torch.tensor([-3.0, 0.01, 1.0], dtype=F64)
    leaves = a.expand(20_000, 3).clone().requires_grad_()
    draws = SpinContinuousBernoulli(leaves).rsample(generator=seeded(3))
    slopes = torch.autograd.grad(draws.sum(), leaves)[0]
    expected = by_mpmath(exact_slope, a)
    error = slopes.std(0) / 20_000**0.5
    assert ((slopes.mean(0) - expected).abs() < 5 * error).all()
    assert ((slopes.mean(0) - 1.2 * expected).abs() > 5 * error).all()


@pytest.mark.parametrize("a", [0.01, 0.03, 2.0, -2.0])
def test_second_derivatives_of_a_draw(a):
    parameters = torch.tensor([a], dtype=F64, requires_grad=True)
    law = lambda a: SpinContinuousBernoulli(a).rsample((4,), seeded())
    assert gradgradcheck(law, parameters, atol=1e-4)
