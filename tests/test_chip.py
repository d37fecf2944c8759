r"""The chip as a device tells it, and the time that a problem will cost."""

import copy
import pickle

import dimod
import networkx as nx
import pytest
import torch
from dwave.cloud.solver import StructuredSolver
from dwave.cloud.testing import mocks
from dwave.system.testing import MockDWaveSampler

from qahm_torch.annealer.timing import estimate_access_time
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
    with pytest.raises(ValueError, match="named 'a'; only qubits named by integers"):
        Chip.of(sampler)


def test_a_sampler_without_a_graph_is_refused():
    with pytest.raises(TypeError, match="ExactSolver has no graph"):
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


@pytest.mark.parametrize("kind", ["advantage", "2000q"])
@pytest.mark.parametrize(
    "submission",
    [
        {},
        {"annealing_time": 100.0},
        {"programming_thermalization": 10.0, "readout_thermalization": 50.0},
        {"reduce_intersample_correlation": True},
        {"anneal_schedule": [(0.0, 0.0), (50.0, 1.0)]},
    ],
)
def test_the_time_is_the_clients(kind, submission):
    timing = mocks.qpu_problem_timing_data(kind)
    data = mocks.qpu_pegasus_solver_data(2, problem_timing_data=timing)
    theirs = StructuredSolver(client=None, data=data).estimate_qpu_access_time(
        400, 1000, **submission
    )
    chip = Chip.of(device(problem_timing_data=timing))
    assert estimate_access_time(chip, 400, 1000, **submission) == pytest.approx(theirs * 1e-6)


def test_a_reverse_anneal_costs_what_its_model_says():
    timing = mocks.qpu_problem_timing_data("2000q")
    chip = Chip.of(device(problem_timing_data=timing))
    forward = estimate_access_time(chip, 400, 10, anneal_schedule=[(0, 0), (20, 1)])
    schedule = [(0, 1), (10, 0.5), (20, 1)]
    reverse = estimate_access_time(chip, 400, 10, anneal_schedule=schedule)
    delta = timing["reverse_annealing_with_reinit_delay_time_delta"]
    assert reverse - forward == pytest.approx(10 * delta * 1e-6)


def test_a_thermalization_of_zero_is_not_the_default():
    chip = Chip.of(device(problem_timing_data=mocks.qpu_problem_timing_data()))
    wait = estimate_access_time(chip, 10) - estimate_access_time(
        chip, 10, programming_thermalization=0
    )
    assert wait == pytest.approx(1e-3)


def test_a_device_without_timing_data_has_no_estimate():
    assert estimate_access_time(Chip.of(device(problem_timing_data=None)), 10) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_qubits": 0}, "num_qubits is 0"),
        ({"num_qubits": 5, "annealing_time": 0.0}, "annealing_time is 0.0"),
    ],
)
def test_impossible_problems_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_access_time(Chip.of(device()), **arguments)
