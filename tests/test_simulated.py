import copy
import itertools
import pickle
import unittest
from concurrent.futures import ThreadPoolExecutor

import dimod
import dimod.testing
import numpy as np
import pytest
import torch
from dimod.exceptions import BinaryQuadraticModelStructureError
from scipy.linalg import expm
from scipy.stats import chi2

from qahm_torch import CouplingGraph, Ising, agreement, exact_moments
from qahm_torch.simulator import SimulatedAnnealer

CHIPS = {"chimera": [2, 2, 4], "pegasus": 2, "zephyr": 2}
RAW = {"answer_mode": "raw", "auto_scale": False}


def chip(topology="chimera", **settings):
    return SimulatedAnnealer(topology, CHIPS[topology], **{"seed": 1, **settings})


def native_problem(device, num_qubits=7, scale=0.5, seed=0):
    r"""A problem on qubits that are close on the chip."""
    graph = device.to_networkx_graph()
    root = max(graph.nodes, key=graph.degree)
    near = sorted(graph[root], key=lambda v: -len(set(graph[v]) & set(graph[root])))
    rng = np.random.default_rng(seed)
    edges = graph.subgraph([root, *near][:num_qubits]).edges
    J = {edge: float(np.clip(scale * rng.normal(), -1.5, 1)) for edge in edges}
    return dimod.BQM({v: scale * rng.normal() for v in {v for e in edges for v in e}}, J, "SPIN")


def all_states(n):
    return np.array(list(itertools.product([-1, 1], repeat=n)), dtype=np.int8)


def law(bqm, beta):
    labels = list(bqm.variables)
    log_p = -beta * bqm.energies((all_states(len(labels)), labels))
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def table(answer, labels):
    columns = [answer.variables.index(v) for v in labels]
    return np.repeat(answer.record.sample[:, columns], answer.record.num_occurrences, axis=0)


def p_value(spins, probabilities):
    index = (spins > 0) @ (2 ** np.arange(spins.shape[1])[::-1])
    counts = np.bincount(index, minlength=len(probabilities))
    expected = probabilities * len(spins)
    # States too rare for the chi-square law are counted together.
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    seen = expected > 0
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    return chi2.sf(statistic, seen.sum() - 1)


