r"""The chip as a device tells it."""

import copy
import pickle

import dimod
import networkx as nx
import pytest
import torch
from dwave.system.testing import MockDWaveSampler

from qahm_torch.device.chip import Chip

SHAPES = {"chimera": [4, 4, 4], "pegasus": [4], "zephyr": [3, 4]}


def device(topology="pegasus", broken=(), **properties):
    return MockDWaveSampler(
        topology_type=topology,
        topology_shape=SHAPES[topology],
        broken_nodes=list(broken),
        properties=properties,
    )


@pytest.mark.parametrize("topology", SHAPES)
def test_the_graph_is_the_devices(topology):
    sampler = device(topology, broken=[40, 41])
    chip = Chip.of(sampler)
    assert chip.qubits.tolist() == sorted(sampler.nodelist)
    assert chip.num_qubits == len(sampler.nodelist) and chip.num_couplers == len(sampler.edgelist)
    assert nx.utils.edges_equal(chip.graph().edges, sampler.edgelist)
    assert chip.graph().graph["family"] == topology == chip.topology
    assert 40 not in chip.qubits


def test_couplers_are_in_order():
    couplers = Chip.of(device()).couplers
    assert (couplers[:, 0] < couplers[:, 1]).all()
    assert couplers.tolist() == sorted(couplers.tolist())


def test_a_model_on_the_whole_chip_is_labeled_by_qubits():
    sampler = device(broken=[40, 41])
    graph = Chip.of(sampler).coupling_graph()
    assert graph.labels == tuple(sorted(sampler.nodelist))
    assert nx.utils.edges_equal(graph.to_networkx().edges, sampler.edgelist)


def test_ranges_are_those_of_the_properties():
    chip = Chip.of(device(chip_id="Test_1", h_range=[-4.0, 4.0], annealing_time_range=[0.5, 2000]))
    assert chip.name == "Test_1" and chip.h_range == (-4.0, 4.0)
    assert chip.annealing_time_range == (0.5, 2000)
    assert "num_reads" in chip.parameters


def test_what_a_device_does_not_tell_is_none():
    chip = Chip.of(dimod.StructureComposite(dimod.ExactSolver(), [0, 1, 5], [(5, 0), (0, 1)]))
    assert chip.topology is chip.h_range is chip.timing is chip.graph_id is None
    assert chip.couplers.tolist() == [[0, 1], [0, 5]]
    assert sorted(chip.graph().nodes) == [0, 1, 5]


def test_couplings_have_one_range_where_there_is_no_extended_one():
    sampler = dimod.StructureComposite(dimod.ExactSolver(), [0], [])
    sampler.properties["j_range"] = [-1.0, 1.0]
    assert Chip.of(sampler).extended_j_range == (-1.0, 1.0)


def test_names_that_are_not_integers_are_refused():
    sampler = dimod.StructureComposite(dimod.ExactSolver(), ["a", "b"], [("a", "b")])
    with pytest.raises(ValueError, match="is 'a', but models can be placed on qubits"):
        Chip.of(sampler)


def test_a_sampler_without_a_graph_is_refused():
    with pytest.raises(TypeError, match="sampler is ExactSolver, but a device has"):
        Chip.of(dimod.ExactSolver())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_are_the_same(duplicate):
    chip = Chip.of(device())
    chip.graph()
    twin = duplicate(chip)
    assert torch.equal(twin.couplers, chip.couplers) and twin.h_range == chip.h_range
    assert twin.graph().graph == chip.graph().graph


def test_the_graph_cannot_be_changed_by_a_caller():
    with pytest.raises(nx.NetworkXError, match="[Ff]rozen"):
        Chip.of(device()).graph().remove_node(50)
