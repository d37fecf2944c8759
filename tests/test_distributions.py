r"""What distributions of layers can do, ours and those of torch."""

import pytest
import torch
from models import F64
from scipy import stats
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal
from unit_laws import UNITS, activations_of, autoregressive, p_of_cdf, seeded

from qahm_torch import Concatenated, ContinuousSpins, Spins
from qahm_torch.nn.distributions import (
    IndependentUnits,
    Joint,
    draw,
    has_independent_units,
    mean_or_draw,
    rdraw,
    unit_log_prob,
)


def plain(*shape):
    r"""A layer of torch alone."""
    return Independent(Laplace(torch.zeros(*shape, dtype=F64), 1.0), 1)


@pytest.mark.parametrize("drawing", [draw, rdraw])
def test_draws_of_torch_follow_a_generator_and_leave_the_global_one_alone(drawing):
    before = torch.get_rng_state()
    first, again, other = (drawing(plain(50, 3), seeded(seed)) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    generator = seeded(7)
    assert torch.equal(drawing(plain(50, 3), generator), first)
    assert not torch.equal(drawing(plain(50, 3), generator), first)


def test_draws_of_torch_keep_their_law():
    draws = draw(plain(1), seeded(3), (20_000,))
    assert draws.shape == (20_000, 1)
    assert p_of_cdf(draws, stats.laplace.cdf) > 1e-3
    assert p_of_cdf(1.2 * draws, stats.laplace.cdf) < 1e-3


def test_draws_of_torch_without_a_generator_follow_the_global_one():
    torch.manual_seed(5)
    first, other = draw(plain(9)), draw(plain(9))
    torch.manual_seed(5)
    assert torch.equal(draw(plain(9)), first) and not torch.equal(first, other)


def test_draws_have_a_gradient_where_they_are_asked_for_one():
    loc = torch.zeros(3, requires_grad=True)
    layer = IndependentUnits(Normal(loc, 1.0, validate_args=False))
    assert not draw(layer).requires_grad
    rdraw(layer, seeded()).sum().backward()
    assert torch.equal(loc.grad, torch.ones(3))
    with pytest.raises(NotImplementedError):
        rdraw(Spins(3)(loc))


def test_independent_units_are_the_independent_of_torch():
    base = Normal(torch.zeros(4, 3), 2.0, validate_args=False)
    ours, torchs = IndependentUnits(base), Independent(base, 1, validate_args=False)
    assert isinstance(ours, Independent)
    values = torch.randn(5, 4, 3)
    torch.testing.assert_close(ours.log_prob(values), torchs.log_prob(values))
    torch.testing.assert_close(ours.entropy(), torchs.entropy())
    torch.testing.assert_close(unit_log_prob(torchs, values), base.log_prob(values))
    shapes = [(d.batch_shape, d.event_shape, d.has_rsample) for d in (ours, torchs)]
    assert shapes[0] == shapes[1]
    assert ours.expand((2, 4)).sample().shape == torchs.expand((2, 4)).sample().shape


def test_only_what_splits_into_units_has_terms():
    whole = MultivariateNormal(torch.zeros(3), torch.eye(3))
    with pytest.raises(TypeError, match="distribution is MultivariateNormal, but a term for each"):
        unit_log_prob(whole, torch.zeros(3))
    assert not has_independent_units(whole)


def test_independence_of_units_is_known():
    known = {name: has_independent_units(u(activations_of(u))) for name, u in UNITS.items()}
    dependent = {"one-hot", "relaxed one-hot", "concatenated", "autoregressive"}
    assert {name for name, independent in known.items() if not independent} == dependent
    parts = Concatenated([Spins(2), ContinuousSpins(1)])
    assert has_independent_units(parts(torch.zeros(3)))


def test_mean_is_exact_or_else_a_draw():
    row = autoregressive(Spins(3))
    activations = activations_of(row, 2000)
    exact = Spins(2)(activations[..., :2])
    law = Joint([exact, row(activations)])
    found = mean_or_draw(law, seeded(1))
    torch.testing.assert_close(found[:, :2], exact.mean)
    assert torch.equal(found[:, 2:], row(activations).sample(generator=seeded(1)))
    with pytest.raises(NotImplementedError, match="no exact mean"):
        _ = law.mean
