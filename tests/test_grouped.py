import pytest
import torch
from torch import nn

from qahm_torch import (
    VIMCO,
    BeliefNetwork,
    DiscreteVAE,
    ExactSampler,
    GroupedRecognition,
    HelmholtzMachine,
    QuantumPriorLayer,
    RelaxedELBO,
    all_states,
)
from qahm_torch.nn.spin_laws import SpinBernoulli


def grouped(**settings):
    torch.manual_seed(0)
    network = GroupedRecognition(5, 6, num_groups=3, num_hidden=8, **settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.8)
    return network.double()


def test_probabilities_add_up_to_one():
    u = all_states(6)
    v = torch.tensor([1.0, -1, 1, 1, -1]).double().expand(64, -1)
    total = grouped().log_prob([v, u]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total))


def test_groups_depend_on_earlier_ones_only():
    network, u = grouped(), torch.ones(1, 6).double()
    v = torch.zeros(1, 5).double()
    # The sizes are 2, 2 and 2: turning a spin of the second group changes the third as well.
    before = network.log_prob([v, u])
    odds = {}
    for spin in (0, 2):
        turned = u.clone()
        turned[0, spin] = -1
        odds[spin] = network.log_prob([v, turned]) - before
    both = u.clone()
    both[0, [0, 2]] = -1
    joint = network.log_prob([v, both]) - before
    assert (joint - odds[0] - odds[2]).abs() > 1e-3


def test_a_datum_of_many_particles_is_looked_at_once():
    network, v = grouped(trunk=nn.Linear(5, 5)), torch.randn(3, 5).double()
    looked = []
    network.trunk.register_forward_hook(lambda module, args, out: looked.append(len(out)))
    (spins,), log_q = network.draw(v.expand(4, 3, 5), torch.Generator().manual_seed(1))
    apart = network.log_prob([v.expand(4, 3, 5).clone(), spins])
    assert looked == [3, 12]
    torch.testing.assert_close(log_q, apart)


def test_draws_have_its_law():
    network, v = grouped(), torch.ones(40_000, 5).double()
    (spins,), log_q = network.draw(v, torch.Generator().manual_seed(1))
    torch.testing.assert_close(log_q, network.log_prob([v, spins]))
    places = 2 ** torch.arange(6)
    found = torch.bincount(((spins > 0) * places).sum(-1), minlength=64) / len(spins)
    law = network.log_prob([v[:64], all_states(6)]).exp()
    statistic = (len(spins) * (found - law).square() / law).sum()
    assert statistic < 63 + 5 * (2 * 63) ** 0.5


def test_groups_of_different_sizes_hold_all_spins():
    assert GroupedRecognition(5, 7, num_groups=3).sizes == [3, 2, 2]


@pytest.mark.parametrize("hard", [False, True])
def test_relaxed_draws_have_a_gradient(hard):
    network = grouped(temperature=0.5, hard=hard)
    (spins,), log_q = network.rsample(torch.ones(10, 5).double())
    assert spins.requires_grad and log_q.requires_grad
    assert (spins.detach().abs() == 1).all() == hard
    spins.sum().backward()
    assert network.of_data[0].weight.grad.abs().sum() > 0


def test_a_trunk_is_shared():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU())
    network = GroupedRecognition(5, 4, trunk=trunk, num_features=9, num_groups=2)
    states, _ = network.draw(torch.ones(3, 7, 5))
    assert states[0].shape == (3, 7, 4)


@pytest.mark.parametrize("objective", [RelaxedELBO(2), VIMCO(3)])
def test_a_machine_learns_with_it(objective):
    torch.manual_seed(0)
    recognition = GroupedRecognition(5, 4, num_groups=2, num_hidden=8, temperature=0.5)
    # Chains would freeze in the two modes, with whatever share of them.
    prior = QuantumPriorLayer(4, sampler=ExactSampler())
    machine = HelmholtzMachine(recognition, BeliefNetwork([4, 5]), prior)
    data = torch.tensor([[1.0, 1, 1, -1, -1], [-1, -1, -1, 1, 1]]).repeat(20, 1)
    optimizer = torch.optim.Adam(machine.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        objective(machine, data, machine.prior.draw())["loss"].backward()
        optimizer.step()
    machine.prior.estimate_log_z()
    assert machine.log_prob(data[:2], 200).mean() > -1.2  # of -0.69 at best and -3.47 at first


def test_the_discrete_vae_is_a_machine_of_two_modules():
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(6, 3), nn.Linear(3, 6)
    vae = DiscreteVAE(encoder, decoder, QuantumPriorLayer(3), num_visible=6, hard=True)
    assert isinstance(vae, HelmholtzMachine)
    assert vae.recognition.layers[0] is encoder and vae.generator.layers[0] is decoder
    (spins,), _ = vae.recognition.rsample(torch.ones(4, 6))
    assert (spins.abs() == 1).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_groups is 4, but there are only 3 spins"):
        GroupedRecognition(5, 3, num_groups=4)
    with pytest.raises(ValueError, match="num_hidden is 0"):
        GroupedRecognition(5, 4, num_hidden=0)
    with pytest.raises(NotImplementedError, match="temperature is None"):
        grouped().rsample(torch.ones(1, 5).double())


def test_hard_spins_are_spins_with_the_gradient_of_relaxed_ones():
    a = torch.linspace(-1, 1, 50).double().requires_grad_()
    slopes = {}
    for hard in (False, True):
        law = SpinBernoulli(a, 0.5, hard)
        draws = law.rsample((200,), torch.Generator().manual_seed(0))
        assert (draws.detach().abs() == 1).all() == hard
        (slopes[hard],) = torch.autograd.grad(draws.sum(), a)
    torch.testing.assert_close(slopes[True], slopes[False])


def test_with_a_temperature_the_log_probability_is_linear_in_between():
    a = torch.tensor([0.7]).double()
    law, plain = SpinBernoulli(a, 0.5), SpinBernoulli(a)
    up, down = torch.ones(1).double(), -torch.ones(1).double()
    for spin in (up, down):
        torch.testing.assert_close(law.log_prob(spin), plain.log_prob(spin))
    middle = (law.log_prob(up) + 3 * law.log_prob(down)) / 4
    torch.testing.assert_close(law.log_prob(down / 2), middle)


def test_log_probabilities_have_full_precision_under_autocast():
    torch.manual_seed(0)
    recognition = GroupedRecognition(5, 4, num_groups=2)
    generator = BeliefNetwork([4, 5])
    with torch.autocast("cpu", torch.bfloat16):
        states, log_q = recognition.draw(torch.ones(3, 5))
        log_p = generator.log_prob([*states, torch.ones(3, 5)])
    assert log_q.dtype == log_p.dtype == torch.float32
