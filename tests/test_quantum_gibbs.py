import copy

import pytest
import torch

from qahm_torch import (
    BeliefNetwork,
    CouplingGraph,
    GibbsSampler,
    HelmholtzMachine,
    Ising,
    PathIntegralSampler,
    QuantumGibbsPrior,
    QuantumPriorLayer,
    Samples,
    WakeSleep,
    WorldLines,
    all_states,
    exact_log_partition,
    exact_log_probs,
)
from qahm_torch.samplers import field_integral

N = 6


def prior_of(num_spins=N, gamma=0.8, **settings):
    torch.manual_seed(0)
    prior = QuantumGibbsPrior(num_spins, gamma=torch.full((num_spins,), gamma), **settings)
    with torch.no_grad():
        prior.h.normal_(0, 0.4)
        prior.J.normal_(0, 0.4)
    return prior


def data_of(num_rows, num_spins=N):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, (num_rows, num_spins), generator=generator) * 2.0 - 1


def gradient(prior, spins, negative=None):
    prior.zero_grad()
    prior.log_prob(spins, negative).mean().backward()
    return torch.cat([prior.h.grad, prior.J.grad, prior.gamma.grad]).clone()


def test_value_of_few_spins_is_that_of_the_density_matrix():
    prior = prior_of(3).double()
    flip, diagonal = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), torch.eye(2).double()
    states = all_states(3)
    hamiltonian = torch.diag(prior.ising().energy(states))
    for i in range(3):
        # Spin 0 is the last factor, since it changes fastest from state to state.
        factors = [flip if k == i else diagonal for k in (2, 1, 0)]
        both = torch.kron(torch.kron(factors[0], factors[1]), factors[2])
        hamiltonian = hamiltonian - prior.gamma[i] * both
    weights = torch.linalg.matrix_exp(-hamiltonian).diagonal()
    torch.testing.assert_close(prior(states), (weights / weights.sum()).log())


@pytest.mark.parametrize("gamma", [0.1, 0.8, 2.0])
def test_sampled_gradient_is_exact_within_its_errors(gamma):
    exact, sampled = (prior_of(gamma=gamma, exact=e, num_samples=2000) for e in (True, False))
    spins = data_of(5)
    wanted = gradient(exact, spins)
    found = torch.stack([gradient(sampled, spins.repeat(100, 1)) for _ in range(20)])
    z = (found.mean(0) - wanted) / (found.std(0) / 20**0.5)
    assert 0.7 < z.square().mean().sqrt() < 1.4
    assert z.abs().max() < 4.5


def test_gradient_of_the_bound_would_be_found():
    exact = prior_of(gamma=2.0)
    bound = QuantumPriorLayer(N, gamma=2.0)
    bound.load_state_dict(
        {k: v for k, v in exact.state_dict().items() if k != "gamma"}, strict=False
    )
    spins = data_of(5)
    bound(spins).mean().backward()
    wanted = gradient(exact, spins)[: N + len(exact.J)]
    assert (torch.cat([bound.h.grad, bound.J.grad]) - wanted).abs().max() > 0.1


def test_gradient_in_one_field_for_all_is_the_sum_of_each():
    each, shared = prior_of(exact=False), QuantumGibbsPrior(N, gamma=0.8, exact=False)
    with torch.no_grad():
        shared.h.copy_(each.h)
        shared.J.copy_(each.J)
    spins, negative = data_of(5), each.draw()
    torch.manual_seed(2)
    of_each = gradient(each, spins, negative)[-N:].sum()
    torch.manual_seed(2)
    shared.log_prob(spins, negative).mean().backward()
    torch.testing.assert_close(shared.gamma.grad, of_each)


