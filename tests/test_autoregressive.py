r"""Units of which each depends on those before it."""

import pytest
import torch
from models import F64, state_index
from torch import nn
from unit_laws import autoregressive, grid, p_of_counts, seeded

from qahm_torch import (
    Autoregressive,
    BeliefNetwork,
    CausalLinear,
    Concatenated,
    ContinuousSpins,
    DiscretizedLogistic,
    NormalUnits,
    OneHot,
    OrdinalUnits,
    Spins,
)
from qahm_torch.ising import all_states
from qahm_torch.nn.distributions import unit_log_prob

ACTIVATIONS = torch.tensor([0.3, -0.5, 0.1], dtype=F64)


def spins():
    return autoregressive(Spins(3), scale=1.0)


def test_spins_in_a_row_are_normalized():
    law = spins()(ACTIVATIONS)
    log_p = law.log_prob(all_states(3))
    torch.testing.assert_close(log_p.logsumexp(0), torch.tensor(0.0, dtype=F64))
    # It is no product: the units are correlated.
    p, s = log_p.exp(), all_states(3)
    covariance = (p[:, None] * s).T @ s - torch.outer(p @ s, p @ s)
    assert covariance[0, 1].abs() > 0.1


def test_levels_in_a_row_are_normalized():
    units = autoregressive(DiscretizedLogistic(2, 3), num_per_unit=2)
    states = torch.cartesian_prod(grid(3)[:, 0], grid(3)[:, 0])
    log_p = units(torch.tensor([0.1, -0.2, 0.3, -0.4], dtype=F64)).log_prob(states)
    torch.testing.assert_close(log_p.logsumexp(0), torch.tensor(0.0, dtype=F64))


def test_terms_are_the_conditionals():
    units = spins()
    terms = unit_log_prob(units(ACTIVATIONS), all_states(3))
    weight = units.context.weight.detach()
    for i in range(3):
        a = ACTIVATIONS[i] + all_states(3)[:, :i] @ weight[i, :i]
        expected = nn.functional.logsigmoid(2 * a * all_states(3)[:, i])
        torch.testing.assert_close(terms[:, i].detach(), expected)


def in_order(log_p):
    r"""Log-probabilities of all states, in the order of `state_index`."""
    return log_p[state_index(all_states(3)).argsort()]


def test_spins_in_a_row_are_sampled():
    units, wrong = spins(), spins()
    wrong.context.weight.data.neg_()
    draws = units(ACTIVATIONS).sample((20_000,), seeded(1))
    law, other = (in_order(u(ACTIVATIONS).log_prob(all_states(3))) for u in (units, wrong))
    assert p_of_counts(state_index(draws), law) > 1e-3
    assert p_of_counts(state_index(draws), other) < 1e-3


def test_draws_of_a_batch_have_activations_of_their_own():
    activations = torch.tensor([[5.0, 5.0, 5.0], [-5.0, -5.0, -5.0]], dtype=F64)
    weak = autoregressive(Spins(3), scale=0.01)
    assert torch.equal(weak(activations).sample(generator=seeded()), activations.sign())


def test_context_is_trained_and_starts_at_zero():
    context = CausalLinear(3).double()
    units = Autoregressive(Spins(3), context)
    law, plain = units(ACTIVATIONS), Spins(3)(ACTIVATIONS)
    torch.testing.assert_close(law.log_prob(all_states(3)), plain.log_prob(all_states(3)))
    law.log_prob(all_states(3)).logsumexp(0).backward()
    law.log_prob(all_states(3)[5]).backward()
    lower = torch.ones(3, 3).tril(-1) > 0
    assert (context.weight.grad[lower] != 0).all() and (context.weight.grad[~lower] == 0).all()


def test_there_is_no_exact_mean():
    with pytest.raises(NotImplementedError, match="no exact mean"):
        _ = spins()(ACTIVATIONS).mean


class Sums(nn.Module):
    r"""The sum of all units before, or up to, each."""

    def __init__(self, inclusive):
        super().__init__()
        self.inclusive = inclusive

    def forward(self, values):
        sums = values.cumsum(-1)
        return sums if self.inclusive else sums - values


