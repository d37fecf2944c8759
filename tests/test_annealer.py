r"""The annealer as a sampler, on a simulated device."""

import copy
import pickle
import time
import warnings

import pytest
import torch
from dimod import SampleSet
from jsonargparse import ArgumentParser
from models import F64, SMALL_MODELS, law, random_ising, state_index
from scipy.stats import chi2

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    AnnealerWarning,
    AnnealSettings,
    CouplingGraph,
    GibbsSampler,
    Ising,
    QuantumPriorLayer,
    ReplaySampler,
    RetryPolicy,
    Sampler,
    SimulatedAnnealer,
)
from qahm_torch.device import BudgetError, DeadlineError, PlacementError, RangeError

SPEC = {
    "class_path": "qahm_torch.SimulatedAnnealer",
    "init_args": {"topology": "zephyr", "shape": 2, "beta": 2.0, "seed": 0},
}


def device(**settings):
    settings = {"topology": "zephyr", "shape": 2, "beta": 2.0, "seed": 0, **settings}
    return SimulatedAnnealer(**settings)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def p_value(spins, probabilities):
    counts = torch.bincount(state_index(spins), minlength=len(probabilities)).to(F64)
    expected = probabilities * len(spins)
    return chi2.sf(float(((counts - expected) ** 2 / expected).sum()), len(probabilities) - 1)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_law_is_the_oracles_at_a_temperature_that_nobody_told(name):
    ising = SMALL_MODELS[name]()
    sampler = AnnealerSampler(device(), num_gauges=2, chain_strength=6.0)
    sampler.sample(ising, 8000, generator=seeded())
    spins = sampler.sample(ising, 8000, generator=seeded(1)).spins
    assert p_value(spins, law(ising)) > 1e-3


@pytest.mark.parametrize("beta", [0.8 * 2.0, 1.2 * 2.0])
def test_twin_at_a_fixed_wrong_temperature_fails(beta):
    ising = SMALL_MODELS["complete"]()
    sampler = AnnealerSampler(device(), beta=beta, chain_strength=6.0)
    spins = sampler.sample(ising, 8000, generator=seeded()).spins
    assert p_value(spins, law(ising)) < 1e-3


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0, 6.0])
def test_beta_is_found_within_two_percent(beta):
    chip = device(beta=beta)
    graph = CouplingGraph.from_networkx(chip.to_networkx_graph())
    ising = random_ising(graph, 0.2, seed=3)
    sampler = AnnealerSampler(chip, range_policy="rescale")
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
    sampler = AnnealerSampler(chip, drift=0.03)
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
    assert sampler.ledger.num_problems == 0


@pytest.mark.filterwarnings("ignore::qahm_torch.AnnealerWarning")
def test_clipping_is_counted_and_rescaling_is_told():
    clipped = AnnealerSampler(device(), beta=2.0, range_policy="clip").sample(strong(), 10)
    assert clipped.info["clipped"] > 0 and clipped.info["scale"] == 1
    rescaled = AnnealerSampler(device(), beta=2.0, range_policy="rescale").sample(strong(), 10)
    assert rescaled.info["scale"] < 1 and rescaled.info["clipped"] == 0


# Chains, copies, gauges, clamping


def test_broken_chains_are_voted_on_or_discarded():
    ising = random_ising(CouplingGraph.complete(8), 0.3)
    weak = {"beta": 2.0, "chain_strength": 0.7}
    voted = AnnealerSampler(device(), **weak).sample(ising, 500)
    assert voted.info["chain_break_fraction"] > 0.05 and len(voted.spins) == 500
    whole = AnnealerSampler(device(), chain_breaks="discard", **weak).sample(ising, 500)
    assert 0 < len(whole.spins) < 500
    with pytest.raises(AnnealerError, match="greater chain_strength"):
        AnnealerSampler(device(), beta=2.0, chain_strength=1e-3, chain_breaks="discard").sample(
            random_ising(CouplingGraph.complete(16), 0.01), 5
        )


def test_several_copies_per_programming_are_as_many_samples():
    ising = SMALL_MODELS["complete"]()
    chip = device()
    one = AnnealerSampler(chip, beta=2.0, chain_strength=6.0)
    many = AnnealerSampler(chip, beta=2.0, chain_strength=6.0, copies=5)
    samples = many.sample(ising, 8001, generator=seeded())
    assert samples.info["num_copies"] == 5 and len(samples.spins) == 8001
    assert p_value(samples.spins, law(ising)) > 1e-3
    one.sample(ising, 8001)
    assert many.ledger.num_reads == 1601 and many.ledger.spent < one.ledger.spent


def test_gauges_average_out_a_readout_that_prefers_one_value():
    class Biased(SimulatedAnnealer):
        def sample(self, bqm, **keywords):
            biased = bqm.copy()
            for qubit in bqm.variables:
                biased.add_linear(qubit, 0.05)  # a field that nobody programmed
            answer = super().sample(biased, **keywords)
            rows = (answer.record.sample, answer.variables)
            return SampleSet.from_samples_bqm(rows, bqm)

    chip = Biased("zephyr", 2, beta=2.0, seed=1)
    chip_graph = chip.to_networkx_graph()
    graph = CouplingGraph.from_networkx(chip_graph.subgraph(list(chip_graph.nodes)[:20]))
    ising = Ising(graph, torch.zeros(20), torch.full((graph.num_edges,), 0.01))
    means = {}
    for gauges in (0, 16):
        sampler = AnnealerSampler(chip, beta=2.0, num_gauges=gauges)
        samples = sampler.sample(ising, 4000, generator=seeded())
        means[gauges] = float(samples.spins.mean())
    assert abs(means[0]) > 0.05 > abs(means[16])


