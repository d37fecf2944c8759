r"""What is programmed on a chip and how it is read, against the enumerated model."""

import math

import pytest
import torch
from models import F64, law, p_value, random_ising, seeded

from qahm_torch import CouplingGraph, Ising, SimulatedAnnealer
from qahm_torch.annealer import PlacementSettings, ProgramSettings, place
from qahm_torch.annealer.program import draw_gauges, program as programs
from qahm_torch.annealer.run import decode
from qahm_torch.device import Chip, RangeError
from qahm_torch.ising import all_states

BETA = 2.5
CHIP = Chip.of(SimulatedAnnealer("chimera", 3, seed=0))
K6 = CouplingGraph.complete(6)


def chip_of(**ranges):
    r"""Returns the chip with no limits but these."""
    limits = {"h_range": None, "extended_j_range": None, "per_qubit_coupling_range": None}
    values = {k: v for k, v in vars(CHIP).items() if not k.startswith("_")}
    return Chip(**{**values, **limits, **ranges})


def placed_of(graph=K6, copies=1):
    return place(graph, CHIP, PlacementSettings(copies=copies)).tensors(graph, CHIP)


def program(ising, placed, chip, *, beta, gauge=None, **settings):
    r"""Returns the program of one gauge, without the dimension of gauges."""
    gauges, settings = None if gauge is None else gauge[None], ProgramSettings(**settings)
    made = programs(ising, placed, chip, beta=beta, gauges=gauges, settings=settings)
    return made._replace(h=made.h[0], J=made.J[0], gauges=made.gauges[0])


def draw_gauge(placed, generator=None):
    return draw_gauges(placed, 1, generator)[0]


def physical_energy(made, placed, qubits):
    a, b = placed.couplers.unbind(-1)
    return qubits @ made.h + (qubits[:, a] * qubits[:, b]) @ made.J


def copied(placed, spins, gauge):
    r"""Returns the qubits that stand for the spins of all copies, without broken strands."""
    return (spins * gauge)[:, placed.spin_of]


def inside_energy(made, placed):
    return -made.chain_strength * int((placed.coupling_of < 0).sum())


def decoded(placed, qubits, made, breaks="majority", num_spins=6):
    return decode(qubits, placed.strands, made.gauges, num_spins, breaks, seeded())


# Energies


@pytest.mark.parametrize("gauged", [False, True])
@pytest.mark.parametrize("graph", [K6, CouplingGraph.bipartite(3, 3), CouplingGraph(5, [(0, 3)])])
def test_physical_energies_are_those_of_the_model_over_beta(graph, gauged):
    ising, placed = random_ising(graph), placed_of(graph)
    gauge = draw_gauge(placed, seeded()) if gauged else None
    made = program(ising, placed, chip_of(), beta=BETA, gauge=gauge)
    states = all_states(graph.num_spins)
    energies = physical_energy(made, placed, copied(placed, states, made.gauges))
    expected = ising.energy(states) / BETA + inside_energy(made, placed)
    torch.testing.assert_close(energies, expected)


def test_a_gauge_that_is_not_programmed_has_other_energies():
    # The twin: with signs forgotten in the program, the energies would not be those of the model.
    ising, placed = random_ising(K6), placed_of()
    made = program(ising, placed, chip_of(), beta=BETA)
    gauge = draw_gauge(placed, seeded())
    energies = physical_energy(made, placed, copied(placed, all_states(6), gauge))
    expected = ising.energy(all_states(6)) / BETA + inside_energy(made, placed)
    assert (energies - expected).abs().max() > 0.1


def test_copies_add_up_their_energies():
    ising, placed = random_ising(K6), placed_of(copies=3)
    gauge = draw_gauge(placed, seeded())
    made = program(ising, placed, chip_of(), beta=BETA, gauge=gauge)
    spins = all_states(6)[torch.randint(64, (50, 3), generator=seeded())]
    energies = physical_energy(made, placed, copied(placed, spins.flatten(1), gauge))
    expected = ising.energy(spins).sum(-1) / BETA + inside_energy(made, placed)
    torch.testing.assert_close(energies, expected)


def test_parallel_couplers_share_a_coupling_and_qubits_a_field():
    graph = CouplingGraph.complete(2)
    strands = {0: [0, 4], 1: [1, 5]}  # in a cell, 0-5 and 1-4 join them
    placed = place(graph, CHIP, PlacementSettings(embedding=strands)).tensors(graph, CHIP)
    ising = Ising(graph, torch.tensor([0.5, -1.0]), torch.tensor([0.75]))
    made = program(ising, placed, chip_of(), beta=1.0)
    assert placed.multiplicity.tolist() == [2]
    assert made.h.tolist() == [0.25, -0.5, 0.25, -0.5]  # in the order of the qubits
    assert sorted(made.J.tolist()) == [-4.0, -4.0, 0.375, 0.375]


