import pytest
import torch
from models import F64, law
from test_samplers import seeded

from qahm_torch import AnnealedSampler, CouplingGraph, GibbsSampler, Ising
from qahm_torch.ising import all_states
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
    states = all_states(12).T
    energy = (path.base * states).sum(0)
    assert path.base_log_z() == pytest.approx(torch.logsumexp(-energy, 0).item())
    means = path.base_samples(20_000, seeded()).mean(1)
    assert (means + torch.tanh(path.base[:, 0])).abs().max() < 5 / 20_000**0.5


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="1 temperatures and 50 sweeps"):
        AnnealedSampler(num_temperatures=1)
    with pytest.raises(ValueError, match="transverse field"):
        quantum = Ising(CouplingGraph.complete(2), torch.zeros(2), torch.zeros(1), 1.0)
        AnnealedSampler().sample(quantum, 3)
