r"""What all units promise, and the spins, the classes and the layers made of several parts."""

import math
from copy import deepcopy

import pytest
import torch
from models import F64
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Distribution, Independent, Laplace
from unit_laws import (
    BOTH,
    INDEPENDENT,
    LEVELS,
    NATURAL,
    UNITS,
    activations_of,
    codes,
    each,
    grid,
    p_of_cdf,
    p_of_counts,
    quadrature,
    seeded,
)

from qahm_torch import (
    Concatenated,
    ContinuousSpins,
    DiscretizedLogistic,
    LogisticUnits,
    NormalUnits,
    OneHot,
    OrdinalUnits,
    PoissonUnits,
    Spins,
    Units,
)
from qahm_torch.nn.distributions import draw, unit_log_prob
from qahm_torch.nn.spin_laws import SpinBernoulli, SpinOneHot

# One unit of each kind: all of its values, (S, 1), and the weights of their sum or integral.


def levels_of(num_levels):
    return grid(num_levels), torch.ones(num_levels, dtype=F64)


def line(half_width):
    r"""Points of a trapezoidal rule, which is exact for what is smooth and falls off."""
    points = torch.linspace(-half_width, half_width, 8001, dtype=F64)
    return points.unsqueeze(-1), torch.full_like(points, float(points[1] - points[0]))


def interval():
    nodes, weights = quadrature(0.0)
    return nodes.unsqueeze(-1), weights


ALL_VALUES = {
    "spins": levels_of(2),
    "relaxed": levels_of(2),
    "continuous": interval(),
    "levels": levels_of(LEVELS),
    "ordinal": levels_of(LEVELS),
    "normal": line(40.0),
    "logistic": line(200.0),
    "counts": (torch.arange(200, dtype=F64).unsqueeze(-1), torch.ones(200, dtype=F64)),
}
NO_ENTROPY = ("counts", "autoregressive")  # none in closed form
independent = pytest.mark.parametrize("name", INDEPENDENT)


def masses(units, values, weights, activations):
    r"""Weights times densities of single units, (S, num_units), of values (S, 1)."""
    terms = unit_log_prob(units(activations), values.expand(-1, units.num_units))
    return terms, weights.unsqueeze(-1) * terms.exp()


@independent
@pytest.mark.parametrize("seed", range(3))
def test_moments_and_entropies_are_those_of_the_law(name, seed):
    units, (values, weights) = INDEPENDENT[name], ALL_VALUES[name]
    activations = activations_of(units, seed=seed)
    terms, mass = masses(units, values, weights, activations)
    law = units(activations)
    close = torch.testing.assert_close
    close(mass.sum(0), torch.ones(units.num_units, dtype=F64))
    close((mass * values).sum(0), law.mean)
    if name not in ("levels", "ordinal"):
        close((mass * values.square()).sum(0) - law.mean.square(), law.variance)
    if name not in NO_ENTROPY:
        close(-(mass * terms).sum(), law.entropy())


@each
def test_units_make_a_distribution_of_the_layer(units):
    law = units(activations_of(units, 3, 2))
    assert isinstance(law, Distribution)
    assert law.batch_shape == (3, 2) and law.event_shape == (units.num_units,)
    assert law.sample().shape == (3, 2, units.num_units)
    assert law.sample((5, 4)).shape == (5, 4, 3, 2, units.num_units)
    wider = law.expand((6, 3, 2))
    assert wider.batch_shape == (6, 3, 2)
    values = wider.sample()
    torch.testing.assert_close(wider.log_prob(values), law.log_prob(values))


@each
def test_leading_dimensions_broadcast(units):
    activations = activations_of(units, 5, 1)
    values = draw(units(activations_of(units, 3, 1, 4, seed=1)), seeded())
    terms = unit_log_prob(units(activations), values)
    assert terms.shape == (3, 5, 4, units.num_units)
    torch.testing.assert_close(units(activations).log_prob(values), terms.sum(-1))
    single = unit_log_prob(units(activations[4, 0]), values[2, 0, 1])
    torch.testing.assert_close(terms[2, 4, 1], single)
    assert draw(units(activations[0, 0])).shape == (units.num_units,)


@each
def test_an_empty_batch_has_log_probabilities(units):
    law = units(activations_of(units, 0))
    assert law.log_prob(law.sample()).shape == (0,)


