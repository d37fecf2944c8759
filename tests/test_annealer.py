r"""The annealer as a sampler, on a simulated device."""

import copy
import os
import pickle
import threading

import dimod
import pytest
import torch
from jsonargparse import ArgumentParser
from models import F64, SMALL_MODELS, law, p_value, random_ising, seeded

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    AnnealerWarning,
    AnnealSettings,
    CouplingGraph,
    Fallback,
    GibbsSampler,
    Ising,
    PlacementSettings,
    ProgramSettings,
    QuantumPriorLayer,
    ReplaySampler,
    RetryPolicy,
    Sampler,
    SimulatedAnnealer,
    Swept,
    TrackingSettings,
)
from qahm_torch.device import ArchiveError, BudgetError, DeadlineError, PlacementError, RangeError
from qahm_torch.ising import Chains, all_states
from qahm_torch.testing import CHECKS, Subject, small_models

SPEC = {
    "class_path": "qahm_torch.SimulatedAnnealer",
    "init_args": {"topology": "zephyr", "shape": 2, "beta": 2.0, "seed": 0},
}


def device(**settings):
    settings = {"topology": "zephyr", "shape": 2, "beta": 2.0, "seed": 0, **settings}
    return SimulatedAnnealer(**settings)


def programmed(**settings):
    return {"programming": ProgramSettings(**settings)}


STRONG = programmed(chain_strength=6.0)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_law_is_the_oracles_at_a_temperature_that_nobody_told(name):
    ising = SMALL_MODELS[name]()
    sampler = AnnealerSampler(device(), **programmed(num_gauges=2, chain_strength=6.0))
    sampler.sample(ising, 8000, generator=seeded())
    spins = sampler.sample(ising, 8000, generator=seeded(1)).spins
    assert p_value(spins, law(ising)) > 1e-3


@pytest.mark.parametrize("beta", [0.8 * 2.0, 1.2 * 2.0])
def test_twin_at_a_fixed_wrong_temperature_fails(beta):
    ising = SMALL_MODELS["complete"]()
    sampler = AnnealerSampler(device(), beta=beta, **STRONG)
    spins = sampler.sample(ising, 8000, generator=seeded()).spins
    assert p_value(spins, law(ising)) < 1e-3


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0, 6.0])
def test_beta_is_found_within_two_percent(beta):
    chip = device(beta=beta)
    graph = CouplingGraph.from_networkx(chip.to_networkx_graph())
    ising = random_ising(graph, 0.2, seed=3)
    sampler = AnnealerSampler(chip, **programmed(range_policy="rescale"))
    for k in range(4):
        samples = sampler.sample(ising, 1000, generator=seeded(k))
    found = sampler.site(graph).tracker.beta
    assert abs(found.value / beta - 1) < 0.02
    assert found.stderr < 0.01 * beta
    assert samples.info["thermal_misfit"] < 0.1


def test_two_scales_agree_with_the_tracked_temperature():
    ising = random_ising(CouplingGraph.complete(8), 0.2)
    sampler = AnnealerSampler(device(), beta=2.0)
    value, stderr = sampler.measure_beta(ising, 4000, scale=0.6, generator=seeded())
    assert abs(value - 2.0) < 4 * stderr and stderr < 0.2


def test_beta_follows_a_drift():
    chip = device(beta_drift=0.03)
    ising = random_ising(CouplingGraph.complete(8), 0.3)
    sampler = AnnealerSampler(chip, tracking=TrackingSettings(drift=0.03))
    errors = []
    for k in range(40):
        used = sampler.sample(ising, 500, generator=seeded(k)).info["beta"]
        errors.append(used / chip.effective_beta - 1)
    assert float(torch.tensor(errors[3:]).square().mean().sqrt()) < 0.08
    assert abs(chip.effective_beta / 2.0 - 1) > 0.05  # the twin: a constant would be off


def test_a_free_model_needs_no_temperature():
    graph = CouplingGraph.complete(3)
    sampler = AnnealerSampler(device())
    samples = sampler.sample(Ising(graph, torch.zeros(3), torch.zeros(3)), 400)
    assert samples.spins.mean(0).abs().max() < 0.3
    assert not sampler.site(graph).tracker.is_calibrated


