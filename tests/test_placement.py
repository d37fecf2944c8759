r"""Placements: all methods on damaged chips, copies, faults in words, layouts, growth."""

import io
import random

import dimod
import networkx as nx
import pytest
import torch
from dwave import graphs
from dwave.embedding import is_valid_embedding

from qahm_torch import CouplingGraph
from qahm_torch.annealer.placement import Placement, grow, place
from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import PlacementError

SMALL = {"chimera": (4,), "pegasus": (4,), "zephyr": (3,)}
LARGE = {
    "C16": ("chimera", 16),
    "P16": ("pegasus", 16),
    "Z12": ("zephyr", 12),
    "Z15": ("zephyr", 15),
}
RING = CouplingGraph(8, [(i, (i + 1) % 8) for i in range(8)])
REGULAR = CouplingGraph.from_networkx(nx.random_regular_graph(5, 16, seed=1))


def chip_of(topology, *shape, missing=0, seed=0, without=()):
    r"""A chip with some qubits missing, drawn by the seed or named."""
    graph = getattr(graphs, f"{topology}_graph")(*shape)
    graph.remove_nodes_from(random.Random(seed).sample(sorted(graph.nodes), missing))
    graph.remove_nodes_from(without)
    device = dimod.StructureComposite(dimod.ExactSolver(), list(graph.nodes), list(graph.edges))
    device.properties["topology"] = {"type": topology, "shape": list(shape)}
    return Chip.of(device)


@pytest.fixture(params=SMALL)
def chip(request):
    return chip_of(request.param, *SMALL[request.param], missing=6)


def is_valid(placement, graph, chip):
    r"""The oracle: upstream's check of each copy, and no qubit twice."""
    source = graph.to_networkx(labeled=False)
    copies = [dict(enumerate(copy)) for copy in placement.chains]
    disjoint = len(set(placement.qubits)) == sum(map(sum, placement.chain_lengths))
    return disjoint and all(is_valid_embedding(c, source, chip.graph()) for c in copies)


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
    placement = place(graph, chip, method)
    assert is_valid(placement, graph, chip) and placement.faults(graph, chip) == []
    assert placement == place(graph, chip, method)


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
    assert max(placement.chain_lengths[0]) == longest


def test_a_model_named_after_qubits_stays_where_it_is(chip):
    graph = chip.coupling_graph()
    assert place(graph, chip).chains[0] == tuple((q,) for q in graph.labels)


def test_a_native_model_moves_where_a_qubit_breaks():
    corner = sorted(q for q in graphs.chimera_graph(4) if q % 32 < 16 and q < 64)
    graph, _ = chip_of("chimera", 4).coupling_graph().subgraph(corner)
    before = place(graph, chip_of("chimera", 4))
    assert before.qubits == tuple(corner)
    chip = chip_of("chimera", 4, without=corner[:1])
    assert before.faults(graph, chip) == ["qubit 0 of spin 0 is missing"]
    moved = place(graph, chip)
    assert is_valid(moved, graph, chip)
    assert set(moved.chain_lengths[0]) == {1}


@pytest.mark.parametrize("num_spins", [4, 20])
def test_a_placement_moves_where_a_qubit_breaks(num_spins):
    graph = CouplingGraph.complete(num_spins)
    before = place(graph, chip_of("pegasus", 4))
    chip = chip_of("pegasus", 4, without=[before.chains[0][2][0]])
    assert before.faults(graph, chip)
    assert is_valid(place(graph, chip), graph, chip)


@pytest.mark.parametrize("graph", [RING, CouplingGraph.complete(4), REGULAR], ids=str)
@pytest.mark.parametrize("copies", [2, "auto"])
def test_copies_are_disjoint(chip, graph, copies):
    placement = place(graph, chip, copies=copies)
    assert is_valid(placement, graph, chip)
    assert placement.num_copies == 2 if copies == 2 else placement.num_copies >= 2


def test_many_copies_of_a_small_model_fill_a_large_chip():
    graph, chip = CouplingGraph.complete(4), chip_of("pegasus", 16, missing=40)
    placement = place(graph, chip, copies="auto")
    assert is_valid(placement, graph, chip)
    assert placement.num_copies > 1000


def test_a_given_embedding_is_taken_by_label_or_index():
    chip = chip_of("chimera", 1)
    graph = CouplingGraph(2, [(0, 1)], labels=["a", "b"])
    by_label = place(graph, chip, embedding={"a": [0, 4], "b": 1})
    by_index = place(graph, chip, "given", embedding={0: [0, 4], 1: [1]})
    assert by_label == by_index == Placement((((0, 4), (1,)),))


def test_a_device_of_no_known_family_is_placed_on():
    device = dimod.StructureComposite(dimod.ExactSolver(), range(6), nx.cycle_graph(6).edges)
    graph, chip = CouplingGraph.complete(3), Chip.of(device)
    assert is_valid(place(graph, chip), graph, chip)


TRIANGLE = CouplingGraph.complete(3)


