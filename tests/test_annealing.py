import pytest
import torch
from models import F64, law, p_value, random_ising, seeded, state_index

from qahm_torch import AnnealedSampler, CouplingGraph, GibbsSampler, Ising
from qahm_torch.ising import all_states, exact_log_partition
from qahm_torch.kernels.population import populate
from qahm_torch.samplers.annealing import annealing_path


def two_modes():
    r"""A ferromagnet in a weak field: mostly all up, and sometimes all down."""
    graph = CouplingGraph.complete(12)
    h = torch.full((12,), -0.05, dtype=F64)
    return Ising(graph, h, torch.full((graph.num_edges,), -0.6, dtype=F64))


def test_both_modes_have_their_weights_where_gibbs_keeps_those_of_the_start():
    ising = two_modes()
    exact = float(law(ising) @ (all_states(12).mean(-1) > 0).to(F64))
    annealed = AnnealedSampler().sample(ising, 4000, generator=seeded()).spins
    up = (annealed.mean(-1) > 0).double().mean().item()
    # Copies of a chain share its mode, so the error is that of the population.
    assert abs(up - exact) < 0.05
    gibbs = GibbsSampler(250).sample(ising, 4000, generator=seeded()).spins
    assert abs((gibbs.mean(-1) > 0).double().mean().item() - exact) > 0.05


def test_base_log_z_is_that_of_its_samples():
    path = annealing_path(two_modes(), 100, seeded())
    energy = (path.base * all_states(12)).sum(-1)
    assert path.base_log_z() == pytest.approx(torch.logsumexp(-energy, 0).item())
    means = path.base_samples(20_000, seeded()).double().mean(0)
    assert (means + torch.tanh(path.base)).abs().max() < 5 / 20_000**0.5


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_log_weights_average_to_the_ratio_of_partition_functions(backend):
    ising = random_ising(CouplingGraph.complete(6), 0.5)
    path = annealing_path(ising, 100, seeded(), backend)
    start = path.base_samples(20_000, seeded())
    betas = torch.linspace(0, 1, 12)
    ends, log_weights = path.anneal(start, betas, seeded())
    ratio = exact_log_partition(ising).item() - path.base_log_z()
    weights = torch.exp(log_weights - ratio)
    assert abs(weights.mean() - 1) < 5 * weights.std() / 20_000**0.5
    # Weighted ends follow the model, and a wrong path is noticed.
    p = torch.bincount(state_index(ends), weights / 20_000, minlength=64)
    assert (p - law(ising)).abs().max() < 0.02
    _, wrong = path.anneal(start, 0.8 * betas, seeded())
    weights = torch.exp(wrong - ratio)
    assert abs(weights.mean() - 1) > 5 * weights.std() / 20_000**0.5


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_chains_may_be_at_temperatures_of_their_own(backend):
    ising = random_ising(CouplingGraph.complete(5), 0.5)
    betas = torch.tensor([0.5, 1.5]).repeat_interleave(10_000)
    chains = populate(ising, 20_000, generator=seeded(), backend=backend)
    chains.sweep(betas.expand(20, -1))
    for beta, spins in zip((0.5, 1.5), chains.spins.split(10_000)):
        assert p_value(spins, law(ising.scaled(beta))) > 1e-3
        assert p_value(spins, law(ising.scaled(0.8 * beta))) < 1e-3
    assert torch.allclose(chains.energies, ising.energy(chains.spins.double()), atol=1e-4)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="backend is 'jax'"):
        AnnealedSampler(backend="jax")
    with pytest.raises(ValueError, match="1 temperatures and 50 sweeps"):
        AnnealedSampler(num_temperatures=1)
    with pytest.raises(ValueError, match="transverse field"):
        quantum = Ising(CouplingGraph.complete(2), torch.zeros(2), torch.zeros(1), 1.0)
        AnnealedSampler().sample(quantum, 3)