def test_values_are_a_bound_that_the_integral_over_the_field_closes():
    prior = prior_of(11, exact=False)
    estimate = prior.estimate_log_z(num_chains=300)
    exact = float(exact_log_partition(prior.ising().detach()))
    assert estimate.lower < exact < estimate.upper
    assert abs(estimate.value - exact) < 5 * estimate.stderr
    spins = all_states(11, torch.float32)[:: 2**11 // 8]
    with torch.no_grad():
        places = 2 ** torch.arange(11)
        log_probs = exact_log_probs(prior.ising())[((spins > 0) * places).sum(-1)]
        assert (prior(spins) < log_probs).all()
    found = prior.estimate_log_prob(spins, num_lines=200)
    errors = (found.stderr.square() + estimate.stderr**2).sqrt()
    assert ((found.value - log_probs) / errors).abs().max() < 4


def test_integral_over_the_field_is_zero_without_one():
    ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3))
    assert field_integral(ising).value == 0
    assert field_integral(ising, data_of(4, 3)).value.tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="num_lines is 1, but it is at least 2"):
        field_integral(ising, num_lines=1)


def test_lines_are_looked_at_between_their_kinks():
    lines = torch.tensor([[[1.0, 0.25, 0.5, 1.0], [-1.0, 0.1, 0.9, 1.0]]])
    world = WorldLines(lines[..., 0], lines)
    assert world.num_kinks.tolist() == [[2, 2]]
    found = world.at(torch.tensor([[0.0, 0.2, 0.3, 0.95]]))
    assert found.tolist() == [[[1, -1], [1, 1], [-1, 1], [1, -1]]]


def test_a_field_is_learned():
    graph = CouplingGraph(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)])
    target = Ising(graph, torch.full((5,), 0.2), torch.full((5,), -0.9), 1.2)
    law, states = exact_log_probs(target), all_states(5, torch.float32)
    torch.manual_seed(0)
    prior = QuantumGibbsPrior(graph, gamma=0.3)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        (law.exp() * (law - prior(states))).sum().backward()
        optimizer.step()
    assert abs(abs(prior.gamma.item()) - 1.2) < 0.05


def test_the_sign_of_the_field_does_not_matter():
    prior = prior_of()
    spins = data_of(4)
    value, of_plus = prior(spins).detach(), gradient(prior, spins)
    with torch.no_grad():
        prior.gamma.neg_()
    torch.testing.assert_close(prior(spins).detach(), value)
    torch.testing.assert_close(gradient(prior, spins)[-N:], -of_plus[-N:])


def test_without_a_field_nothing_pushes_it():
    prior = prior_of(gamma=0.0, exact=False)
    assert gradient(prior, data_of(4))[-N:].abs().max() == 0


def test_a_machine_learns_with_it():
    torch.manual_seed(0)
    prior = QuantumGibbsPrior(4, num_samples=64)
    machine = HelmholtzMachine(BeliefNetwork([8, 4]), BeliefNetwork([4, 8]), prior)
    losses = WakeSleep()(machine, data_of(20, 8), prior.draw())
    losses["loss"].backward()
    assert prior.gamma.grad.abs() > 0
    assert machine.generate(3).shape == (3, 8)
    assert "prior.gamma" in machine.state_dict()
    assert copy.deepcopy(machine).prior.gamma.equal(prior.gamma)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="exact is True, but the density matrix takes up to 12"):
        QuantumGibbsPrior(13, exact=True)
    with pytest.raises(ValueError, match=r"gamma has shape \(2,\), but it is one number or"):
        QuantumGibbsPrior(3, gamma=torch.ones(2))
    with pytest.raises(ValueError, match="gamma is nan, but a finite field is needed"):
        QuantumGibbsPrior(3, gamma=float("nan"))
    with pytest.raises(ValueError, match="num_times is 0"):
        QuantumGibbsPrior(3, num_times=0)
    prior = prior_of(exact=False)
    with pytest.raises(ValueError, match="spins are relaxed"):
        prior(torch.full((2, N), 0.5))
    with pytest.raises(TypeError, match="the samples have no world lines"):
        prior.log_prob(data_of(2), Samples(data_of(10))).mean().backward()
    with pytest.raises(ValueError, match="gamma is not 0"):
        QuantumGibbsPrior(N, sampler=GibbsSampler(), exact=False).draw()
    assert isinstance(prior.sampler, PathIntegralSampler)