def test_info_says_what_was_done():
    samples = AnnealerSampler(device()).sample(random_ising(CouplingGraph.complete(6)), 50)
    info = samples.info
    assert info["backend"].startswith("simulated") and info["num_copies"] == 1
    assert info["beta"] == pytest.approx(2.0, rel=0.3) and 0 < info["beta_stderr"] < 1
    assert info["clipped"] == 0 and info["scale"] == 1
    assert 0 <= info["chain_break_fraction"] < 0.1 and info["qpu_access_time"] > 0


# Ranges


def strong():
    return random_ising(CouplingGraph.complete(4), 20.0)


def test_out_of_range_is_an_error_that_says_by_how_much():
    sampler = AnnealerSampler(device(), beta=2.0)
    with pytest.raises(RangeError, match=r"is beyond \[.*\] on .* times too strong"):
        sampler.sample(strong(), 10)
    assert sampler.account.num_problems == 0


@pytest.mark.filterwarnings("ignore::qahm_torch.AnnealerWarning")
def test_clipping_is_counted_and_rescaling_is_told():
    clipping = AnnealerSampler(device(), beta=2.0, **programmed(range_policy="clip"))
    clipped = clipping.sample(strong(), 10)
    assert clipped.info["clipped"] > 0 and clipped.info["scale"] == 1
    rescaling = AnnealerSampler(device(), beta=2.0, **programmed(range_policy="rescale"))
    rescaled = rescaling.sample(strong(), 10)
    assert rescaled.info["scale"] < 1 and rescaled.info["clipped"] == 0


def test_several_gauges_measure_the_temperature_that_there_is():
    # A coupling of 1.5 is out of range where a gauge leaves it positive, as they reach to -2 to 1.
    graph = CouplingGraph(6, [(i, i + 1) for i in range(5)])
    h = torch.linspace(-0.4, 0.4, 6, dtype=F64)
    ising = Ising(graph, h, torch.tensor([0.3, -0.4, 1.5, -0.2, 0.4], dtype=F64))
    for seed in range(4):
        sampler = AnnealerSampler(
            device(beta=1.0), beta=1.0, **programmed(range_policy="rescale", num_gauges=2)
        )
        info = sampler.sample(ising, 20_000, generator=seeded(seed)).info
        assert info["scale"] == pytest.approx(1 / 1.5) or info["scale"] == 1
        assert abs(info["beta_measured"] - 1) < 4 * info["beta_measured_stderr"] < 0.08


@pytest.mark.filterwarnings("ignore::qahm_torch.AnnealerWarning")
def test_a_gauge_that_clips_says_nothing_of_the_temperature():
    graph = CouplingGraph(4, [(0, 1), (1, 2), (2, 3)])
    ising = Ising(graph, torch.full((4,), 0.3), torch.tensor([0.2, 3.0, 0.2]))
    sampler = AnnealerSampler(device(), **programmed(range_policy="clip", num_gauges=8))
    sampler.sample(ising, 4000, generator=seeded())
    found = sampler.site(graph).tracker.beta
    assert found.value == pytest.approx(2.0, rel=0.1)  # as it was calibrated, rescaled
    sampler.sample(ising, 4000, generator=seeded())
    assert sampler.site(graph).tracker.beta == found


# Strands, copies, gauges, clamping


def test_broken_strands_are_voted_on_or_discarded():
    ising = random_ising(CouplingGraph.complete(8), 0.3)
    weak = AnnealerSampler(device(), beta=2.0, **programmed(chain_strength=0.7))
    voted = weak.sample(ising, 500)
    assert voted.info["chain_break_fraction"] > 0.05 and len(voted.spins) == 500
    weak.programming = ProgramSettings(chain_strength=0.7, chain_breaks="discard")
    whole = weak.sample(ising, 500)
    assert 0 < len(whole.spins) == len(whole.state) < 500
    weak.programming = ProgramSettings(chain_strength=1e-3, chain_breaks="discard")
    with pytest.raises(AnnealerError, match="greater chain_strength"):
        weak.sample(random_ising(CouplingGraph.complete(16), 0.01), 5)


