"""Models of dimod, networkx and D-Wave's plugin, as models and layers of ours and back."""

import dimod
import networkx as nx
import numpy as np
import pytest
import torch
from models import random_ising

from qahm_torch import CouplingGraph, Ising, QuantumPriorLayer, exact_log_partition
from qahm_torch.ising import all_states


class Machine:
    r"""What the plugin's machine shows of itself."""

    def __init__(self, nodes, edges, hidden, linear, quadratic):
        self.nodes, self.edges, self.hidden_nodes = nodes, edges, hidden
        self.linear, self.quadratic = torch.nn.Parameter(linear), torch.nn.Parameter(quadratic)


def test_a_dimod_model_keeps_its_energies():
    bqm = dimod.generators.gnp_random_bqm(5, 0.8, "SPIN", random_state=0)
    bqm.relabel_variables(dict(enumerate("edcba")))
    ising = Ising.from_bqm(bqm)
    states = all_states(5)
    expected = bqm.energies((states.numpy(), list(ising.graph.labels))) - bqm.offset
    np.testing.assert_allclose(ising.energy(states).numpy(), expected, atol=1e-5)


def test_so_does_one_of_bits_up_to_a_constant():
    bqm = dimod.generators.gnp_random_bqm(4, 0.9, "BINARY", random_state=1)
    ising = Ising.from_bqm(bqm)
    bits = (all_states(4) + 1) / 2
    expected = torch.from_numpy(bqm.energies((bits.numpy(), list(ising.graph.labels))))
    difference = ising.energy(all_states(4)) - expected
    assert difference.std() < 1e-5


def test_a_model_goes_to_dimod_and_back():
    ising = random_ising(CouplingGraph.bipartite(2, 3))
    again = Ising.from_bqm(ising.to_bqm(), graph=ising.graph)
    torch.testing.assert_close(again.h, ising.h.float())
    torch.testing.assert_close(again.J, ising.J.float())


def test_biases_are_by_label_in_either_order():
    graph = CouplingGraph.of(nx.path_graph(["a", "b", "c"]))
    ising = Ising.from_biases(graph, {"c": 2.0}, {("c", "b"): -1.0})
    assert ising.h.tolist() == [0, 0, 2] and ising.J.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("linear", "quadratic", "message"),
    [
        ({"d": 1.0}, {}, "no spin has the label 'd'; there are 'a', 'b', 'c'"),
        ({}, {("a", "c"): 1.0}, "the pair 'a', 'c' is no edge of the graph"),
        ({}, {("a", "b"): 1.0, ("b", "a"): 1.0}, "the pair 'b', 'a' is named twice"),
    ],
)
def test_wrong_biases_are_named(linear, quadratic, message):
    graph = CouplingGraph.of(nx.path_graph(["a", "b", "c"]))
    with pytest.raises(ValueError, match=message):
        Ising.from_biases(graph, linear, quadratic)


def test_a_layer_takes_numbers_of_numpy_and_graphs_of_networkx():
    assert QuantumPriorLayer(np.int64(4)).graph == CouplingGraph.complete(4)
    layer = QuantumPriorLayer(nx.cycle_graph(["p", "q", "r", "s"]), hidden=["s", "q"])
    assert layer.hidden == [1, 3] and layer.num_visible == 2


@pytest.mark.parametrize("wrong", [True, 2.0, "K5", [(0, 1)]])
def test_what_is_no_graph_is_told(wrong):
    with pytest.raises(TypeError, match="is no graph, but a CouplingGraph, one of networkx"):
        QuantumPriorLayer(wrong)


def test_a_hidden_label_that_is_not_there():
    with pytest.raises(ValueError, match="no spin has the label 't'"):
        QuantumPriorLayer(nx.path_graph(["r", "s"]), hidden=["t"])


def test_a_layer_begins_as_a_model_and_knows_its_log_z():
    ising = random_ising(CouplingGraph.complete(5))
    layer = QuantumPriorLayer.from_ising(ising, num_samples=7)
    torch.testing.assert_close(layer.energy(all_states(5)), ising.energy(all_states(5).double()))
    torch.testing.assert_close(layer.log_z, exact_log_partition(ising), atol=1e-5, rtol=0)
    assert layer.num_samples == 7 and layer.h.dtype == ising.h.dtype


def test_a_machine_of_the_plugin_becomes_a_layer():
    linear, quadratic = torch.tensor([0.5, -1.0, 0.25]), torch.tensor([1.0, -0.5])
    machine = Machine(["x", "y", "z"], [("y", "x"), ("z", "y")], ["y"], linear, quadratic)
    layer = QuantumPriorLayer.from_grbm(machine)
    assert layer.graph.labels == ("x", "y", "z") and layer.hidden == [1]
    x, y, z = all_states(3).unbind(-1)
    expected = 0.5 * x - y + 0.25 * z + y * x - 0.5 * z * y
    torch.testing.assert_close(layer.energy(all_states(3)), expected.float())
    assert layer.h.grad_fn is None and layer.h.requires_grad


def test_there_and_back_with_the_plugin_itself():
    models = pytest.importorskip("dwave.plugins.torch.models", reason="needs the plugin")
    edges = [("a", "b"), ("c", "b"), ("c", "d")]
    theirs = models.GraphRestrictedBoltzmannMachine(list("abcd"), edges, hidden_nodes=["b"])
    layer = QuantumPriorLayer.from_grbm(theirs)
    again = layer.to_grbm()
    states = all_states(4)
    states = states.float()
    torch.testing.assert_close(layer.energy(states), theirs(states))
    torch.testing.assert_close(again(states), theirs(states))
    assert again.hidden_nodes == ["b"]


def test_without_the_plugin_it_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dwave.plugins.torch.models", None)
    with pytest.raises(ImportError, match="pip install dwave-pytorch-plugin"):
        QuantumPriorLayer(2).to_grbm()
    with pytest.raises(ValueError, match="gamma is not 0"):
        QuantumPriorLayer(2, gamma=1.0).to_grbm()


def test_its_objective_has_the_gradient_of_ours():
    models = pytest.importorskip("dwave.plugins.torch.models", reason="needs the plugin")
    torch.manual_seed(0)
    nodes, edges = zip(*[(i, (i, (i + 1) % 5)) for i in range(5)], strict=True)
    theirs = models.GraphRestrictedBoltzmannMachine(nodes, edges)
    layer = QuantumPriorLayer.from_grbm(theirs)
    data, samples = (torch.randint(2, (20, 5)) * 2.0 - 1 for _ in range(2))
    value = theirs.quasi_objective(data, samples)
    value.backward()
    (-layer.log_prob(data, samples).mean()).backward()
    torch.testing.assert_close(layer.h.grad, theirs.linear.grad)
    torch.testing.assert_close(layer.J.grad, theirs.quadratic.grad)
    ours = layer.free_energy(data).mean() - layer.energy(samples).mean()
    torch.testing.assert_close(ours, value.squeeze())
