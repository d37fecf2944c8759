import pytest
import torch
from torch import nn

from qahm_torch import (
    Autoregressive,
    BeliefNetwork,
    CausalConvolutions,
    HelmholtzMachine,
    JointContext,
    QuantumPriorLayer,
    Spins,
    all_states,
)
from qahm_torch.nn import causal


def pixels(num_rows=2, num_columns=4, **settings):
    torch.manual_seed(0)
    units = Autoregressive(Spins(8), CausalConvolutions(num_rows, num_columns, 3, **settings))
    with torch.no_grad():
        for parameter in units.parameters():
            parameter.normal_(0, 0.8)
    return units.double()


ACTIVATIONS = torch.linspace(-1, 1, 8).double()


@pytest.mark.parametrize("num_blocks", [0, 2])
def test_probabilities_add_up_to_one(num_blocks):
    total = pixels(num_blocks=num_blocks)(ACTIVATIONS).log_prob(all_states(8)).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total))


@pytest.mark.parametrize("num_blocks", [0, 2])
def test_pixels_see_those_before_them_and_no_other(num_blocks):
    units, values = pixels(num_blocks=num_blocks), torch.ones(1, 8).double()
    terms = units(ACTIVATIONS).unit_log_prob(values)
    for i in range(8):
        turned = values.clone()
        turned[0, i] = -1
        changed = (units(ACTIVATIONS).unit_log_prob(turned) - terms)[0].abs() > 1e-12
        assert not changed[:i].any()
        assert i == 7 or changed[i + 1 :].any()


def test_draws_have_its_law():
    law = pixels()(ACTIVATIONS.expand(20_000, -1))
    draws = law.sample(generator=torch.Generator().manual_seed(0))
    found = torch.bincount(((draws > 0) * 2 ** torch.arange(8)).sum(-1), minlength=256)
    wanted = pixels()(ACTIVATIONS).log_prob(all_states(8)).exp() * len(draws)
    often = wanted > 5
    statistic = ((found - wanted).square() / wanted)[often].sum()
    assert statistic < often.sum() + 5 * (2 * often.sum()) ** 0.5


def test_data_of_many_particles_are_looked_at_once():
    units = pixels()
    activations = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(1)).double()
    values = all_states(8)[[3, 77, 200]]
    looked = []
    units.context.register_forward_pre_hook(lambda module, args: looked.append(len(args[1])))
    shared = units(activations).log_prob(values.expand(6, 3, 8))
    apart = units(activations).log_prob(values.expand(6, 3, 8).clone())
    assert looked == [3, 18]
    torch.testing.assert_close(shared, apart)


def test_images_in_chunks_are_what_they_are_at_once(monkeypatch):
    units = pixels()
    activations = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(1)).double()
    values = all_states(8)[[3, 77, 200, 31, 8]].expand(6, 5, 8)
    whole = units(activations).log_prob(values).detach()
    for size in (1, 3, 12):
        monkeypatch.setattr(causal, "IMAGES_PER_CHUNK", size)
        with torch.no_grad():
            torch.testing.assert_close(units(activations).log_prob(values), whole)


@pytest.mark.parametrize(
    "settings",
    [{}, {"reach": 1}, {"gain": 0.0}, {"gain": 0.5}, {"num_blocks": 2}, {"num_maps": 2}],
)
def test_a_pixel_alone_is_what_it_is_among_all(settings):
    context = pixels(**settings).context
    num_inputs = 8 + 8 * context.num_maps
    activations = torch.randn(7, num_inputs, generator=torch.Generator().manual_seed(2)).double()
    values = all_states(8)[[3, 77, 200, 31, 8, 255, 90]]
    alone, among = context.stepwise(activations), JointContext.stepwise(context, activations)
    for i in range(8):
        torch.testing.assert_close(alone(i, values), among(i, values))


def test_without_a_gain_the_pixels_are_independent():
    closed = pixels(gain=0.0)(ACTIVATIONS)
    torch.testing.assert_close(
        closed.log_prob(all_states(8)), Spins(8)(ACTIVATIONS).log_prob(all_states(8))
    )


def test_maps_tell_the_context_more_and_leave_closed_pixels_alone():
    generator = torch.Generator().manual_seed(3)
    activations = torch.randn(3, 24, generator=generator).double()
    units, values = pixels(num_maps=2), all_states(8)
    assert units.num_parameters == 24
    total = units(activations[:, None]).log_prob(values).logsumexp(-1)
    torch.testing.assert_close(total, torch.zeros_like(total))
    other = torch.cat([activations[:, :8], activations[:, 8:].flip(-1)], -1)
    assert not torch.allclose(
        units(activations).log_prob(values[3]), units(other).log_prob(values[3])
    )
    closed = pixels(num_maps=2, gain=0.0)(activations)
    plain = Spins(8)(activations[:, :8])
    torch.testing.assert_close(closed.log_prob(values[3]), plain.log_prob(values[3]))
    assert closed.sample().shape == (3, 8)


def test_it_starts_with_independent_pixels():
    units = Autoregressive(Spins(8), CausalConvolutions(2, 4)).double()
    torch.testing.assert_close(
        units(ACTIVATIONS).log_prob(all_states(8)),
        Spins(8)(ACTIVATIONS).log_prob(all_states(8)),
    )


def test_a_machine_has_it_for_an_output():
    torch.manual_seed(0)
    generator = BeliefNetwork([3, 8], output=Autoregressive(Spins(8), CausalConvolutions(2, 4)))
    machine = HelmholtzMachine(BeliefNetwork([8, 3]), generator, QuantumPriorLayer(3))
    assert machine.log_prob(torch.ones(5, 8), 10).shape == (5,)
    assert machine.generate(4).shape == (4, 8)


class _Ahead(JointContext):
    def features(self, values):
        return values

    def forward(self, activations, features):
        return activations + features.flip(-1)


def test_a_context_that_looks_ahead_is_refused():
    with pytest.raises(ValueError, match="context lets unit 0 depend on unit 3"):
        Autoregressive(Spins(4), _Ahead())
    with pytest.raises(ValueError, match="num_channels is 0"):
        CausalConvolutions(2, 4, 0)
    with pytest.raises(ValueError, match="num_blocks is -1"):
        CausalConvolutions(2, 4, num_blocks=-1)
    with pytest.raises(ValueError, match="num_maps is -2"):
        CausalConvolutions(2, 4, num_maps=-2)


def test_another_block_leaves_a_trained_context_as_it_is():
    context, deeper = pixels(num_blocks=1).context, CausalConvolutions(2, 4, 3, num_blocks=2)
    left_out = deeper.double().load_state_dict(context.state_dict(), strict=False)
    assert not left_out.unexpected_keys
    values = all_states(8)
    torch.testing.assert_close(deeper.features(values), context.features(values))


def test_blocks_see_farther():
    def reach_of(num_blocks):
        torch.manual_seed(0)
        context = CausalConvolutions(8, 3, reach=1, num_blocks=num_blocks)
        for parameter in context.parameters():
            nn.init.normal_(parameter)
        values = torch.zeros(1, 24, requires_grad=True)
        context.features(values)[0, :, -1, 1].sum().backward()
        return len(values.grad.view(8, 3).abs().sum(1).nonzero())

    assert [reach_of(n) for n in (0, 1, 3)] == [2, 3, 5]
