r"""Placements: faults in words, tensors, what is held, growth."""

import io

import pytest
import torch
from chips import RING, SMALL, TRIANGLE, chip_of, is_valid
from models import F64, random_ising

from qahm_torch import CouplingGraph
from qahm_torch.annealer import Placement, PlacementSettings, place
from qahm_torch.annealer.placement import PlacedModel
from qahm_torch.device import PlacementError
from qahm_torch.ising import all_states


@pytest.fixture(params=SMALL)
def chip(request):
    return chip_of(request.param, *SMALL[request.param], missing=6)


@pytest.mark.parametrize(
    ("strands", "fault"),
    [
        (((0,), (4, 1), (99,)), "qubit 99 of spin 2 is missing"),
        (((0, 1), (4,), (5,)), "the strand of spin 0 is broken apart"),
        (((0,), (4, 1), (2, 6)), None),
        (((0,), (4,), (1,)), "there is no coupler between the strands of spins 0 and 2"),
    ],
)
def test_faults_are_told_in_words(strands, fault):
    chip = chip_of("chimera", 1)
    faults = Placement((strands,)).faults(TRIANGLE, chip)
    assert fault in faults if fault else faults == []
    if fault:
        with pytest.raises(PlacementError, match=fault):
            place(TRIANGLE, chip, PlacementSettings(embedding=dict(enumerate(strands))))


@pytest.mark.parametrize(
    ("strands", "message"),
    [((), "one or more copies"), ((((0,), ()),), "has no qubit"), ((((0,), (0,)),), "is taken")],
)
def test_what_is_no_placement_is_refused(strands, message):
    with pytest.raises(ValueError, match=message):
        Placement(strands)


def test_the_state_loads_with_weights_only(chip):
    placement = place(CouplingGraph.complete(6), chip, PlacementSettings(copies=2))
    file = io.BytesIO()
    torch.save(placement.state(), file)
    file.seek(0)
    assert Placement.from_state(torch.load(file, weights_only=True)) == placement


def test_tensors_say_what_each_coupler_is_for(chip):
    graph = CouplingGraph(5, [(3, 0), (1, 2), (4, 1), (0, 4), (2, 3), (0, 2), (1, 3)])
    placement = place(graph, chip, PlacementSettings("general", copies=3))
    placed = placement.tensors(graph, chip)
    owner = {
        q: (k, i) for k, c in enumerate(placement.strands) for i, s in enumerate(c) for q in s
    }
    expected = {}
    for a, b in chip.couplers.tolist():
        (k, i), (other, j) = owner.get(a, (-1, 0)), owner.get(b, (-2, 0))
        edges = [e for e, ends in enumerate(graph.edges.tolist()) if set(ends) == {i, j}]
        if k == other and (i == j or edges):
            expected[a, b] = -1 if i == j else k * graph.num_edges + edges[0]
    pairs = map(tuple, placed.qubits[placed.couplers].tolist())
    assert dict(zip(pairs, placed.coupling_of.tolist())) == expected
    assert [divmod(i, 5) for i in placed.spin_of.tolist()] == [owner[q] for q in placement.qubits]
    assert placed.sizes.tolist() == [n for c in placement.strand_lengths for n in c]
    counts = [list(expected.values()).count(e) for e in range(3 * graph.num_edges)]
    assert placed.multiplicity.tolist() == counts and min(counts) > 0


def test_tensors_of_uncoupled_spins_have_no_couplers():
    placed = Placement((((0,), (4,)),)).tensors(CouplingGraph(2, []), chip_of("chimera", 1))
    assert len(placed.couplers) == len(placed.multiplicity) == 0


def test_an_invalid_placement_has_no_tensors():
    with pytest.raises(PlacementError, match="qubit 99 of spin 1 is missing"):
        Placement((((0,), (99,)),)).tensors(CouplingGraph(2, []), chip_of("chimera", 1))


def test_sixty_spins_grow_to_the_size_of_the_source():
    graph, chip = CouplingGraph.complete(60), chip_of("chimera", 16, missing=10)
    small = place(graph, chip)
    large = small.grown(graph, chip, max_qubits=1644)
    assert is_valid(large, graph, chip)
    assert len(large.qubits) == 1644
    assert max(large.strand_lengths[0]) - min(large.strand_lengths[0]) <= 12
    before, after = (p.tensors(graph, chip).multiplicity.sum() for p in (small, large))
    assert after > 1.3 * before


def test_growth_fills_the_chip_and_leaves_other_copies_alone(chip):
    placement = place(RING, chip, PlacementSettings(copies=2))
    grown = placement.grown(RING, chip)
    assert is_valid(grown, RING, chip)
    assert grown.strands[1] == placement.strands[1]
    assert len(grown.qubits) > 0.9 * chip.num_qubits


def test_what_is_held_leaves_the_conditional_model_on_the_other_strands(chip):
    graph = CouplingGraph(5, [(3, 0), (1, 2), (4, 1), (0, 4), (2, 3), (0, 2), (1, 3)])
    ising, placement = random_ising(graph), place(graph, chip)
    rows = torch.tensor([[0, 1, 0, -1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.int8)
    parts = PlacedModel(graph, placement, chip).parts(ising, rows[[0, 1, 0, 2, 1]])
    assert sorted(part.rows.tolist() for part in parts) == [[0, 2], [1, 4]]
    (some,) = (part for part in parts if len(part.rows) and part.rows[0] == 0)
    assert some.free.tolist() == [0, 2, 4]
    states = all_states(3)
    full = rows[0].to(F64).repeat(8, 1)
    full[:, some.free] = states
    gaps = ising.energy(full) - some.ising.energy(states)
    torch.testing.assert_close(gaps, gaps[:1].expand(8))
    strands = [placement.strands[0][i] for i in some.free.tolist()]
    assert some.placed.qubits.tolist() == sorted(q for strand in strands for q in strand)