def test_rows_that_are_held_one_by_one_are_not_discarded():
    ising = random_ising(CouplingGraph.complete(8), 0.3)
    settings = programmed(chain_strength=0.7, chain_breaks="discard")
    sampler = AnnealerSampler(device(), beta=2.0, **settings)
    row = torch.tensor([1.0, -1.0, 0, 0, 0, 0, 0, 0])
    # Of samples that are all alike, some can be missing; of rows that differ, none.
    assert 0 < len(sampler.sample(ising, 200, clamp=row).spins) < 200
    rows = torch.stack([row, -row]).repeat(100, 1)
    with pytest.raises(ValueError, match="chain_breaks is 'discard' and clamp has 200 rows"):
        sampler.sample(ising, 200, clamp=rows)
    assert sampler.account.num_problems == 1
    voting = AnnealerSampler(device(), beta=2.0, **programmed(chain_strength=0.7))
    samples = voting.sample(ising, 200, clamp=rows)
    assert samples.info["chain_break_fraction"] > 0.05
    assert torch.equal(samples.spins[:, :2], rows[:, :2].double())


def test_several_copies_per_programming_are_as_many_samples():
    ising = SMALL_MODELS["complete"]()
    chip = device()
    one = AnnealerSampler(chip, beta=2.0, **STRONG)
    many = AnnealerSampler(chip, beta=2.0, placement=PlacementSettings(copies=5), **STRONG)
    samples = many.sample(ising, 8001, generator=seeded())
    assert samples.info["num_copies"] == 5 and len(samples.spins) == 8001
    assert p_value(samples.spins, law(ising)) > 1e-3
    one.sample(ising, 8001)
    assert many.account.num_reads == 1601 and many.account.spent < one.account.spent


def test_gauges_average_out_a_readout_that_prefers_one_value():
    class Biased(SimulatedAnnealer):
        def sample(self, bqm, **keywords):
            biased = bqm.copy()
            for qubit in bqm.variables:
                biased.add_linear(qubit, 0.05)  # a field that nobody programmed
            answer = super().sample(biased, **keywords)
            rows = (answer.record.sample, answer.variables)
            return dimod.SampleSet.from_samples_bqm(rows, bqm)

    chip = Biased("zephyr", 2, beta=2.0, seed=1)
    chip_graph = chip.to_networkx_graph()
    graph = CouplingGraph.from_networkx(chip_graph.subgraph(list(chip_graph.nodes)[:20]))
    ising = Ising(graph, torch.zeros(20), torch.full((graph.num_edges,), 0.01))
    means = {}
    for gauges in (0, 16):
        sampler = AnnealerSampler(chip, beta=2.0, **programmed(num_gauges=gauges))
        samples = sampler.sample(ising, 4000, generator=seeded())
        means[gauges] = float(samples.spins.mean())
    assert abs(means[0]) > 0.05 > abs(means[16])


def test_free_spins_follow_the_conditional_law():
    ising = SMALL_MODELS["complete"]()
    clamp = torch.tensor([0.0, 1.0, 0.0, -1.0, 0.0], dtype=F64)
    sampler = AnnealerSampler(device(), beta=2.0, **STRONG)
    spins = sampler.sample(ising, 8000, clamp=clamp, generator=seeded()).spins
    assert (spins[:, 1] == 1).all() and (spins[:, 3] == -1).all()
    states = all_states(5)
    fits = (states[:, 1] == 1) & (states[:, 3] == -1)
    conditional = law(ising)[fits] / law(ising)[fits].sum()
    assert p_value(spins[:, [0, 2, 4]], conditional) > 1e-3


def test_rows_are_clamped_one_by_one():
    rows = torch.tensor([[1.0, 0, 0, 0, 0], [0, -1.0, 1.0, 0, 0], [1.0, 1.0, 1.0, 1.0, -1.0]])
    clamp = rows.repeat(20, 1)
    ising = random_ising(CouplingGraph.complete(5), 0.4, dtype=torch.float32)
    spins = AnnealerSampler(device(), beta=2.0).sample(ising, 60, clamp=clamp).spins
    assert torch.equal(spins[clamp != 0], clamp[clamp != 0])