def test_the_law_of_unbroken_strands_is_that_of_the_model():
    ising, placed = random_ising(K6), placed_of()
    made = program(ising, placed, chip_of(), beta=BETA)
    states = copied(placed, all_states(6), made.gauges)
    physical = torch.softmax(-BETA * physical_energy(made, placed, states), 0)
    torch.testing.assert_close(physical, law(ising))


def test_a_gauge_does_not_turn_couplings_into_what_a_chip_cannot():
    # Down to -2 and up to 1: a row of spins that are strongly coupled keeps one sign.
    graph = CouplingGraph(5, [(i, i + 1) for i in range(4)])
    placed = place(graph, CHIP, PlacementSettings(copies=3)).tensors(graph, CHIP)
    J = torch.tensor([-1.8, -1.9, 0.3, -0.9], dtype=F64)
    ising = Ising(graph, torch.zeros(5, dtype=F64), J)
    signs = set()
    for seed in range(30):
        gauge = draw_gauge(placed, seeded(seed))
        made = program(ising, placed, CHIP, beta=1.0, gauge=gauge)
        assert made.num_clipped == 0
        rows, asked = made.gauges.view(3, 5), gauge.view(3, 5)
        assert torch.equal(rows[:, [0, 3, 4]], asked[:, [0, 3, 4]])
        assert (rows[:, :3] == rows[:, :1]).all()
        signs.update(map(tuple, rows.tolist()))
        spins = all_states(5).repeat(1, 3)
        energies = physical_energy(made, placed, copied(placed, spins, made.gauges))
        torch.testing.assert_close(energies, 3 * ising.energy(all_states(5)))
    assert len(signs) == 8


# Chain strength


def test_chain_strength_is_in_units_of_the_model():
    ising, placed = random_ising(K6), placed_of()
    for beta in (1.0, BETA):
        made = program(ising, placed, chip_of(), beta=beta, chain_strength=3.0)
        inside = made.J[placed.coupling_of < 0]
        assert made.chain_strength == pytest.approx(3 / beta)
        assert torch.allclose(inside, torch.tensor(-3 / beta, dtype=F64))


def test_strong_models_get_stronger_strands():
    placed = placed_of()
    strengths = [
        program(random_ising(K6, scale), placed, chip_of(), beta=1.0).chain_strength
        for scale in (0.1, 1.0, 5.0)
    ]
    assert strengths[0] == strengths[1] == 4.0 < strengths[2]
    root = random_ising(K6, 5.0).J.square().mean().sqrt()
    assert strengths[2] == pytest.approx(float(2**0.5 * root * 5**0.5))


@pytest.mark.parametrize("requested", [9.0, math.inf])
def test_strands_are_no_stronger_than_the_chip_can(requested):
    made = program(random_ising(K6, 0.1), placed_of(), CHIP, beta=1.0, chain_strength=requested)
    assert made.chain_strength == 2.0 and made.scale == 1 and made.num_clipped == 0


def test_without_strands_there_is_no_chain_strength():
    graph = CouplingGraph(3, [])
    made = program(random_ising(graph), placed_of(graph), CHIP, beta=1.0)
    assert made.chain_strength == 0 and len(made.J) == 0


# Ranges


def fields(strength):
    return Ising(K6, torch.full((6,), strength, dtype=F64), torch.zeros(15, dtype=F64))


def couplings(strength):
    return Ising(K6, torch.zeros(6, dtype=F64), torch.full((15,), strength, dtype=F64))


LIMITS = {
    "the field": (fields(9.0), {"h_range": (-2.0, 2.0)}),
    "the coupling": (couplings(3.0), {"extended_j_range": (-2.0, 1.0)}),
    "the sum of couplings": (couplings(-6.0), {"per_qubit_coupling_range": (-9.0, 6.0)}),
}


def values_of(kind, made, placed):
    if kind == "the field":
        return made.h
    if kind == "the coupling":
        return made.J
    sums = torch.zeros(len(placed.qubits), dtype=F64)
    for end in placed.couplers.unbind(-1):
        sums.index_add_(0, end, made.J)
    return sums


def limited(kind, policy):
    ising, ranges = LIMITS[kind]
    placed = placed_of()
    made = program(ising, placed, chip_of(**ranges), beta=1.0, range_policy=policy)
    (low, high), values = *ranges.values(), values_of(kind, made, placed)
    free = program(ising, placed, chip_of(**_strands_only(ranges)), beta=1.0)
    return made, free, values, low, high


