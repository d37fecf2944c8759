r"""Finding placements: all methods on damaged chips, copies, and what does not fit."""

import dimod
import networkx as nx
import pytest
from chips import REGULAR, RING, SMALL, TRIANGLE, chip_of, is_valid
from dwave import graphs

from qahm_torch import AnnealerWarning, CouplingGraph
from qahm_torch.annealer import Placement, PlacementSettings, place
from qahm_torch.device import Chip, PlacementError

LARGE = {
    "C16": ("chimera", 16),
    "P16": ("pegasus", 16),
    "Z12": ("zephyr", 12),
    "Z15": ("zephyr", 15),
}


@pytest.fixture(params=SMALL)
def chip(request):
    return chip_of(request.param, *SMALL[request.param], missing=6)


@pytest.mark.parametrize(
    ("method", "graph"),
    [
        ("native", RING),
        ("clique", CouplingGraph.complete(10)),
        ("biclique", CouplingGraph.bipartite(5, 9)),
        ("general", REGULAR),
        ("auto", RING),
        ("auto", CouplingGraph.complete(10)),
        ("auto", CouplingGraph.bipartite(5, 9)),
        ("auto", REGULAR),
        ("auto", CouplingGraph(5, [(1, 2)])),
    ],
)
def test_each_method_finds_a_place_on_a_damaged_chip(chip, method, graph):
    settings = PlacementSettings(method)
    placement = place(graph, chip, settings)
    assert is_valid(placement, graph, chip) and placement.faults(graph, chip) == []
    assert placement == place(graph, chip, settings)


# Upstream's search for cliques that fit in a cell does not end on some chips.
@pytest.mark.parametrize("num_spins", range(1, 10))
def test_cliques_of_a_cell_are_placed(chip, num_spins):
    graph = CouplingGraph.complete(num_spins)
    assert is_valid(place(graph, chip), graph, chip)


@pytest.mark.parametrize(("name", "longest"), [("C16", 17), ("P16", 7), ("Z12", 6), ("Z15", 6)])
def test_sixty_spins_are_placed_on_large_chips(name, longest):
    graph, chip = CouplingGraph.complete(60), chip_of(*LARGE[name], missing=10)
    placement = place(graph, chip)
    assert is_valid(placement, graph, chip)
    assert max(placement.strand_lengths[0]) == longest


def test_a_model_named_after_qubits_stays_where_it_is(chip):
    graph = chip.coupling_graph()
    assert place(graph, chip).strands[0] == tuple((q,) for q in graph.labels)


def test_a_native_model_moves_where_a_qubit_breaks():
    corner = sorted(q for q in graphs.chimera_graph(4) if q % 32 < 16 and q < 64)
    graph, _ = chip_of("chimera", 4).coupling_graph().subgraph(corner)
    before = place(graph, chip_of("chimera", 4))
    assert before.qubits == tuple(corner)
    chip = chip_of("chimera", 4, without=corner[:1])
    assert before.faults(graph, chip) == ["qubit 0 of spin 0 is missing"]
    moved = place(graph, chip)
    assert is_valid(moved, graph, chip)
    assert set(moved.strand_lengths[0]) == {1}


@pytest.mark.parametrize("num_spins", [4, 20])
def test_a_placement_moves_where_a_qubit_breaks(num_spins):
    graph = CouplingGraph.complete(num_spins)
    before = place(graph, chip_of("pegasus", 4))
    chip = chip_of("pegasus", 4, without=[before.strands[0][2][0]])
    assert before.faults(graph, chip)
    assert is_valid(place(graph, chip), graph, chip)


@pytest.mark.parametrize("graph", [RING, CouplingGraph.complete(4), REGULAR], ids=str)
@pytest.mark.parametrize("copies", [2, "auto"])
def test_copies_are_disjoint(chip, graph, copies):
    placement = place(graph, chip, PlacementSettings(copies=copies))
    assert is_valid(placement, graph, chip)
    assert placement.num_copies == 2 if copies == 2 else placement.num_copies >= 2


def test_many_copies_of_a_small_model_fill_a_large_chip():
    graph, chip = CouplingGraph.complete(4), chip_of("pegasus", 16, missing=40)
    placement = place(graph, chip, PlacementSettings(copies="auto"))
    assert is_valid(placement, graph, chip)
    assert placement.num_copies > 1000


def test_a_given_embedding_is_taken_by_label_or_index():
    chip = chip_of("chimera", 1)
    graph = CouplingGraph(2, [(0, 1)], labels=["a", "b"])
    by_label = place(graph, chip, PlacementSettings(embedding={"a": [0, 4], "b": 1}))
    by_index = place(graph, chip, PlacementSettings("given", {0: [0, 4], 1: [1]}))
    assert by_label == by_index == Placement((((0, 4), (1,)),))


def test_a_device_of_no_known_family_is_placed_on():
    device = dimod.StructureComposite(dimod.ExactSolver(), range(6), nx.cycle_graph(6).edges)
    graph, chip = CouplingGraph.complete(3), Chip.of(device)
    assert is_valid(place(graph, chip), graph, chip)


@pytest.mark.parametrize(
    ("graph", "settings", "message"),
    [
        (CouplingGraph.complete(40), {"method": "clique"}, "largest complete graph has 16 spins"),
        (CouplingGraph.complete(3), {"method": "native"}, "no place for 3 spins and 3 couplings"),
        (RING, {"method": "clique"}, "for complete graphs only"),
        (TRIANGLE, {"method": "biclique"}, "for complete bipartite ones"),
        (CouplingGraph.complete(10), {"copies": 9}, "copies is 9, but . of 10 spins were found"),
        (TRIANGLE, {"embedding": {0: 0, 1: 4}}, "no qubits for spin 2"),
    ],
)
def test_what_does_not_fit_is_told(graph, settings, message):
    with pytest.raises(PlacementError, match=message):
        place(graph, chip_of("chimera", 4), PlacementSettings(timeout=2, **settings))


def test_a_model_stays_where_it_is_known_to_be():
    chip, graph = chip_of("chimera", 4), CouplingGraph.complete(6)
    known = place(graph, chip, PlacementSettings(seed=5))
    elsewhere = Placement((known.strands[0][::-1],))
    assert place(graph, chip, known=elsewhere) is elsewhere
    damaged = chip_of("chimera", 4, without=known.qubits[:1])
    with pytest.warns(AnnealerWarning, match=f"placed anew .*: qubit {known.qubits[0]} .*missing"):
        moved = place(graph, damaged, known=known)
    assert is_valid(moved, graph, damaged)