def draw(device, bqm, num_reads=20_000, **settings):
    r"""Reads of a problem in as many calls as the device needs."""
    size = min(num_reads, 10_000)
    answers = [
        device.sample(bqm, num_reads=size, **{**RAW, **settings}) for _ in range(num_reads // size)
    ]
    return np.concatenate([table(a, list(bqm.variables)) for a in answers])


# The law


@pytest.mark.parametrize("topology", CHIPS)
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_law_is_that_of_the_inverse_temperature(topology, beta):
    device = chip(topology, beta=beta)
    bqm = native_problem(device)
    spins = draw(device, bqm)
    assert p_value(spins, law(bqm, beta)) > 1e-3
    assert p_value(spins, law(bqm, 0.8 * beta)) < 1e-3
    assert p_value(spins, law(bqm, 1.2 * beta)) < 1e-3


def test_strongly_bound_qubits_flip_together():
    device = chip(beta=2.0)
    graph = device.to_networkx_graph()
    root = device.nodelist[0]
    u, v = list(graph[root])[:2]
    bqm = dimod.BQM({root: 0.1}, {(root, u): -2.0, (root, v): 1.0}, "SPIN")
    assert p_value(draw(device, bqm), law(bqm, 2.0)) > 1e-3


def embedded_clique(device, num_variables=6):
    from dwave.embedding import embed_bqm
    from minorminer.busclique import find_clique_embedding

    rng = np.random.default_rng(3)
    pairs = itertools.combinations(range(num_variables), 2)
    bqm = dimod.BQM(
        {i: 0.2 * rng.normal() for i in range(num_variables)},
        {pair: 0.2 * rng.normal() for pair in pairs},
        "SPIN",
    )
    graph = device.to_networkx_graph()
    embedding = find_clique_embedding(num_variables, graph, use_cache=False)
    return bqm, embedding, embed_bqm(bqm, embedding, device.adjacency, chain_strength=2.0)


def test_chains_of_an_embedding_follow_the_logical_law():
    device = chip(beta=2.0)
    bqm, embedding, embedded = embedded_clique(device)
    assert {len(chain) for chain in embedding.values()} <= {2, 3}
    spins = draw(device, embedded)
    columns = {v: i for i, v in enumerate(embedded.variables)}
    vote = [spins[:, [columns[q] for q in embedding[v]]].sum(1) > 0 for v in bqm.variables]
    votes = np.stack(vote, axis=1) * 2 - 1
    assert p_value(votes, law(bqm, 2.0)) > 1e-3
    assert p_value(votes, law(bqm, 1.6)) < 1e-3


def test_few_sweeps_are_far_from_equilibrium():
    device = chip("pegasus", num_sweeps=2)
    bqm = native_problem(device)
    assert p_value(draw(device, bqm), law(bqm, 3.0)) < 1e-3


def quantum_law(bqm, beta, gamma):
    n = len(bqm.variables)
    H = np.diag(bqm.energies((all_states(n), list(bqm.variables))))
    states = np.arange(2**n)
    for k in range(n):
        H[states, states ^ 2**k] -= gamma
    p = np.diag(expm(-beta * H))
    return p / p.sum()


@pytest.mark.parametrize("gamma", [0.3, 1.0])
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_transverse_field_gives_the_law_of_the_density_matrix(gamma, scale):
    device = chip(beta=1.5, freeze_out_gamma=gamma, num_slices=32)
    bqm = native_problem(device, num_qubits=4, scale=scale)
    spins = draw(device, bqm, 5_000)
    assert p_value(spins, quantum_law(bqm, 1.5, gamma)) > 1e-3
    assert p_value(spins, law(bqm, 1.5)) < 1e-3


def test_one_slice_is_the_classical_law():
    device = chip(beta=1.5, freeze_out_gamma=0.3, num_slices=1)
    bqm = native_problem(device, num_qubits=4)
    spins = draw(device, bqm)
    assert p_value(spins, law(bqm, 1.5)) > 1e-3
    assert p_value(spins, quantum_law(bqm, 1.5, 0.3)) < 1e-3


# The faults


def measured_beta(device, field=0.5, **settings):
    spins = draw(device, dimod.BQM({0: field}, {}, "SPIN"), 10_000, **settings)
    return -np.arctanh(spins.mean()) / field


def test_short_anneals_end_hotter():
    device = chip(beta=1.0)
    assert abs(measured_beta(device, annealing_time=20.0) - 1) < 0.07
    assert abs(measured_beta(device, annealing_time=0.5) - 0.025**0.05) < 0.07
    assert device.effective_beta == pytest.approx(0.025**0.05)


def test_temperature_drifts_as_a_random_walk():
    device = chip(beta=1.0, beta_drift=0.2)
    seen = []
    for _ in range(40):
        device.sample(dimod.BQM({0: 1.0}, {}, "SPIN"))
        seen.append(np.log(device.effective_beta))
    steps = np.diff(seen)
    assert 0.12 < steps.std() < 0.28 and abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.5
    assert abs(measured_beta(device) - device.effective_beta) < 0.1


def test_temperature_depends_smoothly_on_the_problem():
    device = chip(beta_spread=0.3)

    def log_beta(scale):
        device.sample_ising({}, {device.edgelist[0]: -scale}, auto_scale=False)
        return np.log(device.effective_beta)

    logs = [log_beta(scale) for scale in np.geomspace(0.01, 2, 60)]
    assert log_beta(1.0) == log_beta(1.0)
    assert 0.05 < np.std(logs) < 0.6 and np.abs(np.diff(logs)).max() < 0.2


@pytest.mark.parametrize(("noise", "low", "high"), [(0.5, 0.25, 0.6), (0.0, 0.0, 0.06)])
def test_control_noise_is_new_in_each_call(noise, low, high):
    device = chip(beta=1.0, h_noise=noise)
    bqm = dimod.BQM({0: 0.0}, {}, "SPIN")
    assert low <= np.std([draw(device, bqm, 1000).mean() for _ in range(20)]) < high


def test_coupler_noise_moves_correlations():
    device = chip(beta=1.0, J_noise=0.5)
    bqm = dimod.BQM({}, {device.edgelist[0]: 0.0}, "SPIN")
    assert np.std([draw(device, bqm, 1000).prod(1).mean() for _ in range(20)]) > 0.25


@pytest.mark.parametrize(("field", "programmed"), [(0.6, 1.0), (0.4, 0.0)])
def test_fields_have_finite_precision(field, programmed):
    mean = draw(chip(beta=1.0, bits=2), dimod.BQM({0: field}, {}, "SPIN")).mean()
    assert abs(mean + np.tanh(programmed)) < 5 / 20_000**0.5


def test_readout_errors_flip_spins():
    mean = draw(chip(readout_error=0.1), dimod.BQM({0: -2.0}, {}, "SPIN")).mean()
    assert abs(mean - 0.8) < 5 * 0.6 / 20_000**0.5


def test_reverse_anneal_stays_near_its_state():
    device = chip(beta=3.0)
    u, v = device.edgelist[0]
    bqm = dimod.BQM({u: 0.2}, {(u, v): -1.0}, "SPIN")

    def down(s, **settings):
        schedule = [[0, 1], [10, s], [20, 1]]
        state = {u: 1, v: 1}
        spins = draw(device, bqm, 1000, anneal_schedule=schedule, initial_state=state, **settings)
        return (spins == -1).all(1)

    # Excited by the field, the pair is held by its coupling unless it is heated.
    device.num_sweeps = 6
    assert down(0.9).mean() < down(0.0).mean()
    assert down(0.0, reinitialize_state=False)[500:].mean() > 0.5


# The answer


def test_raw_answers_are_in_time_order_and_histograms_by_energy():
    device = chip(beta=1.0)
    bqm = native_problem(device, 5)
    raw = device.sample(bqm, num_reads=500, **RAW, seed=5)
    histogram = device.sample(bqm, num_reads=500, auto_scale=False, seed=5)
    assert len(raw) == 500 and set(raw.record.num_occurrences) == {1}
    assert (np.diff(raw.record.energy) < 0).any()
    assert (np.diff(histogram.record.energy) >= 0).all()
    assert len({row.tobytes() for row in histogram.record.sample}) == len(histogram) < 500

    def counts(answer):
        record = answer.aggregate().record
        return dict(zip(map(bytes, record.sample), record.num_occurrences))

    assert counts(raw) == counts(histogram)


def test_energies_are_of_the_problem_as_asked():
    device = chip(h_noise=0.3, J_noise=0.3, bits=3)
    for bqm in (native_problem(device), native_problem(device).change_vartype("BINARY")):
        answer = device.sample(bqm, num_reads=20, label="mine")
        dimod.testing.assert_sampleset_energies(answer, bqm)
        assert answer.vartype is bqm.vartype and answer.info["problem_label"] == "mine"


def test_auto_scale_fills_the_range():
    device = chip(beta=1.0)
    bqm = native_problem(device, scale=0.05)
    h = max(max(v / 2, -v / 2) for v in bqm.linear.values())
    J = max(max(v, -v / 2) for v in bqm.quadratic.values())
    spins = draw(device, bqm, auto_scale=True)
    assert p_value(spins, law(bqm, 1 / max(h, J))) > 1e-3
    assert p_value(spins, law(bqm, 1.2 / max(h, J))) < 1e-3


@pytest.mark.parametrize("answer_mode", ["raw", "histogram"])
def test_empty_problems_have_empty_rows(answer_mode):
    answer = chip().sample_ising({}, {}, num_reads=7, answer_mode=answer_mode)
    assert answer.record.num_occurrences.sum() == 7 and len(answer.variables) == 0


def test_fast_anneals_are_shorter():
    bqm = dimod.BQM({0: 1.0}, {}, "SPIN")
    timing = chip().sample(bqm, annealing_time=0.01, fast_anneal=True).info["timing"]
    assert timing["qpu_anneal_time_per_sample"] == 0.01


def test_latency_is_slept(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    chip(sleep=0.3).sample(dimod.BQM({0: 1.0}, {}, "SPIN"))
    assert slept == [0.3]


REVERSE = {"anneal_schedule": [[0, 1], [10, 0.5], [25, 1]]}
RUNS = {
    "default": {},
    "slow": {"annealing_time": 100.0, "readout_thermalization": 30.0},
    "warm": {"programming_thermalization": 50.0},
    "forward": {"anneal_schedule": [[0, 0], [30, 1]]},
    "reverse": REVERSE,
    "reverse in turn": {**REVERSE, "reinitialize_state": False},
}


def time_of(device, bqm, **settings):
    if "anneal_schedule" in settings and settings["anneal_schedule"][0][1] == 1:
        settings["initial_state"] = dict.fromkeys(bqm.variables, 1)
    timing = device.sample(bqm, num_reads=50, **settings).info["timing"]
    return timing, settings


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("topology", CHIPS)
def test_timing_is_what_the_client_expects(topology, run):
    from dwave.cloud.solver import StructuredSolver
    from dwave.cloud.testing.mocks import structured_solver_data

    device = chip(topology, num_sweeps=1)
    data = structured_solver_data()
    data["properties"] = {**device.properties, "parameters": {}}
    solver = StructuredSolver(client=None, data=data)
    bqm = native_problem(device)
    timing, settings = time_of(device, bqm, **RUNS[run])
    settings = {"reinitialize_state": True, **settings}
    expected = solver.estimate_qpu_access_time(len(bqm.variables), 50, **settings)
    assert timing["qpu_access_time"] == pytest.approx(expected)
    parts = ("anneal", "readout", "delay")
    per_read = sum(timing[f"qpu_{part}_time_per_sample"] for part in parts)
    assert timing["qpu_sampling_time"] == pytest.approx(50 * per_read)
    total = timing["qpu_sampling_time"] + timing["qpu_programming_time"]
    assert timing["qpu_access_time"] == pytest.approx(total)
    assert run == "default" or timing != time_of(device, bqm)[0]


def test_thermalization_of_zero_takes_no_time():
    device = chip()
    bqm = native_problem(device)
    cold, _ = time_of(device, bqm, programming_thermalization=0.0)
    assert time_of(device, bqm)[0]["qpu_access_time"] - cold["qpu_access_time"] == 1000.0


@pytest.mark.parametrize(("topology", "machine"), [("chimera", "2000q"), ("zephyr", "advantage")])
def test_timing_data_is_that_of_the_clients_mock(topology, machine):
    from dwave.cloud.testing.mocks import qpu_problem_timing_data

    assert chip(topology).properties["problem_timing_data"] == qpu_problem_timing_data(machine)


# Seeds and state


def test_calls_repeat_with_the_object_and_never_within_it():
    bqm = native_problem(chip())
    first, again = chip(beta=0.5, beta_drift=0.1), chip(beta=0.5, beta_drift=0.1)
    calls = [draw(first, bqm, 100) for _ in range(3)]
    assert all(np.array_equal(call, draw(again, bqm, 100)) for call in calls)
    assert not np.array_equal(calls[0], calls[1])
    assert not np.array_equal(calls[0], draw(chip(beta=0.5, seed=2), bqm, 100))


def test_calls_of_several_threads_are_different():
    device = chip(beta=0.5)
    bqm = native_problem(device)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: draw(device, bqm, 100).tobytes(), range(8)))
    assert len(set(answers)) == 8 and device.state_dict()["num_calls"] == 8


