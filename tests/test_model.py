import pytest
import torch
from models import F64, random_ising

from qahm_torch import CouplingGraph, Ising
from qahm_torch.ising import all_states, moments

SPARSE = CouplingGraph(40, [(i, i + 1) for i in range(39)])


@pytest.mark.parametrize("graph", [CouplingGraph.complete(6), SPARSE])
def test_energy_is_the_sum_over_fields_and_edges(graph):
    ising = random_ising(graph)
    spins = torch.randint(2, (3, 2, graph.num_spins)).to(F64) * 2 - 1
    expected = torch.zeros(3, 2, dtype=F64)
    for i in range(graph.num_spins):
        expected += ising.h[i] * spins[..., i]
    for coupling, (i, j) in zip(ising.J, graph.edges.tolist(), strict=True):
        expected += coupling * spins[..., i] * spins[..., j]
    torch.testing.assert_close(ising.energy(spins), expected)


@pytest.mark.parametrize("graph", [CouplingGraph.complete(4), SPARSE])
def test_energy_gradients(graph):
    ising = random_ising(graph)
    spins = torch.randn(2, graph.num_spins, dtype=F64, requires_grad=True)
    h, J = ising.h.requires_grad_(), ising.J.requires_grad_()

    def energy(spins, h, J):
        return Ising(graph, h, J).energy(spins)

    assert torch.autograd.gradcheck(energy, (spins, h, J))
    assert torch.autograd.gradgradcheck(energy, (spins, h, J))


def test_energy_under_vmap_and_autocast():
    ising = random_ising(CouplingGraph.complete(30), dtype=torch.float32)
    spins = torch.randint(2, (5, 30)).float() * 2 - 1
    expected = ising.energy(spins)
    torch.testing.assert_close(torch.func.vmap(ising.energy)(spins), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ising.energy(spins), expected)


def test_couplings_are_symmetric():
    ising = random_ising(CouplingGraph(3, [(2, 0), (1, 2)]))
    matrix = ising.couplings()
    assert torch.equal(matrix, matrix.T)
    assert matrix[0, 2] == ising.J[0] and matrix[1, 2] == ising.J[1] and matrix[0, 1] == 0


def test_detach_is_a_snapshot():
    ising = random_ising(CouplingGraph.complete(3))
    snapshot = ising.detach()
    ising.h.add_(1)
    assert not torch.equal(snapshot.h, ising.h)


def test_wrong_inputs_are_named():
    graph = CouplingGraph.complete(3)
    with pytest.raises(ValueError, match=r"h has shape \(2,\), but the graph has 3 spins"):
        Ising(graph, torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"J has shape \(4,\), but the graph has 3 edges"):
        Ising(graph, torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match="floating dtype"):
        Ising(graph, torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(ValueError, match=r"gamma is -0\.5"):
        Ising(graph, torch.zeros(3), torch.zeros(3), gamma=-0.5)
    bad = Ising(graph, torch.zeros(3), torch.tensor([0.0, torch.nan, 0.0]))
    with pytest.raises(ValueError, match=r"J\[1\] is nan"):
        bad.check_finite()


def test_bqm_has_no_place_for_a_transverse_field():
    with pytest.raises(ValueError, match="transverse field"):
        random_ising(CouplingGraph.complete(2), gamma=1.0).to_bqm()


@pytest.mark.parametrize("graph", [CouplingGraph.complete(5), CouplingGraph(20, [(3, 17)])])
def test_moments_are_weighted_means(graph):
    spins = all_states(5)[:, [i % 5 for i in range(graph.num_spins)]]
    weights = torch.rand(32, dtype=F64)
    mean, correlation = moments(graph, spins, weights)
    p = weights / weights.sum()
    i, j = graph.edges.T
    torch.testing.assert_close(mean, p @ spins)
    torch.testing.assert_close(correlation, p @ (spins[:, i] * spins[:, j]))


@pytest.mark.parametrize("graph", [CouplingGraph.complete(6), CouplingGraph.chimera(2)], ids=repr)
def test_fields_are_half_the_energy_of_a_flip(graph):
    ising = random_ising(graph)
    spins = 2.0 * torch.randint(2, (4, graph.num_spins), dtype=F64) - 1
    flipped = spins.unsqueeze(1) * (1 - 2 * torch.eye(graph.num_spins, dtype=F64))
    gain = ising.energy(flipped) - ising.energy(spins).unsqueeze(1)
    torch.testing.assert_close(-2 * spins * ising.fields(spins), gain)