def test_free_spins_follow_the_conditional_law():
    ising = SMALL_MODELS["complete"]()
    clamp = torch.tensor([0.0, 1.0, 0.0, -1.0, 0.0], dtype=F64)
    sampler = AnnealerSampler(device(), beta=2.0, chain_strength=6.0)
    spins = sampler.sample(ising, 8000, clamp=clamp, generator=seeded()).spins
    assert (spins[:, 1] == 1).all() and (spins[:, 3] == -1).all()
    from qahm_torch.ising import all_states

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
    sampler = AnnealerSampler(device(), beta=20.0, num_sweeps=60)  # programmed far too weakly
    samples = sampler.sample(ising, 8000, generator=seeded())
    assert p_value(samples.spins, law(ising)) > 1e-3 and samples.info["num_sweeps"] == 60


# Time


def test_prefetch_overlaps_the_device_with_the_caller():
    layer = QuantumPriorLayer(6, num_samples=50)
    layer.sampler = AnnealerSampler(device(sleep=0.6), beta=2.0)
    layer.draw()
    start = time.monotonic()
    layer.prefetch()
    submitted = time.monotonic() - start
    time.sleep(0.5)
    (-layer(torch.ones(4, 6)).mean()).backward()
    total = time.monotonic() - start
    assert submitted < 0.3 and total < 0.95


def test_budget_is_kept_and_estimated_before():
    ising = random_ising(CouplingGraph.complete(6))
    sampler = AnnealerSampler(device(), beta=2.0)
    estimate = sampler.estimate_time(ising.graph, 100)
    assert sampler.ledger.spent == 0
    sampler.sample(ising, 100)
    assert sampler.ledger.spent == pytest.approx(estimate, rel=0.05)
    sampler.ledger.budget = 1.5 * estimate
    with pytest.raises(BudgetError, match="larger `budget`"):
        sampler.sample(ising, 100)
    assert sampler.ledger.num_problems == 1


def test_named_fallback_stands_in_when_the_budget_is_spent():
    ising = random_ising(CouplingGraph.complete(6))
    sampler = AnnealerSampler(device(), beta=2.0, budget=1e-6, fallback=GibbsSampler(5))
    with pytest.warns(AnnealerWarning, match="GibbsSampler stands in: the next problem"):
        first = sampler.sample(ising, 100)
    assert first.info["fallback"].startswith("BudgetError") and first.state is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told once
        again = sampler.sample(ising, 100, state=first.state)
    assert again.spins.shape == (100, 6)


def test_a_device_that_hangs_is_left_behind():
    sampler = AnnealerSampler(
        device(sleep=30.0), beta=2.0, policy=RetryPolicy(timeout=0.2), fallback=GibbsSampler(5)
    )
    start = time.monotonic()
    with pytest.warns(AnnealerWarning, match="stands in"):
        sampler.sample(random_ising(CouplingGraph.complete(4)), 10)
    assert time.monotonic() - start < 3


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
    assert second.ledger.spent == first.ledger.spent
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
    assert twin.ledger.spent == sampler.ledger.spent
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
        "budget": 60.0,
        "anneal": {"annealing_time": 50.0},
        "policy": {"timeout": 30.0},
        "fallback": {"class_path": "qahm_torch.GibbsSampler"},
    }
    config = parser.parse_object(
        {"sampler": {"class_path": "qahm_torch.AnnealerSampler", "init_args": init_args}}
    )
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    sampler = instantiate(config).sampler
    assert sampler.ledger.budget == 60.0 and sampler.anneal.annealing_time == 50.0
    assert isinstance(sampler.fallback, GibbsSampler) and sampler.policy.timeout == 30.0


# Errors


WRONG = [
    ({"device": GibbsSampler()}, TypeError, "device is GibbsSampler"),
    ({"device": {"name": "x"}}, ValueError, "class_path and init_args, not name"),
    ({"beta": 0}, ValueError, "beta is 0"),
    ({"range_policy": "ignore"}, ValueError, "range_policy is 'ignore'"),
    ({"chain_breaks": "lowest"}, ValueError, "chain_breaks is 'lowest'"),
    ({"chain_strength": -1}, ValueError, "chain_strength is -1"),
    ({"num_gauges": -1}, ValueError, "-1 gauges"),
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
    with pytest.raises(ValueError, match="there is no class"):
        AnnealerSampler({"class_path": "qahm_torch.Nothing"}).sample(strong(), 1)
    with pytest.raises(ValueError, match="not within"):
        AnnealerSampler(SPEC, anneal=AnnealSettings(annealing_time=1e9)).sample(strong(), 1)


def test_what_a_device_raises_is_told_as_ours():
    class Broken(SimulatedAnnealer):
        def sample(self, bqm, **keywords):
            raise KeyError("no power")

    with pytest.raises(AnnealerError, match="failed: 'no power'"):
        AnnealerSampler(Broken("zephyr", 1)).sample(random_ising(CouplingGraph.complete(3)), 5)


def test_deadline_errors_say_what_happened():
    sampler = AnnealerSampler(device(sleep=30.0), beta=2.0, policy=RetryPolicy(timeout=0.1))
    with pytest.raises(DeadlineError, match="left to itself"):
        sampler.sample(random_ising(CouplingGraph.complete(3)), 5)
    assert sampler.ledger.spent > 0  # it may have run