def test_seed_of_a_call_overrides():
    device = chip(beta=0.5)
    bqm = native_problem(device)
    assert np.array_equal(draw(device, bqm, 100, seed=3), draw(device, bqm, 100, seed=3))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_go_on_where_the_device_is(clone):
    device = chip(beta=0.5, beta_drift=0.1)
    bqm = native_problem(device)
    draw(device, bqm, 100)
    twin = clone(device)
    assert np.array_equal(draw(device, bqm, 100), draw(twin, bqm, 100))


def test_state_resumes_another_device():
    device, other = chip(beta=0.5, beta_drift=0.1), chip(beta=0.5, beta_drift=0.1)
    bqm = native_problem(device)
    draw(device, bqm, 100)
    other.load_state_dict(device.state_dict())
    assert other.effective_beta == device.effective_beta
    assert np.array_equal(draw(device, bqm, 100), draw(other, bqm, 100))
    with pytest.raises(ValueError, match="state has"):
        other.load_state_dict({"calls": 1})


def test_samples_do_not_depend_on_the_number_of_threads():
    import torch

    device = chip(beta=0.5)
    bqm = native_problem(device)
    threads = torch.get_num_threads()
    try:
        answers = []
        for torch_threads in (1, 3):
            torch.set_num_threads(torch_threads)
            answers.append(draw(device, bqm, 300, seed=1))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(*answers)