def test_sweeps_after_the_device_bring_wrong_samples_to_the_model():
    ising = SMALL_MODELS["complete"]()
    wrong = AnnealerSampler(device(), beta=20.0)  # programmed far too weakly
    assert p_value(wrong.sample(ising, 8000, generator=seeded()).spins, law(ising)) < 1e-3
    samples = Swept(wrong, num_sweeps=60).sample(ising, 8000, generator=seeded())
    assert p_value(samples.spins, law(ising)) > 1e-3


# Reverse anneals

REVERSE = AnnealSettings(anneal_schedule=[[0.0, 1.0], [5.0, 0.9], [10.0, 1.0]])


class Watched(SimulatedAnnealer):
    r"""Remembers where it was told to start."""

    def sample(self, bqm, **keywords):
        self.starts = [*getattr(self, "starts", []), keywords.get("initial_state")]
        return super().sample(bqm, **keywords)


def test_a_reverse_anneal_starts_from_the_state_that_it_is_given():
    chip = Watched("zephyr", 2, beta=2.0, seed=0)
    sampler = AnnealerSampler(chip, beta=2.0, anneal=REVERSE, **programmed(num_gauges=0))
    ising, other = (random_ising(CouplingGraph.complete(4), 0.3, seed=k) for k in (0, 1))
    first = sampler.sample(ising, 20)
    assert first.info["start"] == "fresh" and first.state.spins.dtype == torch.int8
    sampler.sample(other, 30)
    placed = sampler.site(ising.graph).placement
    qubits = [strand[0] for strand in placed.strands[0]]
    told = lambda: torch.tensor([chip.starts[-1][q] for q in qubits])
    for row in ([-1, -1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]):
        # Where the sampler was with another model since then is no matter of this one.
        state = Chains(torch.tensor([row], dtype=torch.int8).expand(20, -1))
        assert sampler.sample(ising, 20, state=state).info["start"] == "resumed"
        assert told().tolist() == row
    starts = []
    for k in range(12):
        assert sampler.sample(ising, 5, generator=seeded(k)).info["start"] == "fresh"
        starts.append(tuple(told().tolist()))
    assert len(set(starts)) > 3  # without a state, they are random


def test_a_forward_anneal_says_that_it_starts_fresh():
    ising = random_ising(CouplingGraph.complete(4))
    sampler = AnnealerSampler(device(), beta=2.0)
    first = sampler.sample(ising, 10)
    assert torch.equal(first.state.spins.double(), first.spins)
    assert sampler.sample(ising, 10, state=first.state).info["start"] == "fresh"


# Time


class Gated(SimulatedAnnealer):
    r"""Does not answer before the gate is opened."""

    gate = None

    def sample(self, bqm, **keywords):
        assert self.gate.wait(60)
        return super().sample(bqm, **keywords)


def gated():
    chip = Gated("zephyr", 2, beta=2.0, seed=0)
    chip.gate = threading.Event()
    return chip


def test_prefetch_leaves_the_caller_free_while_the_device_works():
    chip = gated()
    layer = QuantumPriorLayer(6, num_samples=50, sampler=AnnealerSampler(chip, beta=2.0))
    layer.prefetch()
    chip.gate.set()  # which could not be done in the time of a call
    (-layer(torch.ones(4, 6)).mean()).backward()
    assert layer.sampler.account.num_problems == 1


def test_budget_is_kept_and_estimated_before():
    ising = random_ising(CouplingGraph.complete(6))
    sampler = AnnealerSampler(device(), beta=2.0)
    estimate = sampler.estimate_time(ising.graph, 100)
    assert sampler.account.spent == 0
    sampler.sample(ising, 100)
    assert sampler.account.spent == pytest.approx(estimate, rel=0.05)
    sampler.account.budget = 1.5 * estimate
    with pytest.raises(BudgetError, match="larger `budget`"):
        sampler.sample(ising, 100)
    assert sampler.account.num_problems == 1