@each
@pytest.mark.parametrize("dtype", BOTH)
def test_dtype_follows_the_activations(units, dtype):
    units = deepcopy(units).to(dtype)
    law = units(activations_of(units, 2, dtype=dtype))
    values = draw(law, seeded())
    assert values.dtype is dtype
    assert law.log_prob(values).dtype is dtype
    assert law.log_prob(values.to(torch.int64)).dtype is dtype
    if not units.is_sequential:
        assert law.mean.dtype is dtype


@each
def test_device_follows_the_activations(units):
    units = deepcopy(units).to("meta")
    law = units(activations_of(units, 2).to("meta"))
    values = law.sample()
    assert values.device.type == "meta"
    assert law.log_prob(values).device.type == "meta"


@each
def test_samples_repeat_with_the_generator_and_carry_no_gradient(units):
    law = units(activations_of(units, 50).requires_grad_())
    before = torch.get_rng_state()
    first, again, other = (law.sample(generator=seeded(seed)) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert not first.requires_grad
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(law.sample(), law.sample())


@each
def test_gradients(units):
    activations = activations_of(units).requires_grad_()
    values = draw(units(activations), seeded())
    assert gradcheck(lambda a: units(a).log_prob(values), activations)
    assert gradgradcheck(lambda a: units(a).log_prob(values), activations)
    if not units.is_sequential:
        assert gradcheck(lambda a: units(a).mean, activations)
        assert gradgradcheck(lambda a: units(a).mean, activations)


@pytest.mark.parametrize("name", [name for name in UNITS if name not in NO_ENTROPY])
def test_gradients_of_the_entropy(name):
    units = UNITS[name]
    activations = activations_of(units).requires_grad_()
    assert gradcheck(lambda a: units(a).entropy(), activations)
    assert gradgradcheck(lambda a: units(a).entropy(), activations)


@each
def test_differentiable_draws_are_differentiable_or_refused(units):
    activations = activations_of(units, seed=2).requires_grad_()
    law = units(activations)
    if not law.has_rsample:
        with pytest.raises(NotImplementedError):
            law.rsample()
        return
    assert law.rsample((3,)).shape == (3, units.num_units)
    assert torch.equal(law.rsample(generator=seeded(1)), law.rsample(generator=seeded(1)))
    assert gradcheck(lambda a: units(a).rsample(generator=seeded()), activations)


@each
def test_another_number_of_units_or_activations_is_an_error(units):
    n, k = units.num_units, units.num_parameters
    law = units(torch.zeros(2, k, dtype=F64))
    with pytest.raises(ValueError, match=rf"values have shape \(2, {n + 1}\), but the .* is {n}"):
        law.log_prob(torch.ones(2, n + 1, dtype=F64))
    with pytest.raises(ValueError, match=rf"values have shape \(2, 1\), but the .* is {n}"):
        unit_log_prob(law, torch.ones(2, 1, dtype=F64))
    wrong = rf"activations have shape \(2, {k - 1}\), but .* is {k}"
    with pytest.raises(ValueError, match=wrong):
        units(torch.zeros(2, k - 1))
    with pytest.raises(ValueError, match=rf"activations have shape \(\), but .* is {k}"):
        units(torch.tensor(0.0))


ONE_NUMBER = [
    Spins,
    OneHot,
    ContinuousSpins,
    DiscretizedLogistic,
    NormalUnits,
    LogisticUnits,
    PoissonUnits,
    lambda number: OrdinalUnits(number, 3),
]


@pytest.mark.parametrize("kind", ONE_NUMBER)
@pytest.mark.parametrize("number", [0, -1, 2.5])
def test_number_of_units_is_checked(kind, number):
    with pytest.raises(ValueError, match=f"num_units is {number}, but a positive integer"):
        kind(number)


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Units(2, 2)


def test_repr_shows_the_settings():
    assert repr(Spins(3)) == "Spins(num_units=3, num_parameters=3)"
    assert repr(OneHot(3, 0.5)) == "OneHot(num_units=3, num_parameters=3, temperature=0.5)"
    text = repr(Concatenated([DiscretizedLogistic(2, 16)]))
    assert "num_units=2, num_parameters=4, num_levels=16, min_log_scale=-7.0" in text


# Spins.


@pytest.mark.parametrize("dtype", BOTH)
def test_spins_are_normalized(dtype):
    a = torch.tensor(NATURAL, dtype=dtype)
    law = SpinBernoulli(a)
    up, down = (law.log_prob(s * torch.ones_like(a)) for s in (1, -1))
    torch.testing.assert_close(torch.logaddexp(up, down), torch.zeros_like(a))
    torch.testing.assert_close(up - down, 2 * a)
    torch.testing.assert_close(up.exp() - down.exp(), law.mean)


@pytest.mark.parametrize("dtype", BOTH)
def test_entropy_of_spins_at_the_extremes(dtype):
    a = torch.tensor(NATURAL, dtype=dtype, requires_grad=True)
    entropy = SpinBernoulli(a).entropy()
    assert entropy.isfinite().all() and (entropy >= 0).all() and entropy[0] == math.log(2)
    (slope,) = torch.autograd.grad(entropy.sum(), a, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), a)
    torch.testing.assert_close(slope, -a / torch.cosh(a).square())
    torch.testing.assert_close(curvature[0], -torch.ones_like(a[0]))