# The chip and what it refuses


@pytest.mark.parametrize("topology", CHIPS)
def test_interface_is_dimods(topology):
    device = chip(topology, missing_qubits=3, missing_couplers=2)
    dimod.testing.assert_sampler_api(device)
    dimod.testing.assert_structured_api(device)
    assert len(device.nodelist) == len(chip(topology).nodelist) - 3
    assert device.properties["topology"]["type"] == topology
    assert max(device.nodelist) < device.properties["num_qubits"]
    assert set(device.parameters) == set(device.properties["parameters"])


def embedding_device():
    from dwave.system import EmbeddingComposite

    return EmbeddingComposite(chip())


@dimod.testing.load_sampler_bqm_tests(embedding_device)
class TestSmallProblems(unittest.TestCase):
    pass


def test_missing_parts_can_be_named():
    whole = chip()
    device = chip(missing_qubits=[0, 5], missing_couplers=[(12, 8)])
    assert set(whole.nodelist) - set(device.nodelist) == {0, 5}
    assert (8, 12) in whole.edgelist and (8, 12) not in device.edgelist
    with pytest.raises(ValueError, match="missing_qubits names 99"):
        chip(missing_qubits=[99])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topology": "torus"}, "topology is 'torus'"),
        ({"topology": "chimera", "shape": 1, "beta": 0.0}, "beta is 0.0"),
        ({"topology": "chimera", "shape": 1, "h_noise": -0.1}, "h_noise is -0.1"),
        ({"topology": "chimera", "shape": 1, "readout_error": 0.7}, "readout_error is 0.7"),
        ({"topology": "chimera", "shape": 1, "bits": 0}, "bits is 0"),
        ({"topology": "chimera", "shape": 1, "missing_qubits": 9}, "missing_qubits is 9"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SimulatedAnnealer(**settings)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"num_reads": 0}, "num_reads is 0"),
        ({"num_reads": 10_001}, "num_reads is 10001"),
        ({"num_reads": 1000, "annealing_time": 1500.0}, "problem_run_duration is 1.501e"),
        ({"annealing_time": 0.1}, "annealing_time is 0.1"),
        ({"annealing_time": 0.001, "fast_anneal": True}, "annealing_time is 0.001"),
        ({"answer_mode": "best"}, "answer_mode is 'best'"),
        ({"readout_thermalization": 1e6}, "readout_thermalization is 1e"),
        ({"anneal_schedule": [[0, 0], [5, 0.5]]}, "s of anneal_schedule"),
        ({"anneal_schedule": [[0, 0], [5, 1], [4, 1]]}, "times of anneal_schedule"),
        ({"anneal_schedule": [[0, 1], [5, 1]]}, "initial_state is None, but"),
        ({"anneal_schedule": [[0, 0], [9, 1]], "annealing_time": 9.0}, "but it excludes"),
        ({"initial_state": {0: 1}}, "needs an anneal_schedule"),
        ({"anneal_schedule": [[0, 1], [5, 1]], "initial_state": {9: 1}}, "state of qubit 0"),
    ],
)
def test_bad_requests_are_named(request_, message):
    with pytest.raises(ValueError, match=message):
        chip().sample(dimod.BQM({0: 1.0}, {}, "SPIN"), **request_)