@pytest.mark.parametrize(
    "anneal",
    [
        {"programming_thermalization": 9000.0, "readout_thermalization": 400.0},
        {"anneal_schedule": [[0.0, 0.0], [300.0, 1.0]]},
        {"anneal_schedule": [[0.0, 1.0], [5.0, 0.5], [10.0, 1.0]], "reinitialize_state": False},
        {"anneal_schedule": [[0.0, 1.0], [5.0, 0.5], [10.0, 1.0]]},
    ],
)
def test_whatever_the_settings_cost_is_in_the_estimate(anneal):
    ising = random_ising(CouplingGraph.complete(4))
    chip = device(topology="chimera")  # the one of those whose reverse anneals take longer
    sampler = AnnealerSampler(chip, beta=2.0, anneal=AnnealSettings(**anneal))
    plain = AnnealerSampler(chip, beta=2.0).estimate_time(ising.graph, 1000)
    estimate = sampler.estimate_time(ising.graph, 1000)
    sampler.account.budget = 0.99 * estimate
    with pytest.raises(BudgetError):
        sampler.sample(ising, 1000)
    assert sampler.account.spent == 0
    sampler.account.budget = 1.01 * estimate
    sampler.sample(ising, 1000)
    assert sampler.account.spent == pytest.approx(estimate, rel=1e-6)
    assert estimate != pytest.approx(plain, rel=1e-6)


def test_another_sampler_stands_in_when_the_budget_is_spent():
    ising = random_ising(CouplingGraph.complete(6))
    sampler = AnnealerSampler(device(), beta=2.0)
    first = sampler.sample(ising, 100)
    sampler.account.budget = 1.5 * sampler.account.spent
    both = Fallback(sampler, GibbsSampler(5))
    with pytest.warns(UserWarning, match="GibbsSampler stands in: the next problem"):
        second = both.sample(ising, 100, state=first.state)
    assert second.info["fallback"].startswith("BudgetError") and second.info["start"] != "fresh"


def test_a_device_that_hangs_is_left_behind():
    chip = gated()
    sampler = AnnealerSampler(chip, beta=2.0, policy=RetryPolicy(timeout=0.2))
    with pytest.raises(DeadlineError, match="left to itself"):
        sampler.sample(random_ising(CouplingGraph.complete(4)), 10)
    assert sampler.account.spent > 0  # it may have run
    chip.gate.set()


class Unlimited(dimod.Sampler, dimod.Structured):
    r"""A cell of qubits without ranges, which samples the exact law at a beta of 1.5."""

    properties, parameters = {}, {"num_reads": []}
    nodelist, edgelist = list(range(8)), [(i, j) for i in range(4) for j in range(4, 8)]

    def sample(self, bqm, num_reads):
        states = all_states(len(bqm)).numpy()
        energies = torch.from_numpy(bqm.energies((states, list(bqm.variables))))
        rows = torch.softmax(-1.5 * energies, 0).multinomial(num_reads, True, generator=seeded())
        return dimod.SampleSet.from_samples_bqm((states[rows], list(bqm.variables)), bqm)


@pytest.mark.parametrize("graph", [CouplingGraph(2, []), CouplingGraph.complete(4)])
def test_a_device_without_ranges_is_calibrated(graph):
    ising = random_ising(graph, 0.4)
    info = AnnealerSampler(Unlimited()).sample(ising, 2000, generator=seeded()).info
    assert abs(info["beta"] - 1.5) < 4 * info["beta_stderr"] < 0.5
    assert 0 < info["chain_strength"] < 10 or graph.num_edges == 0


# What is kept


def test_state_keeps_placement_temperature_and_account():
    ising = random_ising(CouplingGraph.complete(10), 0.3)
    first = AnnealerSampler(SPEC)
    first.sample(ising, 200)
    state = first.state_dict()
    second = AnnealerSampler(SPEC)
    second.load_state_dict(pickle.loads(pickle.dumps(state)))
    assert second.site(ising.graph).placement == first.site(ising.graph).placement
    assert second.site(ising.graph).tracker.beta == first.site(ising.graph).tracker.beta
    assert second.account.spent == first.account.spent
    assert torch.save(state, "/dev/null") is None


