r"""State dicts hold nothing but tensors, and are files of safetensors; those of before load."""

import networkx as nx
import pytest
import torch

from qahm_torch import (
    BeliefNetwork,
    ConditionalBoltzmann,
    CouplingGraph,
    EmbeddedPrior,
    HelmholtzMachine,
    QuantumPriorLayer,
)
from qahm_torch.nn.fitting import load_fitting
from qahm_torch.nn.told import told_by

safetensors = pytest.importorskip("safetensors.torch")
CELL = CouplingGraph.bipartite(4, 4)


def layer(*names, hidden=()):
    return QuantumPriorLayer(nx.path_graph([(name, 0) for name in names]), hidden=hidden)


def embedded(second):
    return EmbeddedPrior(CELL, [(0, 4), second, (2, 6)])


def machine(prior):
    return HelmholtzMachine(ConditionalBoltzmann([6, 3]), BeliefNetwork([3, 6]), prior)


def told_as_before(module):
    r"""Returns a state as it was before, in which plain values stood as they are."""
    state = dict(module.state_dict())
    if isinstance(module, QuantumPriorLayer):
        state["_extra_state"] = {
            "num_spins": module.graph.num_spins,
            "edges": module.graph.edges,
            "labels": list(module.graph.labels),
            "hidden": module.hidden,
        }
    elif isinstance(module, EmbeddedPrior):
        state["_extra_state"] = [list(strand) for strand in module.strands]
    else:
        graph = module.graph
        state["_extra_state"] = {"num_spins": graph.num_spins, "edges": graph.edges}
    return state


MODULES = {
    "layer": (lambda: layer("a", "b", "c"), lambda: layer("a", "c", "b")),
    "hidden": (lambda: layer("a", "b", "c", hidden=[2]), lambda: layer("a", "b", "c", hidden=[1])),
    "embedded": (lambda: embedded((1, 5)), lambda: embedded((3, 5))),
    "conditional": (
        lambda: ConditionalBoltzmann([6, 3], graph=CouplingGraph(3, [(0, 1)])),
        lambda: ConditionalBoltzmann([6, 3], graph=CouplingGraph(3, [(0, 2)])),
    ),
}


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("of", [dict, told_as_before])
def test_what_a_state_tells_is_loaded_into_the_same_and_refused_by_others(kind, of, tmp_path):
    same, other = MODULES[kind]
    saved = same()
    state = saved.state_dict() if of is dict else told_as_before(saved)
    torch.save(state, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    loaded = same()
    loaded.load_state_dict(state)
    assert torch.equal(loaded.J, saved.J)
    with pytest.raises(ValueError, match="the state is of"):
        other().load_state_dict(state)


@pytest.mark.parametrize("kind", MODULES)
def test_a_file_of_a_state_dict(kind, tmp_path):
    same, other = MODULES[kind]
    saved, loaded = same(), same()
    safetensors.save_file(saved.state_dict(), tmp_path / "state.safetensors")
    state = safetensors.load_file(tmp_path / "state.safetensors")
    loaded.load_state_dict(state)
    assert torch.equal(loaded.J, saved.J)
    with pytest.raises(ValueError, match="the state is of"):
        other().load_state_dict(state)


def test_a_file_of_a_machine(tmp_path):
    saved, loaded = machine(layer("a", "b", "c")), machine(layer("a", "b", "c"))
    safetensors.save_model(saved, tmp_path / "machine.safetensors")
    missing, unexpected = safetensors.load_model(loaded, tmp_path / "machine.safetensors")
    assert not missing and not unexpected
    values = zip(saved.state_dict().values(), loaded.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in values)
    with pytest.raises(ValueError, match="the state is of another graph"):
        safetensors.load_model(machine(layer("a", "c", "b")), tmp_path / "machine.safetensors")


def test_a_graph_is_read_from_the_file_alone(tmp_path):
    safetensors.save_file(layer("a", "b", "c").state_dict(), tmp_path / "state.safetensors")
    told = told_by(safetensors.load_file(tmp_path / "state.safetensors")["_extra_state"])
    assert told["labels"] == [["a", 0], ["b", 0], ["c", 0]]
    assert told["edges"] == [[0, 1], [1, 2]]


@pytest.mark.parametrize("of", [dict, told_as_before])
def test_a_prior_on_another_graph_is_not_taken_over(of):
    saved = layer("a", "b", "c")
    state = saved.state_dict() if of is dict else told_as_before(saved)
    assert not load_fitting(layer("a", "b", "c"), state).left
    with pytest.raises(ValueError, match="_extra_state is not the same there"):
        load_fitting(layer("a", "c", "b"), state)


def test_what_is_told_by_somebody_else_stays_as_it_is():
    for state in (torch.tensor([1, 2], dtype=torch.uint8), torch.ones(2)):
        assert told_by(state) is state or told_by(state) == state.tolist()
