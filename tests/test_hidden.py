import pytest
import torch
from models import F64, law, random_ising

from qahm_torch import CouplingGraph, ExactSampler, Ising, QuantumPriorLayer
from qahm_torch.ising import all_states
from qahm_torch.priors import hidden as module
from qahm_torch.priors.hidden import HiddenUnits


def marginal(ising, units):
    r"""The log-probabilities of all visible states, by summing the exact law."""
    states = all_states(ising.num_spins)
    visible = states[:, units.visible]
    index = ((visible > 0).long() * 2 ** torch.arange(visible.shape[1])).sum(-1)
    p = torch.zeros(2 ** visible.shape[1], dtype=F64).index_add(0, index, law(ising))
    return p.log()


GRAPHS = {
    "disconnected": (CouplingGraph.bipartite(4, 3), (4, 5, 6)),
    "one pair": (CouplingGraph(6, [(0, 4), (1, 5), (2, 3), (4, 5), (0, 3)]), (3, 4, 5)),
    "all connected": (CouplingGraph.complete(6), (1, 3, 5)),
    "no hidden": (CouplingGraph.complete(3), ()),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_free_energy_is_the_marginal(name):
    graph, hidden = GRAPHS[name]
    ising, units = random_ising(graph), HiddenUnits(graph, hidden)
    v = all_states(len(units.visible))
    log_p = -units.free_energy(ising, v, ExactSampler())
    log_p = log_p - torch.logsumexp(log_p, 0)
    torch.testing.assert_close(log_p, marginal(ising, units))


def test_gradient_reaches_relaxed_spins():
    graph, hidden = GRAPHS["one pair"]
    ising, units = random_ising(graph), HiddenUnits(graph, hidden)
    v = torch.rand(4, 3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: units.free_energy(ising, v, ExactSampler()), (v,))


def test_mean_field_bounds_the_free_energy_and_is_tight_when_disconnected():
    for name in ("all connected", "disconnected"):
        graph, hidden = GRAPHS[name]
        ising, units = random_ising(graph, 1.0), HiddenUnits(graph, hidden)
        v = all_states(len(units.visible))
        gap = units.mean_field(ising, v) - units.free_energy(ising, v, ExactSampler())
        assert (gap > -1e-9).all()
        assert (gap.max() < 1e-9) == (name == "disconnected")


def test_large_groups_take_their_gradient_from_samples(monkeypatch):
    graph, hidden = GRAPHS["all connected"]
    ising, units = random_ising(graph), HiddenUnits(graph, hidden)
    v = all_states(3)[[1, 6]]

    def gradient(repeats):
        h, J = ising.h.clone().requires_grad_(), ising.J.clone().requires_grad_()
        rows = v.repeat(repeats, 1).requires_grad_()
        model = Ising(graph, h, J)
        units.free_energy(model, rows, ExactSampler()).mean().backward()
        return torch.cat([h.grad, J.grad]), rows.grad.view(repeats, 2, 3).sum(0)

    exact, exact_rows = gradient(1)
    monkeypatch.setattr(module, "MAX_GROUP", 1)
    assert not units.are_exact
    sampled, sampled_rows = gradient(20_000)
    assert (sampled - exact).abs().max() < 5 / 20_000**0.5
    assert (sampled_rows - exact_rows).abs().max() < 0.05
    # The twin: the gradient at another temperature is further away than that.
    ising = ising.scaled(0.8)
    other, _ = gradient(20_000)
    assert (other - exact).abs().max() > 5 / 20_000**0.5


def test_a_single_vector_has_a_gradient_in_large_groups(monkeypatch):
    monkeypatch.setattr(module, "MAX_GROUP", 1)
    layer = QuantumPriorLayer(6, hidden=(1, 3, 5), num_samples=8)
    spins = torch.ones(3, requires_grad=True)
    layer(spins).backward()
    assert spins.grad.shape == (3,) and layer.J.grad is not None


def test_sampled_gradients_are_not_differentiated_again(monkeypatch):
    monkeypatch.setattr(module, "MAX_GROUP", 1)
    graph, hidden = GRAPHS["all connected"]
    units, h = HiddenUnits(graph, hidden), torch.zeros(6, dtype=F64, requires_grad=True)
    model = Ising(graph, h, torch.zeros(15, dtype=F64))
    value = units.free_energy(model, all_states(3)[[1]], ExactSampler()).sum()
    (gradient,) = torch.autograd.grad(value, h, create_graph=True)
    with pytest.raises(RuntimeError, match="has no second derivative"):
        gradient.sum().backward()


def test_wrong_hidden_units_are_named():
    graph = CouplingGraph.complete(3)
    with pytest.raises(ValueError, match="hidden spin 3 is none of 0 to 2"):
        QuantumPriorLayer(graph, hidden=(3,))
    with pytest.raises(ValueError, match="names a spin twice"):
        QuantumPriorLayer(graph, hidden=(1, 1))
    with pytest.raises(ValueError, match="but at least 1 is visible"):
        QuantumPriorLayer(graph, hidden=(0, 1, 2))