def test_contexts_that_look_ahead_are_named():
    look = "context lets unit {} depend on unit {}, but a unit may depend only on those before"
    Autoregressive(ContinuousSpins(4), Sums(inclusive=False))
    with pytest.raises(ValueError, match=look.format(0, 0)):
        Autoregressive(ContinuousSpins(4), Sums(inclusive=True))
    linear = nn.Linear(4, 4, bias=False)
    nn.init.zeros_(linear.weight)  # of which nothing shows as yet
    with pytest.raises(ValueError, match=look.format(0, 0)):
        Autoregressive(Spins(4), linear)
    assert (linear.weight == 0).all()
    backwards = CausalLinear(4)
    backwards.mask.copy_(backwards.mask.T.clone())
    with pytest.raises(ValueError, match=look.format(0, 1)):
        Autoregressive(Spins(4), backwards)


def test_parameters_of_one_unit_may_be_apart():
    # Two per unit: locations of all units, then log-scales of all units.
    Autoregressive(NormalUnits(3), CausalLinear(3, num_per_unit=2))
    shuffled = CausalLinear(3, num_per_unit=2)
    shuffled.mask.copy_(shuffled.mask.view(2, 3, 3).transpose(0, 1).reshape(6, 3).clone())
    with pytest.raises(ValueError, match="context lets unit"):
        Autoregressive(NormalUnits(3), shuffled)


def test_a_constant_context_is_allowed():
    class Nothing(nn.Module):
        def forward(self, values):
            return torch.zeros_like(values)

    law = Autoregressive(Spins(3), Nothing())(ACTIVATIONS)
    torch.testing.assert_close(
        law.log_prob(all_states(3)), Spins(3)(ACTIVATIONS).log_prob(all_states(3))
    )


def test_what_does_not_fit_is_named():
    with pytest.raises(
        ValueError, match=r"context makes \(3, 3\) of rows \(3, 3\), but .*\(3, 6\)"
    ):
        Autoregressive(NormalUnits(3), CausalLinear(3))
    with pytest.raises(ValueError, match="units are OneHot.*, but ones that are independent"):
        Autoregressive(OneHot(3), CausalLinear(3))
    with pytest.raises(ValueError, match="units are Autoregressive"):
        Autoregressive(spins(), CausalLinear(3))
    with pytest.raises(ValueError, match="num_per_unit is 0, but a positive integer"):
        CausalLinear(3, 0)


@pytest.mark.parametrize(
    "units", [OrdinalUnits(4, 3), Concatenated([Spins(2), ContinuousSpins(2)])]
)
def test_any_independent_units_will_do(units):
    units = Autoregressive(units, CausalLinear(4))
    law = units(torch.zeros(7, 4))
    values = law.sample(generator=seeded())
    assert values.shape == (7, 4) and law.log_prob(values).shape == (7,)


def test_a_network_may_end_in_a_row_of_units():
    output = Concatenated([autoregressive(Spins(2)), OneHot(2)])
    assert output.is_sequential and not Concatenated([Spins(2), OneHot(2)]).is_sequential
    network = BeliefNetwork([3, 4], output=output).double()
    x = all_states(3)[5]
    pixels = all_states(2).repeat_interleave(2, 0)
    classes = (2 * torch.eye(2, dtype=F64) - 1).repeat(4, 1)
    v = torch.cat([pixels, classes], -1)
    log_p = network.log_prob([x.expand(8, 3), v])
    torch.testing.assert_close(log_p.logsumexp(0), torch.tensor(0.0, dtype=F64))
    # Its last units can be left unknown.
    part = network.log_prob([x.expand(8, 3), v], torch.tensor([True, True, False, False]))
    torch.testing.assert_close(part[::2], log_p.view(4, 2).logsumexp(1))
    draws = network.mean(x.expand(20_000, 3), seeded(2))
    expected = log_p.exp() @ v
    assert (draws.mean(0) - expected).abs().max() < 5 / 20_000**0.5
    torch.testing.assert_close(
        draws[:, 2:], network.conditional(0, x).parts[1].mean.expand(20_000, 2)
    )