def _strands_only(ranges):
    r"""The couplings inside strands are made to fit before any policy; keep that range only."""
    if "extended_j_range" not in ranges:
        return {}
    return {"extended_j_range": (ranges["extended_j_range"][0], math.inf)}


@pytest.mark.parametrize("kind", LIMITS)
def test_out_of_range_is_an_error_that_names_the_value(kind):
    ising, ranges = LIMITS[kind]
    with pytest.raises(RangeError, match=f"{kind}.* is beyond .*times too strong"):
        program(ising, placed_of(), chip_of(**ranges), beta=1.0)
    program(ising, placed_of(), chip_of(), beta=1.0)


@pytest.mark.parametrize("kind", LIMITS)
def test_clipped_values_are_within_range_and_counted(kind):
    made, free, values, low, high = limited(kind, "clip")
    assert made.scale == 1 and made.num_clipped > 0
    assert low - 1e-9 <= values.min() and values.max() <= high + 1e-9
    changed = (made.h != free.h).sum() + (made.J != free.J).sum()
    if kind == "the sum of couplings":
        assert changed > 0
    else:
        assert made.num_clipped == changed


@pytest.mark.parametrize("kind", LIMITS)
def test_rescaled_problems_keep_their_ratios_and_just_fit(kind):
    made, free, values, low, high = limited(kind, "rescale")
    assert made.scale < 1 and made.num_clipped == 0
    torch.testing.assert_close(made.h, free.h * made.scale)
    torch.testing.assert_close(made.J, free.J * made.scale)
    assert made.chain_strength == pytest.approx(free.chain_strength * made.scale)
    worst = torch.where(values < 0, values / low, values / high).max()
    assert float(worst) == pytest.approx(1.0)


@pytest.mark.parametrize("policy", ["clip", "rescale"])
def test_a_device_that_is_exact_takes_what_has_been_made_to_fit(policy):
    # Sums are off by their rounding after a division, and what one end of a coupling shrinks may
    # have balanced the sum at the other.
    device = SimulatedAnnealer("zephyr", 1, beta=1.0, num_sweeps=1, seed=0)
    chip = Chip.of(device)
    graph = chip.coupling_graph()
    placed = place(graph, chip, PlacementSettings("native")).tensors(graph, chip)
    for seed in range(10):
        ising = random_ising(graph, 20.0, seed)
        made = program(ising, placed, chip, beta=1.0, range_policy=policy)
        h = dict(zip(placed.qubits.tolist(), made.h.tolist(), strict=True))
        pairs = map(tuple, placed.qubits[placed.couplers].tolist())
        J = dict(zip(pairs, made.J.tolist(), strict=True))
        assert len(device.sample_ising(h, J, auto_scale=False).record) == 1


def test_rounding_is_no_reason_to_refuse_a_model():
    graph = CouplingGraph(6, [])
    ising = Ising(graph, torch.full((6,), 2 * (1 + 1e-7), dtype=F64), torch.zeros(0, dtype=F64))
    made = program(ising, placed_of(graph), CHIP, beta=1.0)
    assert (made.h == 2.0).all() and made.num_clipped == 0 and made.scale == 1


@pytest.mark.parametrize("policy", ["error", "clip", "rescale"])
def test_what_fits_is_left_alone_by_every_policy(policy):
    placed = placed_of()
    free = program(random_ising(K6, 0.1), placed, chip_of(), beta=BETA)
    made = program(random_ising(K6, 0.1), placed, CHIP, beta=BETA, range_policy=policy)
    assert torch.equal(made.h, free.h) and torch.equal(made.J, free.J)
    assert made.scale == 1 and made.num_clipped == 0


# Decoding


@pytest.mark.parametrize("copies", [1, 3])
def test_decoding_undoes_gauge_strands_and_copies(copies):
    placed = placed_of(copies=copies)
    made = program(random_ising(K6), placed, chip_of(), beta=BETA, gauge=draw_gauge(placed))
    spins = all_states(6)[torch.randint(64, (40, copies), generator=seeded())]
    result = decoded(placed, copied(placed, spins.flatten(1), made.gauges), made)
    assert torch.equal(result.spins.double(), spins.reshape(-1, 6))
    assert result.num_broken.tolist() == [0] * 6


def test_forgetting_the_gauge_flips_spins():
    # The twin of the test above.
    placed = placed_of()
    gauge = -torch.ones(6, dtype=F64)
    made = program(random_ising(K6), placed, chip_of(), beta=BETA, gauge=gauge)
    qubits = copied(placed, all_states(6), gauge)
    assert torch.equal(decoded(placed, qubits, made).spins.double(), all_states(6))
    forgotten = made._replace(gauges=-gauge)
    assert torch.equal(decoded(placed, qubits, forgotten).spins.double(), -all_states(6))


