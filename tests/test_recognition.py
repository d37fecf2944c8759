r"""Whatever draws hidden states with their log-probability can stand in a Helmholtz machine."""

import pytest
import torch
from models import F64, random_ising, state_index
from scipy import stats
from torch import nn

from qahm_torch import (
    BeliefNetwork,
    ConditionalBoltzmann,
    CouplingGraph,
    Draw,
    ExactSampler,
    HelmholtzMachine,
    QuantumPriorLayer,
    Recognition,
    Spins,
    sleep_loss,
)
from qahm_torch.ising import all_states

V = all_states(3)


class Grouped(Recognition):
    r"""One hidden layer in two groups of spins, the second given the data and the first."""

    def __init__(self, num_visible, sizes):
        super().__init__([num_visible, sum(sizes)])
        self.sizes = list(sizes)
        self.first = nn.Linear(num_visible, sizes[0])
        self.second = nn.Sequential(
            nn.Linear(num_visible + sizes[0], 16), nn.Tanh(), nn.Linear(16, sizes[1])
        )
        self.spins = nn.ModuleList(Spins(size) for size in sizes)

    def of_first(self, v):
        return self.spins[0](self.first(v))

    def of_second(self, v, first):
        return self.spins[1](self.second(torch.cat([v, first], -1)))

    def draw(self, inputs, generator=None):
        first = self.of_first(inputs).sample(generator=generator)
        second = self.of_second(inputs, first).sample(generator=generator)
        states = [torch.cat([first, second], -1)]
        return Draw(states, self.log_prob([inputs, *states]))

    def log_prob(self, states):
        v, u = states
        first, second = u.split(self.sizes, -1)
        return self.of_first(v).log_prob(first) + self.of_second(v, first).log_prob(second)


class Skipping(Recognition):
    r"""Two hidden layers, the deeper one given the first and the data as well."""

    def __init__(self, widths):
        super().__init__(widths)
        visible, first, second = widths
        self.to_first = nn.Linear(visible, first)
        self.to_second = nn.Linear(visible + first, second)
        self.units = nn.ModuleList([Spins(first), Spins(second)])

    def laws(self, v, u):
        deeper = self.to_second(torch.cat([v, u], -1))
        return self.units[0](self.to_first(v)), self.units[1](deeper)

    def draw(self, inputs, generator=None):
        first = self.units[0](self.to_first(inputs)).sample(generator=generator)
        second = self.laws(inputs, first)[1].sample(generator=generator)
        return Draw([first, second], self.log_prob([inputs, first, second]))

    def log_prob(self, states):
        v, first, second = states
        laws = self.laws(v, first)
        return laws[0].log_prob(first) + laws[1].log_prob(second)


def hidden_states(widths):
    r"""All hidden states, one row a state of all layers, split into layers."""
    return list(all_states(sum(widths)).split(list(widths), -1))


def table(recognition, v):
    r"""log q(u | v) of all hidden states, of shape (S, len(v))."""
    u = [x.unsqueeze(1).expand(-1, len(v), -1) for x in hidden_states(recognition.widths[1:])]
    return recognition.log_prob([v.expand(len(u[0]), *v.shape), *u])


RECOGNITIONS = {
    "grouped": lambda: Grouped(3, (2, 2)),
    "skipping": lambda: Skipping([3, 2, 2]),
    "belief": lambda: BeliefNetwork([3, 2, 2]),
    "boltzmann": lambda: ConditionalBoltzmann([3, 2, 2]),
}


def made(name):
    recognition = RECOGNITIONS[name]().double()
    for parameter in recognition.parameters():
        parameter.data.normal_()
    return recognition


@pytest.mark.parametrize("name", RECOGNITIONS)
def test_recognitions_are_normalized(name):
    total = table(made(name), V).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(8, dtype=F64))