@pytest.mark.parametrize(
    ("chains", "fault"),
    [
        (((0,), (4, 1), (99,)), "qubit 99 of spin 2 is missing"),
        (((0, 1), (4,), (5,)), "the chain of spin 0 is broken apart"),
        (((0,), (4, 1), (2, 6)), None),
        (((0,), (4,), (1,)), "there is no coupler between the chains of spins 0 and 2"),
    ],
)
def test_faults_are_told_in_words(chains, fault):
    chip = chip_of("chimera", 1)
    faults = Placement((chains,)).faults(TRIANGLE, chip)
    assert fault in faults if fault else faults == []
    if fault:
        with pytest.raises(PlacementError, match=fault):
            place(TRIANGLE, chip, embedding=dict(enumerate(chains)))


@pytest.mark.parametrize(
    ("graph", "settings", "message"),
    [
        (CouplingGraph.complete(40), {"method": "clique"}, "largest complete graph has 16 spins"),
        (CouplingGraph.complete(3), {"method": "native"}, "no place for 3 spins and 3 couplings"),
        (RING, {"method": "clique"}, "for complete graphs"),
        (TRIANGLE, {"method": "biclique"}, "complete bipartite"),
        (CouplingGraph.complete(10), {"copies": 9}, "copies of 10 spins were found.*not 9"),
        (TRIANGLE, {"embedding": {0: 0, 1: 4}}, "no chain for spin 2"),
    ],
)
def test_what_does_not_fit_is_told(graph, settings, message):
    with pytest.raises(PlacementError, match=message):
        place(graph, chip_of("chimera", 4), timeout=2, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "best"}, "no method 'best'"),
        ({"method": "given"}, "embedding"),
        ({"copies": 0}, "copies is 0"),
        ({"embedding": {}, "copies": 2}, "one copy, not 2"),
    ],
)
def test_wrong_requests_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        place(TRIANGLE, chip_of("chimera", 1), **settings)


@pytest.mark.parametrize(
    ("chains", "message"),
    [((), "one or more copies"), ((((0,), ()),), "has no qubit"), ((((0,), (0,)),), "is taken")],
)
def test_what_is_no_placement_is_refused(chains, message):
    with pytest.raises(ValueError, match=message):
        Placement(chains)


def test_the_state_loads_with_weights_only(chip):
    placement = place(CouplingGraph.complete(6), chip, copies=2)
    file = io.BytesIO()
    torch.save(placement.state(), file)
    file.seek(0)
    assert Placement.from_state(torch.load(file, weights_only=True)) == placement


def test_a_layout_says_what_each_coupler_is_for(chip):
    graph = CouplingGraph(5, [(3, 0), (1, 2), (4, 1), (0, 4), (2, 3), (0, 2), (1, 3)])
    placement = place(graph, chip, "general", copies=3)
    layout = placement.arrays(graph, chip)
    owner = {q: (k, i) for k, c in enumerate(placement.chains) for i, s in enumerate(c) for q in s}
    expected = {}
    for a, b in chip.couplers.tolist():
        (k, i), (other, j) = owner.get(a, (-1, 0)), owner.get(b, (-2, 0))
        edges = [e for e, ends in enumerate(graph.edges.tolist()) if set(ends) == {i, j}]
        if k == other and (i == j or edges):
            expected[a, b] = -1 if i == j else k * graph.num_edges + edges[0]
    pairs = map(tuple, layout.qubits[layout.couplers].tolist())
    assert dict(zip(pairs, layout.coupling_of.tolist())) == expected
    assert [divmod(i, 5) for i in layout.spin_of.tolist()] == [owner[q] for q in placement.qubits]
    assert layout.chain_length.tolist() == [n for c in placement.chain_lengths for n in c]
    counts = [list(expected.values()).count(e) for e in range(3 * graph.num_edges)]
    assert layout.multiplicity.tolist() == counts and min(counts) > 0


def test_a_layout_of_uncoupled_spins_has_no_couplers():
    layout = Placement((((0,), (4,)),)).arrays(CouplingGraph(2, []), chip_of("chimera", 1))
    assert len(layout.couplers) == len(layout.multiplicity) == 0


def test_an_invalid_placement_has_no_layout():
    with pytest.raises(PlacementError, match="qubit 99 of spin 1 is missing"):
        Placement((((0,), (99,)),)).arrays(CouplingGraph(2, []), chip_of("chimera", 1))


def test_sixty_spins_grow_to_the_size_of_the_source():
    graph, chip = CouplingGraph.complete(60), chip_of("chimera", 16, missing=10)
    small = place(graph, chip)
    large = grow(small, chip, graph, max_qubits=1644)
    assert is_valid(large, graph, chip)
    assert len(large.qubits) == 1644
    assert max(large.chain_lengths[0]) - min(large.chain_lengths[0]) <= 12
    before, after = (p.arrays(graph, chip).multiplicity.sum() for p in (small, large))
    assert after > 1.3 * before


def test_growth_fills_the_chip_and_leaves_other_copies_alone(chip):
    placement = place(RING, chip, copies=2)
    grown = grow(placement, chip, RING)
    assert is_valid(grown, RING, chip)
    assert grown.chains[1] == placement.chains[1]
    assert len(grown.qubits) > 0.9 * chip.num_qubits
