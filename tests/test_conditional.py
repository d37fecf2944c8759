r"""Recognition by a Boltzmann machine for each datum."""

import copy

import pytest
import torch
from models import F64, p_value, seeded
from torch import nn

from qahm_torch import (
    AnnealerSampler,
    BeliefNetwork,
    ConditionalBoltzmann,
    CouplingGraph,
    ExactSampler,
    GibbsSampler,
    HelmholtzMachine,
    Ising,
    QuantumPriorLayer,
    ReweightedWakeSleep,
    Sampler,
    SimulatedAnnealer,
    WakeSleep,
    exact_log_partition,
)
from qahm_torch.ising import all_states

V = all_states(3)
RING = CouplingGraph(4, [(0, 1), (1, 2), (2, 3), (3, 0)])


def recognition_of(widths=(3, 4), seed=0, **settings):
    torch.manual_seed(seed)
    recognition = ConditionalBoltzmann(widths, **settings).double()
    nn.init.normal_(recognition.J, std=0.7)
    return recognition


def laws(recognition, v=V):
    r"""The probabilities of all states for each datum, (2^N, len(v)), from their energies."""
    fields = recognition.to_fields(v)
    states = all_states(recognition.graph.num_spins)
    isings = [Ising(recognition.graph, h, recognition.J) for h in fields]
    return torch.stack([(-ising.energy(states)).softmax(0) for ising in isings], 1).detach()


def spread(v, recognition):
    r"""All states of the deepest layer, for each datum."""
    states = all_states(recognition.graph.num_spins)
    return [v.expand(len(states), *v.shape), states.unsqueeze(1).expand(-1, len(v), -1)]


@pytest.mark.parametrize("graph", [None, RING], ids=["complete", "ring"])
def test_log_q_is_that_of_a_machine_for_each_datum(graph):
    recognition = recognition_of(graph=graph)
    found = recognition.log_prob(spread(V, recognition)).exp().detach()
    torch.testing.assert_close(found, laws(recognition))


@pytest.mark.parametrize("graph", [None, RING], ids=["complete", "ring"])
def test_the_gradient_is_that_of_the_enumerated_log_q(graph):
    recognition = recognition_of(graph=graph)
    rows = torch.randint(8, (20,))  # some data more than once
    u = torch.randint(2, (20, 4)).double() * 2 - 1
    weights = torch.randn(20, dtype=F64)
    parameters = list(recognition.parameters())
    found = torch.autograd.grad((weights * recognition.log_prob([V[rows], u])).sum(), parameters)
    fields = recognition.to_fields(V[rows])
    isings = [Ising(recognition.graph, h, recognition.J) for h in fields]
    log_q = [-m.energy(x) - exact_log_partition(m) for m, x in zip(isings, u, strict=True)]
    expected = torch.autograd.grad((weights * torch.stack(log_q)).sum(), parameters)
    torch.testing.assert_close(found, expected)


def test_large_tables_are_enumerated_in_pieces(monkeypatch):
    recognition = recognition_of()
    u = torch.ones(8, 4, dtype=F64)
    whole = recognition.log_prob([V, u])
    whole.sum().backward()
    gradient = recognition.J.grad.clone()
    monkeypatch.setattr("qahm_torch.priors.field_rows.ENTRIES_PER_CHUNK", 3 * 16)
    recognition.zero_grad()
    pieces = recognition.log_prob([V, u])
    pieces.sum().backward()
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(recognition.J.grad, gradient)
    assert recognition.draw(V, seeded()).states[0].shape == (8, 4)


def test_without_couplings_it_is_a_belief_network():
    torch.manual_seed(0)
    network = BeliefNetwork([3, 2, 4]).double()
    recognition = ConditionalBoltzmann(
        [3, 2, 4], layers=[network.layers[0], copy.deepcopy(network.layers[1])]
    ).double()
    with torch.no_grad():
        for parameter in recognition.to_fields.parameters():
            parameter.neg_()
    states = [V, *network.sample(V)]
    torch.testing.assert_close(recognition.log_prob(states), network.log_prob(states))