@pytest.mark.parametrize("units", [Spins(1), ContinuousSpins(1)])
def test_score_is_value_minus_mean(units):
    a = torch.tensor(NATURAL, dtype=F64).unsqueeze(-1).requires_grad_()
    for value in (-1.0, 1.0):
        log_prob = units(a).log_prob(torch.full_like(a, value))
        (score,) = torch.autograd.grad(log_prob.sum(), a)
        torch.testing.assert_close(score, value - units(a).mean)


def p_of_spins(a, draws):
    states = torch.tensor([-1.0, 1.0], dtype=F64)
    log_prob = SpinBernoulli(torch.tensor(a, dtype=F64)).log_prob(states)
    return p_of_counts((draws.flatten() > 0).long(), log_prob)


def spins_drawn(a):
    return SpinBernoulli(torch.tensor(a, dtype=F64)).sample((20_000,), seeded(2))


@pytest.mark.parametrize("a", [0.0, 0.4, -1.0, 2.0])
def test_spins_are_sampled(a):
    assert p_of_spins(a, spins_drawn(a)) > 1e-3


@pytest.mark.parametrize("a", [0.4, -1.0, 2.0])
def test_spins_test_sees_a_wrong_parameter(a):
    assert p_of_spins(a, spins_drawn(1.2 * a)) < 1e-3
    assert p_of_spins(a, spins_drawn(-a)) < 1e-3


# Relaxed spins, whose distribution function is known: s = tanh((a + l / 2) / T), l logistic.


def relaxed(a, temperature):
    law = SpinBernoulli(torch.tensor(a, dtype=F64), temperature)
    return law.rsample((20_000,), seeded(3))


def p_of_relaxed(draws, a, temperature):
    return p_of_cdf(
        torch.atanh(draws), stats.logistic(loc=a / temperature, scale=0.5 / temperature).cdf
    )


@pytest.mark.parametrize(("a", "temperature"), [(0.0, 1.0), (0.7, 0.5), (-1.0, 2.0)])
def test_relaxed_spins_are_of_the_binary_concrete_law(a, temperature):
    draws = relaxed(a, temperature)
    assert draws.abs().max() < 1
    assert p_of_relaxed(draws, a, temperature) > 1e-3
    assert p_of_relaxed(draws, a, 1.2 * temperature) < 1e-3
    assert p_of_relaxed(draws, a + 0.2, temperature) < 1e-3


@pytest.mark.parametrize("a", [0.4, -1.0])
def test_relaxed_spins_tend_to_spins_as_the_temperature_falls(a):
    draws = relaxed(a, 1e-3)
    assert (draws.abs() > 0.99).double().mean() > 0.99
    assert p_of_spins(a, draws) > 1e-3
    assert p_of_spins(1.2 * a, draws) < 1e-3
    warm = relaxed(a, 1.0)
    assert (warm.abs() > 0.99).double().mean() < 0.5


def test_relaxed_draws_need_a_temperature():
    with pytest.raises(NotImplementedError, match="SpinBernoulli has no differentiable draws"):
        Spins(2)(torch.zeros(2)).rsample()
    for kind in (Spins, OneHot):
        assert not kind(2)(torch.zeros(2)).has_rsample
        for temperature in (0.0, -1.0, math.nan):
            with pytest.raises(ValueError, match=f"temperature is {temperature}, but"):
                kind(2, temperature)


# One class out of many.


def test_one_hot_is_normalized():
    a = 3 * torch.randn(7, 1, 4, generator=seeded(), dtype=F64)
    law = SpinOneHot(a)
    p = law.log_prob(codes(4)).exp()
    torch.testing.assert_close(p, torch.softmax(a.squeeze(1), -1))
    torch.testing.assert_close(p @ codes(4), law.mean.squeeze(1))
    square = p @ codes(4).square()
    torch.testing.assert_close(square - law.mean.squeeze(1).square(), law.variance.squeeze(1))
    torch.testing.assert_close(-(p * p.log()).sum(-1), law.entropy().squeeze(1))