@pytest.mark.parametrize("name", RECOGNITIONS)
def test_hidden_states_are_drawn_as_probably_as_they_say(name):
    recognition = made(name)
    inputs = V[5].expand(20_000, 3)
    states, log_prob = recognition.draw(inputs, torch.Generator().manual_seed(1))
    torch.testing.assert_close(log_prob, recognition.log_prob([inputs, *states]))
    assert log_prob.requires_grad and not any(state.requires_grad for state in states)

    def p_value(of):
        order = state_index(torch.cat(hidden_states(of.widths[1:]), -1)).argsort()
        expected = table(of, V[5:6])[order, 0].detach().exp() * 20_000
        counts = state_index(torch.cat(states, -1)).bincount(minlength=len(expected))
        seen = expected > 1
        return stats.chisquare(
            counts[seen], expected[seen] * counts[seen].sum() / expected[seen].sum()
        ).pvalue

    assert p_value(recognition) > 1e-3
    assert p_value(made(name)) < 1e-3  # of other weights


def machine_with(recognition, hidden):
    r"""A machine whose posterior is far from independent: the data say what spins have in sum."""
    generator = BeliefNetwork([*hidden[::-1], 3])
    prior = QuantumPriorLayer(CouplingGraph.complete(hidden[-1]), sampler=ExactSampler())
    machine = HelmholtzMachine(recognition, generator, prior).double()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.normal_(0, 1.5)
        ising = random_ising(prior.graph, 0.7)
        prior.h.copy_(ising.h)
        prior.J.copy_(ising.J)
    prior.estimate_log_z()
    return machine


def exact_log_likelihood(machine):
    u = [x.unsqueeze(1).expand(-1, 8, -1) for x in hidden_states(machine.recognition.widths[1:])]
    return machine.log_joint([V.expand(len(u[0]), 8, 3), *u]).logsumexp(0).detach()


def gap(machine, num_particles=3):
    r"""How far the mean importance-sampled log-likelihood is below the enumerated one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        rows = V.expand(2000, 8, 3)
        found = machine.log_prob(rows, num_particles, generator=generator).mean(0)
    exact = exact_log_likelihood(machine)
    return float((exact.exp() * (exact - found)).sum())


def trained(machine, steps=250):
    optimizer = torch.optim.Adam(machine.recognition.parameters(), lr=0.03)
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        loss = sleep_loss(machine, machine.dream(500, generator=generator)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return machine


def test_groups_are_trained_towards_the_enumerated_likelihood():
    torch.manual_seed(0)
    grouped = machine_with(Grouped(3, (2, 2)), (4,))
    before = gap(grouped)
    after = gap(trained(grouped))
    independent = gap(trained(machine_with(BeliefNetwork([3, 4]), (4,))))
    assert 0 < after < before / 3
    # What is left is less than with the best of independent spins, which is what groups are for.
    assert after < independent / 2
    many = grouped.log_prob(V, 20_000)
    torch.testing.assert_close(many, exact_log_likelihood(grouped), atol=0.02, rtol=0)


def test_deeper_layers_may_see_the_data():
    torch.manual_seed(0)
    machine = machine_with(Skipping([3, 2, 2]), (2, 2))
    before = gap(machine)
    assert 0 < gap(trained(machine)) < before / 3
    assert machine.reconstruct(V, 1).shape == (8, 3)
    torch.testing.assert_close(
        machine.log_prob(V, 200_000), exact_log_likelihood(machine), atol=0.02, rtol=0
    )


def test_states_are_drawn_from_a_generator_or_not_at_all_relaxed():
    recognition = made("grouped")
    before = torch.get_rng_state()
    first, again = (recognition.sample(V, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(torch.get_rng_state(), before)
    with pytest.raises(NotImplementedError, match="Grouped has no relaxed states"):
        recognition.rsample(V)


def test_states_that_do_not_fit_are_named():
    message = r"data first, have widths \[3, 5\], but those of the generator have \[3, 4\]"
    with pytest.raises(ValueError, match=message):
        machine_with(Grouped(3, (2, 3)), (4,))
    with pytest.raises(ValueError, match=r"widths \[3, 4\], but .* have \[3, 2, 2\]"):
        machine_with(Grouped(3, (2, 2)), (2, 2))
    with pytest.raises(ValueError, match=r"widths are \[3, 0\], but"):
        Grouped(3, (0, 0))
    with pytest.raises(TypeError, match="abstract"):
        Recognition([3, 2])