def test_model_moves_around_a_qubit_that_broke_and_says_so():
    ising = random_ising(CouplingGraph.complete(10), 0.3)
    first = AnnealerSampler(SPEC)
    state_of = first.site(ising.graph).placement
    broken = state_of.qubits[0]
    second = AnnealerSampler(device(missing_qubits=[broken]))
    second.load_state_dict(first.state_dict())
    with pytest.warns(AnnealerWarning, match=f"placed anew .* {broken}"):
        moved = second.site(ising.graph).placement
    assert broken not in moved.qubits
    assert second.sample(ising, 20).spins.shape == (20, 10)


def test_copies_share_the_device_and_pickles_rebuild_it():
    sampler = AnnealerSampler(SPEC)
    ising = random_ising(CouplingGraph.complete(4))
    sampler.sample(ising, 10)
    assert copy.deepcopy(sampler) is sampler
    twin = pickle.loads(pickle.dumps(sampler))
    assert twin.account.spent == sampler.account.spent
    assert twin.sample(ising, 10).spins.shape == (10, 4)
    layer = copy.deepcopy(QuantumPriorLayer(4, sampler=sampler))
    assert layer.sampler is sampler


def test_archive_replays_what_was_answered(tmp_path):
    isings = [random_ising(CouplingGraph.complete(6), 0.3, seed=k) for k in range(3)]
    sampler = AnnealerSampler(device(), archive=tmp_path)
    spins = [sampler.sample(ising, 100).spins for ising in isings]
    replay, state = ReplaySampler(tmp_path), None
    assert len(replay) == 3
    for ising, expected in zip(isings, spins):
        samples = replay.sample(ising, 100, state=state)
        state = samples.state
        assert torch.equal(samples.spins, expected)
    with pytest.raises(ValueError, match="used up"):
        replay.sample(isings[0], 100, state=state)
    with pytest.raises(ValueError, match="another model"):
        replay.sample(isings[2], 100)
    loose = ReplaySampler(tmp_path, strict=False)
    assert loose.sample(isings[2], 150).spins.shape == (150, 6)
    with pytest.raises(ValueError, match="no answers"):
        ReplaySampler(tmp_path / "nothing")


def test_yaml_builds_it_without_opening_the_device():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler", type=Sampler)
    init_args = {
        "device": {"class_path": "dwave.system.DWaveSampler"},
        "beta": 3.0,
        "placement": {"method": "given", "embedding": {0: [4, 5], 1: [6]}},
        "programming": {"range_policy": "clip", "num_gauges": 0},
        "tracking": {"class_path": "qahm_torch.TrackingSettings", "init_args": {"drift": 0.1}},
        "budget": 60.0,
        "anneal": {"annealing_time": 50.0},
        "policy": {"timeout": 30.0},
    }
    config = parser.parse_object(
        {"sampler": {"class_path": "qahm_torch.AnnealerSampler", "init_args": init_args}}
    )
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    sampler = instantiate(config).sampler
    assert sampler.account.budget == 60.0 and sampler.anneal.annealing_time == 50.0
    assert sampler.policy.timeout == 30.0 and sampler.programming.num_gauges == 0
    assert sampler.tracking.drift == 0.1
    assert {int(k): list(v) for k, v in sampler.placement.embedding.items()} == {0: [4, 5], 1: [6]}


# The promise of all samplers


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_the_promise(check):
    settings = {"anneal": REVERSE} if check == "chains" else {}
    sampler = AnnealerSampler(
        SPEC, beta=2.0, tracking=TrackingSettings(drift=0.0), **STRONG, **settings
    )
    models = {k: v for k, v in small_models().items() if k in ("complete", "independent")}
    CHECKS[check](Subject(sampler, models, num_samples=10_000, max_error=0.06))


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    r"""An archive of three answers to one model."""
    folder, model = tmp_path_factory.mktemp("archive"), small_models()["complete"]
    sampler = AnnealerSampler(device(), beta=2.0, archive=folder, **STRONG)
    for seed in range(3):
        sampler.sample(model, 8000, generator=seeded(seed))
    return ReplaySampler(folder)