def classes_drawn(scale):
    a = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=F64)
    return SpinOneHot(scale * a).sample((20_000,), seeded(3))


def p_of_classes(draws):
    a = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=F64)
    return p_of_counts(draws.argmax(-1), SpinOneHot(a).log_prob(codes(4)))


def test_classes_are_sampled():
    draws = classes_drawn(1.0)
    assert torch.equal(draws.sum(-1), torch.full((20_000,), -2.0, dtype=F64))
    assert p_of_classes(draws) > 1e-3


def test_classes_test_sees_wrong_parameters():
    assert p_of_classes(classes_drawn(1.2)) < 1e-3


@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_the_highest_relaxed_class_is_the_class(temperature):
    a = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=F64)
    draws = SpinOneHot(a, temperature).rsample((20_000,), seeded(3))
    torch.testing.assert_close(draws.sum(-1), torch.full((20_000,), -2.0, dtype=F64))
    assert p_of_classes(draws) > 1e-3
    is_hard = (draws.max(-1).values > 0.99).double().mean()
    assert is_hard > 0.95 if temperature < 0.1 else is_hard < 0.5


def test_one_hot_terms_can_be_masked():
    a = torch.tensor([0.5, 0.0, -1.0])
    terms = unit_log_prob(OneHot(3)(a), torch.tensor([-1.0, 1.0, -1.0]))
    assert terms.tolist() == [0, torch.log_softmax(a, 0)[1].item(), 0]


# Several parts.


def test_concatenated_is_its_parts_in_order():
    parts = [DiscretizedLogistic(2, LEVELS), OneHot(3), Spins(1)]
    units = Concatenated(parts)
    assert list(units.parts) == parts
    assert (units.num_units, units.num_parameters) == (6, 8)
    activations = activations_of(units, 9)
    own = activations[:, :4], activations[:, 4:7], activations[:, 7:]
    laws = [part(a) for part, a in zip(parts, own, strict=True)]
    law = units(activations)
    v = law.sample(generator=seeded())
    values = list(zip(laws, (v[:, :2], v[:, 2:5], v[:, 5:]), strict=True))
    torch.testing.assert_close(law.log_prob(v), sum(part.log_prob(x) for part, x in values))
    terms = torch.cat([unit_log_prob(part, x) for part, x in values], -1)
    assert torch.equal(unit_log_prob(law, v), terms)
    assert torch.equal(law.mean, torch.cat([part.mean for part in laws], -1))
    torch.testing.assert_close(law.entropy(), sum(part.entropy() for part in laws))
    generator = seeded()
    assert torch.equal(v, torch.cat([draw(part, generator) for part in laws], -1))


def test_concatenated_is_relaxed_where_all_parts_are():
    relaxed = Concatenated([Spins(2, 0.5), ContinuousSpins(1)])(torch.zeros(3))
    assert relaxed.has_rsample and relaxed.rsample().shape == (3,)
    assert not Concatenated([Spins(2), ContinuousSpins(1)])(torch.zeros(3)).has_rsample


def test_parts_are_checked():
    with pytest.raises(ValueError, match="at least one layer"):
        Concatenated([])
    with pytest.raises(TypeError, match="a part is Linear.*, but parts are Units"):
        Concatenated([Spins(2), torch.nn.Linear(2, 2)])


def test_units_of_the_user_may_be_any_distribution():
    class LaplaceUnits(Units):
        def __init__(self, num_units):
            super().__init__(num_units, num_parameters=num_units)

        def _distribution(self, activations):
            return Independent(Laplace(activations, 1.0), 1)

    units = Concatenated([LaplaceUnits(2), Spins(1)])
    law = units(torch.zeros(40, 3))
    first, again = (law.sample(generator=seeded(1)) for _ in range(2))
    assert torch.equal(first, again) and unit_log_prob(law, first).shape == (40, 3)


def test_units_say_whether_their_likelihood_is_a_density():
    from qahm_torch import Autoregressive, CausalLinear, NormalUnits

    spins, pixels, reals = Spins(2), ContinuousSpins(2), NormalUnits(2)
    assert not spins.is_density and pixels.is_density and reals.is_density
    assert Concatenated([spins, reals]).is_density and not Concatenated([spins, spins]).is_density
    assert Autoregressive(pixels, CausalLinear(2)).is_density
    assert not Autoregressive(spins, CausalLinear(2)).is_density