def strand_of(length):
    r"""Returns the placed of one spin on a path of qubits, and its program."""
    graph = CouplingGraph(1, [])
    path = [0, 4, 1, 5, 2, 6][:length]
    placed = place(graph, CHIP, PlacementSettings("given", {0: path})).tensors(graph, CHIP)
    return placed, program(random_ising(graph), placed, chip_of(), beta=1.0)


def test_the_majority_of_a_strand_decides():
    placed, made = strand_of(3)
    result = decoded(placed, all_states(3), made, num_spins=1)
    assert torch.equal(result.spins[:, 0].double(), all_states(3).sum(-1).sign())
    assert result.num_broken.tolist() == [6]


def test_a_tie_is_decided_by_a_fair_coin():
    placed, made = strand_of(2)
    tied = torch.tensor([[1, -1], [-1, 1]]).repeat(4000, 1)
    spins = decoded(placed, tied, made, num_spins=1).spins
    assert set(spins.flatten().tolist()) == {-1, 1}
    assert p_value(spins.double(), torch.tensor([0.5, 0.5], dtype=F64)) > 1e-3
    for first in (0, 1):  # whichever qubit is up
        assert p_value(spins[first::2].double(), torch.tensor([0.5, 0.5], dtype=F64)) > 1e-3


def test_rows_with_a_broken_strand_are_discarded_on_request():
    placed = placed_of()
    made = program(random_ising(K6), placed, chip_of(), beta=BETA, gauge=draw_gauge(placed))
    qubits = copied(placed, all_states(6), made.gauges)
    qubits[10, 0] *= -1
    qubits[20, -1] *= -1
    whole = [row for row in range(64) if row not in (10, 20)]
    result = decoded(placed, qubits, made, "discard")
    assert torch.equal(result.spins.double(), all_states(6)[whole])
    assert int(result.num_broken.sum()) == 2
    assert len(decoded(placed, qubits, made).spins) == 64


def test_one_copy_is_discarded_and_the_others_stay():
    placed = placed_of(copies=2)
    made = program(random_ising(K6), placed, chip_of(), beta=BETA)
    qubits = copied(placed, torch.ones(5, 12, dtype=F64), made.gauges)
    qubits[3, placed.spin_of == 6] = -1.0  # a whole strand of the second copy is no break
    qubits[3, (placed.spin_of == 7).nonzero()[0]] = -1.0
    result = decoded(placed, qubits, made, "discard")
    assert len(result.spins) == 9 and int(result.num_broken[1]) == 1


def test_gauges_are_signs_of_every_spin_of_every_copy():
    placed = placed_of(copies=3)
    gauge = draw_gauge(placed, seeded())
    assert gauge.shape == (18,) and set(gauge.tolist()) == {-1.0, 1.0}
    assert torch.equal(gauge, draw_gauge(placed, seeded()))
    draws = torch.stack([draw_gauge(placed, seeded(k)) for k in range(400)])
    assert draws.mean(0).abs().max() < 5 / 20


@pytest.mark.parametrize("kind", LIMITS)
def test_gauges_of_a_call_have_one_scale(kind):
    ising, ranges = LIMITS[kind]
    placed, chip, settings = placed_of(), chip_of(**ranges), ProgramSettings("rescale")
    gauges = draw_gauges(placed, 16, seeded())
    made = programs(ising, placed, chip, beta=1.0, gauges=gauges, settings=settings)
    alone = [
        programs(ising, placed, chip, beta=1.0, gauges=gauge[None], settings=settings)
        for gauge in gauges
    ]
    assert made.scale == min(one.scale for one in alone)
    for k, one in enumerate(alone):
        torch.testing.assert_close(made.h[k] / made.scale, one.h[0] / one.scale)
        torch.testing.assert_close(made.J[k] / made.scale, one.J[0] / one.scale)


def test_clipping_counts_all_gauges():
    ising, ranges = LIMITS["the field"]
    placed, settings = placed_of(), ProgramSettings("clip")
    gauges = draw_gauges(placed, 3, seeded())
    made = programs(ising, placed, chip_of(**ranges), beta=1.0, gauges=gauges, settings=settings)
    assert made.num_clipped == 3 * len(placed.qubits)


def test_the_strongest_that_a_chip_without_ranges_takes_is_a_choice():
    ising, placed = random_ising(K6, 5.0), placed_of()
    made, chosen = (
        program(ising, placed, chip_of(), beta=2.0, chain_strength=strength)
        for strength in (math.inf, None)
    )
    assert torch.equal(made.J, chosen.J) and made.J.isfinite().all()