@pytest.mark.parametrize("check", sorted({*CHECKS} - {"seed"}))  # what is recorded has no seed
def test_a_replay_keeps_the_promise(check, replay):
    models = {"complete": small_models()["complete"]}
    CHECKS[check](Subject(replay, models, num_samples=8000, max_error=0.06))


# Errors


WRONG = [
    ({"device": GibbsSampler()}, TypeError, "device is GibbsSampler"),
    ({"device": {"name": "x"}}, ValueError, "keys name, but it is given as class_path"),
    ({"beta": 0}, ValueError, "beta is 0, but it is positive"),
    ({"beta": float("inf")}, ValueError, "beta is inf"),
    ({"budget": -1}, ValueError, "budget is -1"),
]


@pytest.mark.parametrize(("settings", "kind", "message"), WRONG)
def test_wrong_settings_are_named(settings, kind, message):
    settings = {"device": SPEC, **settings}
    with pytest.raises(kind, match=message):
        AnnealerSampler(settings.pop("device"), **settings)


def test_wrong_requests_are_named():
    sampler = AnnealerSampler(SPEC)
    with pytest.raises(ValueError, match="num_samples is 0"):
        sampler.sample(random_ising(CouplingGraph.complete(3)), 0)
    with pytest.raises(ValueError, match="gamma is not 0"):
        sampler.sample(random_ising(CouplingGraph.complete(3), gamma=1.0), 5)
    with pytest.raises(PlacementError, match="200"):
        sampler.sample(random_ising(CouplingGraph.complete(200), 0.01), 5)
    with pytest.raises(ValueError, match="that is no class"):
        AnnealerSampler({"class_path": "qahm_torch.Nothing"}).sample(strong(), 1)
    with pytest.raises(ValueError, match="1e\\+09 microseconds, but"):
        AnnealerSampler(SPEC, anneal=AnnealSettings(annealing_time=1e9)).sample(strong(), 1)


def test_what_a_device_raises_is_told_as_ours():
    class Broken(SimulatedAnnealer):
        def sample(self, bqm, **keywords):
            raise KeyError("no power")

    with pytest.raises(AnnealerError, match="failed: 'no power'"):
        AnnealerSampler(Broken("zephyr", 1)).sample(random_ising(CouplingGraph.complete(3)), 5)


# A disk that fails


def failing_disk(monkeypatch, after):
    r"""Lets so many writes pass, and then has no room."""
    write, left = os.write, [after]

    def attempt(descriptor, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", attempt)


def test_a_paid_answer_is_returned_though_the_disk_is_full(tmp_path, monkeypatch):
    settings = {"beta": 2.0, "archive": tmp_path, "programming": ProgramSettings(num_gauges=0)}
    sampler, ising = AnnealerSampler(device(), **settings), small_models()["complete"]
    with monkeypatch.context() as patch:
        failing_disk(patch, after=1)
        with pytest.warns(AnnealerWarning, match="could not be kept in .* No space left"):
            assert len(sampler.sample(ising, 20).spins) == 20
    with pytest.raises(ValueError, match="no answers"):
        ReplaySampler(tmp_path)
    sampler.sample(ising, 20)
    assert len(ReplaySampler(tmp_path)) == 2


def test_nothing_is_sent_where_the_archive_cannot_be_written(tmp_path, monkeypatch):
    sampler = AnnealerSampler(device(), beta=2.0, archive=tmp_path)
    failing_disk(monkeypatch, after=0)
    with pytest.raises(ArchiveError, match=f"{tmp_path} cannot be written .*nothing was sent"):
        sampler.sample(small_models()["complete"], 20)
    assert sampler.account.spent == 0 and sampler.account.num_problems == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"token": "SECRET"},
        {"options": {"headers": "X: SECRET"}},
        {"clients": [{"name": "a"}, {"token": "SECRET"}]},
        {"endpoints": ["https://user:SECRET@host/"]},
    ],
)
def test_credentials_are_refused_at_any_depth(arguments):
    spec = {"class_path": "dwave.system.DWaveSampler", "init_args": arguments}
    with pytest.raises(ValueError, match="credentials come only from") as caught:
        AnnealerSampler(spec)
    assert "SECRET" not in str(caught.value)