SAMPLERS = {
    "enumeration": lambda: None,
    "one call": lambda: GibbsSampler(num_sweeps=100),
    "datum by datum": ExactSampler,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_follow_each_machine(name):
    recognition = recognition_of(sampler=SAMPLERS[name]())
    expected = laws(recognition)
    generator = seeded(1)
    (spins,) = recognition.sample(V.expand(3000, 8, 3), generator)
    for k in range(8):
        assert p_value(spins[:, k], expected[:, k]) > 1e-3
        assert p_value(spins[:, k], expected[:, k - 1]) < 1e-3


class Counted(Sampler):
    r"""Counts the calls of a sampler, and the samples of each."""

    def __init__(self, sampler):
        self.sampler = sampler
        self.keeps_chains, self.can_clamp = sampler.keeps_chains, sampler.can_clamp
        self.asked = []

    def _sample(self, ising, num_samples, **settings):
        self.asked.append((ising.num_spins, num_samples))
        return self.sampler.sample(ising, num_samples, **settings)


def test_chains_draw_for_all_data_in_one_call_and_others_for_each_datum():
    data = V[[0, 1, 1, 5, 1, 0]]
    chains = recognition_of(sampler=Counted(GibbsSampler(1)))
    chains.sample(data)
    assert [n for _, n in chains.sampler.asked] == [3 * 3]  # three data, one of them three times
    exact = recognition_of(sampler=Counted(ExactSampler()))
    exact.sample(data)
    assert exact.sampler.asked == [(4, 3)] * 3
    beside = recognition_of(sampler=Counted(ExactSampler()), rows_per_problem=2)
    beside.sample(data)
    assert beside.sampler.asked == [(8, 3)] * 2
    again = beside.log_prob([data, torch.ones(6, 4, dtype=F64)])
    assert len(beside.sampler.asked) == 2  # a value needs no samples
    again.sum().backward()
    assert beside.sampler.asked[2:] == [(8, beside.num_samples)] * 2


@pytest.mark.parametrize("sampler", [GibbsSampler(50), ExactSampler()], ids=["chains", "exact"])
def test_sampled_gradients_are_right_on_average(sampler):
    exact, sampled = recognition_of(), recognition_of(sampler=sampler, num_samples=4000)
    u = torch.ones(8, 4, dtype=F64)

    def gradients(recognition):
        parameters = list(recognition.parameters())
        return torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(recognition.log_prob([V, u]).mean(), parameters)
            ]
        )

    error = gradients(sampled) - gradients(exact)
    # Each moment is a mean of 8 x 4000 or, for one datum's field, of 4000 values of size 1.
    assert error.abs().max() < 5 / 4000**0.5
    assert gradients(exact).abs().max() > 10 / 4000**0.5


def test_log_z_beyond_enumeration_is_estimated(monkeypatch):
    monkeypatch.setattr("qahm_torch.priors.conditional.MAX_ENUMERATED", 3)
    estimated = recognition_of(sampler=GibbsSampler(50), num_chains=400, num_temperatures=100)
    assert not estimated.is_enumerated
    found = estimated.log_prob(spread(V, estimated)).exp().detach()
    torch.testing.assert_close(found, laws(estimated), rtol=0.1, atol=0)
    with pytest.raises(ValueError, match="has 4 spins, but without a `sampler` at most 3 are"):
        recognition_of()


def test_a_device_is_programmed_for_each_datum_or_for_several_side_by_side():
    def spent(rows_per_problem):
        device = SimulatedAnnealer("pegasus", 3, beta=3.0, seed=0)
        sampler = AnnealerSampler(device, beta=3.0)
        recognition = recognition_of(sampler=sampler, rows_per_problem=rows_per_problem)
        spins = recognition.draws(recognition.machines(V), 2000)
        means = torch.stack([all_states(4).T @ law for law in laws(recognition).T])
        torch.testing.assert_close(spins.mean(0), means, atol=0.15, rtol=0)
        return sampler.account.num_problems, sampler.account.measured

    (each, slow), (beside, fast) = spent(1), spent(8)
    assert (each, beside) == (8, 1) and fast < slow / 4


@pytest.mark.parametrize("objective", [WakeSleep(), ReweightedWakeSleep(4)], ids=repr)
@pytest.mark.parametrize("widths", [(3, 4), (3, 5, 4)], ids=str)
def test_it_learns_the_posterior_in_a_machine(objective, widths):
    recognition = ConditionalBoltzmann(widths).double()
    torch.manual_seed(0)
    prior = QuantumPriorLayer(4, sampler=ExactSampler(), num_samples=500).double()
    generator = BeliefNetwork(widths[::-1]).double()
    with torch.no_grad():
        prior.J.normal_()
        generator.layers[-1].weight.normal_(0, 1.5)
    machine = HelmholtzMachine(recognition, generator, prior)
    prior.estimate_log_z()
    optimizer = torch.optim.Adam(recognition.parameters(), lr=0.05)

    def bound():
        with torch.no_grad():
            return machine.log_weights(V, 2000, generator=seeded()).mean()

    before = bound()
    for _ in range(100):
        optimizer.zero_grad()
        objective(machine, V, prior.draw())["loss"].backward()
        optimizer.step()
    assert bound() > before + 0.05
    assert recognition.J.abs().max() > 0.1


def test_a_state_is_of_its_graph():
    complete, ring = recognition_of(), recognition_of(graph=RING, seed=1)
    with pytest.raises(ValueError, match="another graph: 4 spins and 6 edges; this one has"):
        ring.load_state_dict(complete.state_dict())
    other = recognition_of(seed=1)
    other.load_state_dict(complete.state_dict())
    torch.testing.assert_close(laws(other), laws(complete))


def test_there_is_no_second_derivative():
    recognition = recognition_of()
    log_q = recognition.log_prob([V, torch.ones(8, 4, dtype=F64)]).sum()
    (gradient,) = torch.autograd.grad(log_q, recognition.J, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"graph": CouplingGraph.complete(3)}, "graph has 3 spins, but the deepest layer has 4"),
        ({"layers": []}, r"layers are 0 modules, but widths \[3, 4\] need 1"),
        ({"rows_per_problem": 0}, "rows_per_problem is 0, but it is at least 1"),
        ({"num_temperatures": 1}, "num_temperatures is 1, but it is at least 2"),
    ],
)
def test_impossible_settings_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        ConditionalBoltzmann([3, 4], **settings)
    with pytest.raises(ValueError, match="states are 3, but 2 are needed"):
        ConditionalBoltzmann([3, 4]).log_prob([V, V, V])