@pytest.mark.parametrize(
    ("h", "J", "message"),
    [
        ({0: 2.5}, {}, r"h is 2.5 at 0"),
        ({}, {(0, 4): 1.1}, r"J is 1.1 at \[0, 4\]"),
        ({}, {(0, q): -2.0 for q in (4, 5, 6, 7, 16)}, r"the sum of J is -10 at 0"),
        ({0: np.nan}, {}, "h is nan at 0"),
        ({}, {(0, 4): np.inf}, r"J is inf at \[0, 4\]"),
    ],
)
def test_values_out_of_range_are_named(h, J, message):
    with pytest.raises(ValueError, match=message):
        chip().sample_ising(h, J, auto_scale=False)


def test_problems_off_the_chip_are_refused():
    device = chip(missing_qubits=[1])
    with pytest.raises(BinaryQuadraticModelStructureError, match="variable 1 "):
        device.sample_ising({1: 1.0}, {})
    with pytest.raises(BinaryQuadraticModelStructureError, match="qubits 0 and 2"):
        device.sample_ising({}, {(0, 2): 1.0})
    with pytest.raises(TypeError, match="beta_range"):
        device.sample_ising({0: 1.0}, {}, beta_range=[1, 1])


def test_lasting_errors_stay_and_noise_does_not():
    graph = SimulatedAnnealer("zephyr", 1).to_networkx_graph()

    def means(call, **faults):
        device = SimulatedAnnealer("zephyr", 1, beta=2.0, seed=call, **faults)
        return device.sample_ising(dict.fromkeys(graph, 0.0), {}, num_reads=2000).record.sample

    def correlation(**faults):
        columns = [means(call, **faults).mean(0) for call in (1, 2)]
        return np.corrcoef(columns)[0, 1]

    assert correlation(h_error=0.3) > 0.95
    assert abs(correlation(h_noise=0.3)) < 0.6


def test_control_errors_are_those_that_the_samples_obey():
    device = SimulatedAnnealer(
        "chimera", 1, beta=2.0, h_error=0.3, J_error=0.3, chip_seed=3, seed=0
    )
    fields, couplings = device.control_errors
    answer = device.sample_ising(
        dict.fromkeys(device.nodelist, 0.1),
        dict.fromkeys(device.edgelist, -0.1),
        num_reads=10_000,
        auto_scale=False,
    )
    spins = torch.from_numpy(answer.record.sample.repeat(answer.record.num_occurrences, 0))
    spins = spins[:, [list(answer.variables).index(q) for q in range(8)]]
    graph = CouplingGraph(8, torch.tensor(device.edgelist))
    h = torch.tensor([0.1 + fields[q] for q in range(8)]).double()
    J = torch.tensor([-0.1 + couplings[c] for c in map(tuple, graph.edges.tolist())]).double()
    assert agreement(graph, spins, exact_moments(Ising(graph, 2 * h, 2 * J))).p_value > 1e-3
    wrong = exact_moments(Ising(graph, 2 * h, torch.full_like(J, -0.2)))
    assert agreement(graph, spins, wrong).p_value < 1e-6
