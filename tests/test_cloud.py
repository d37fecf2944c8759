r"""The annealer sampler through the real client: what is sent, what comes back, what is kept."""

import re
import time

import pytest
import torch
from cloud_chip import timing_of
from cloud_service import CloudService, gibbs_at, scrub_environment, within
from dwave.samplers import SimulatedAnnealingSampler
from dwave.system import DWaveSampler
from fault_runs import native_model
from models import law, random_ising, state_index

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    AnnealerWarning,
    AnnealSettings,
    CouplingGraph,
    Fallback,
    FallbackWarning,
    GibbsSampler,
    Ising,
    PlacementSettings,
    ProgramSettings,
    ReplaySampler,
    RetryPolicy,
)
from qahm_torch.annealer.replay import answered
from qahm_torch.device import DeviceOfflineError, RejectedError, SubmissionUnknownError
from qahm_torch.device.patience import Clock

DEADLINE = 20  # seconds
QUICK = RetryPolicy(timeout=5, request_timeout=1, retries=2, backoff=0.01, settle=0.05)


@pytest.fixture(autouse=True)
def _hermetic(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")


@pytest.fixture
def service():
    with CloudService(shape=[2]) as service:
        yield service


def physical(beta=2.0, **options):
    r"""Returns a service whose QPU draws at an inverse temperature."""
    sampler = SimulatedAnnealingSampler()
    return CloudService(shape=[2], sampler=sampler, sampler_options=gibbs_at(beta), **options)


def annealer(service, **settings):
    device = DWaveSampler(**service.client_options())
    return AnnealerSampler(device, **{"beta": 2.0, "policy": QUICK, **settings})


def by_specification(service, monkeypatch, **settings):
    monkeypatch.setenv("DWAVE_API_TOKEN", service.token)
    options = {k: v for k, v in service.client_options().items() if k != "token"}
    spec = {"class_path": "dwave.system.DWaveSampler", "init_args": options}
    return AnnealerSampler(spec, **{"beta": 2.0, "policy": QUICK, **settings})


def gauged(number):
    return {"programming": ProgramSettings(num_gauges=number)}


def sent(service):
    return list(service.problems.values())


def paths(service):
    return [path for _, path, _ in list(service.requests)]


def until(condition):
    for _ in range(int(DEADLINE / 0.01)):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError("what is waited for has not come")


# The law.


def p_value(spins, ising):
    from scipy.stats import chisquare

    counts = torch.bincount(state_index(spins), minlength=2**ising.num_spins)
    return chisquare(counts.numpy(), (law(ising) * len(spins)).numpy()).pvalue


@pytest.mark.parametrize("gauges", [0, 3])
@pytest.mark.parametrize("placement", ["native", "clique"])
def test_samples_follow_the_model(placement, gauges):
    with physical() as service:
        sampler = annealer(service, placement=PlacementSettings(placement), **gauged(gauges))
        if placement == "native":
            ising = native_model(sampler.chip, 5)
        else:
            ising = random_ising(CouplingGraph.complete(4), 0.4, seed=1)
        samples = within(DEADLINE, sampler.sample, ising, 1500)
        assert p_value(samples.spins, ising) > 1e-3
        assert samples.info["chain_break_fraction"] < 0.01
        assert service.billed_jobs() == len(samples.info["problem_ids"]) == max(1, gauges)


def test_wrong_temperature_is_seen():
    # The twin of the test above.
    with physical() as service:
        sampler = annealer(service, placement=PlacementSettings("native"), beta=3.0)
        ising = native_model(sampler.chip, 5)
        samples = within(DEADLINE, sampler.sample, ising, 1500)
        assert p_value(samples.spins, ising) < 1e-3


def test_temperature_is_found():
    with physical(beta=3.0) as service:
        sampler = annealer(service, beta="auto")
        ising = native_model(sampler.chip, 12)
        info = within(DEADLINE, sampler.sample, ising, 1000).info
        assert abs(info["beta"] - 3.0) < 5 * info["beta_stderr"] < 0.6


# What is sent.


def test_problem_is_programmed_as_it_is(service):
    sampler = annealer(service, **gauged(0))
    ising = native_model(sampler.chip)
    within(DEADLINE, sampler.sample, ising, 10)
    (problem,) = sent(service)
    h = dict(zip(ising.graph.labels, (ising.h / 2).tolist()))
    assert problem.linear == pytest.approx(h)
    names = [tuple(sorted(ising.graph.labels[i] for i in e)) for e in ising.graph.edges.tolist()]
    programmed = {tuple(sorted(pair)): value for pair, value in problem.quadratic.items()}
    assert programmed == pytest.approx(dict(zip(names, (ising.J / 2).tolist())))
    assert problem.params == {"num_reads": 10, "auto_scale": False, "answer_mode": "raw"}


def test_gauges_flip_what_is_programmed_and_not_what_comes_back(service):
    sampler = annealer(service, **gauged(4))
    ising = native_model(sampler.chip)
    within(DEADLINE, sampler.sample, ising, 10)
    assert sorted(problem.num_reads for problem in sent(service)) == [2, 2, 3, 3]
    fields = [[problem.linear[q] for q in ising.graph.labels] for problem in sent(service)]
    assert len({tuple(f) for f in fields}) > 1
    assert torch.allclose(torch.tensor(fields).abs().double(), ising.h.abs() / 2)


def test_reads_are_split_by_what_a_problem_may_have():
    with CloudService(shape=[2], properties={"num_reads_range": [1, 40]}) as service:
        sampler = annealer(service)
        samples = within(DEADLINE, sampler.sample, native_model(sampler.chip), 100)
        assert len(samples.spins) == 100
        assert sorted(problem.num_reads for problem in sent(service)) == [33, 33, 34]


def test_labels_are_unique_and_recognizable(service):
    sampler = annealer(service, **gauged(3))
    within(DEADLINE, sampler.sample, native_model(sampler.chip), 10)
    labels = {problem.label for problem in sent(service)}
    assert len(labels) == 3 and all(re.fullmatch("qahm-[0-9a-f]{16}", x) for x in labels)


def test_anneal_settings_are_sent(service):
    settings = AnnealSettings(annealing_time=50.0, readout_thermalization=5.0)
    sampler = annealer(service, anneal=settings)
    ising = native_model(sampler.chip)
    samples = within(DEADLINE, sampler.sample, ising, 10)
    (problem,) = sent(service)
    assert problem.params["annealing_time"] == 50 and len(samples.spins) == 10
    assert problem.params["readout_thermalization"] == 5
    with pytest.raises(ValueError, match="50000 microseconds, but"):
        annealer(service, anneal=AnnealSettings(annealing_time=5e4)).sample(ising, 10)


def test_reverse_anneal_starts_from_the_samples_before(service):
    schedule = [[0.0, 1.0], [5.0, 0.5], [10.0, 1.0]]
    settings = AnnealSettings(anneal_schedule=schedule, reinitialize_state=True)
    sampler = annealer(service, anneal=settings, **gauged(0))
    ising = native_model(sampler.chip)
    first = within(DEADLINE, sampler.sample, ising, 10)
    within(DEADLINE, sampler.sample, ising, 10, state=first.state)
    problem = sent(service)[1]
    state = problem.params["initial_state"]
    start = torch.tensor([state[q] for q in ising.graph.labels])
    assert (first.spins == start).all(1).any()
    assert len(state) == service.chip.properties["num_qubits"] and state.count(3) == len(state) - 8
    assert problem.params["anneal_schedule"] == schedule


# The account.


def test_the_account_has_the_time_of_the_service(service):
    sampler = annealer(service, **gauged(2))
    ising = native_model(sampler.chip)
    estimate = within(DEADLINE, sampler.estimate_time, ising.graph, 100)
    info = within(DEADLINE, sampler.sample, ising, 100).info
    times = [timing_of(service.chip.properties, 8, p.params) for p in sent(service)]
    billed = sum(time["qpu_access_time"] for time in times) * 1e-6
    assert sampler.account.measured == pytest.approx(billed) == info["qpu_access_time"]
    assert estimate == pytest.approx(billed)
    assert (sampler.account.num_problems, sampler.account.num_reads) == (2, 100)


def test_budget_is_not_exceeded(service):
    sampler = annealer(service)
    ising = native_model(sampler.chip)
    sampler.account.budget = 2.5 * within(DEADLINE, sampler.estimate_time, ising.graph, 50)
    for _ in range(2):
        within(DEADLINE, sampler.sample, ising, 50)
    with pytest.raises(AnnealerError, match="was not submitted"):
        within(DEADLINE, sampler.sample, ising, 50)
    assert service.billed_jobs() == 2


# Time.


def test_submissions_overlap():
    with CloudService(shape=[2], latency=1.0) as service:
        sampler = annealer(service)
        ising = native_model(sampler.chip)
        submissions = [sampler.submit(ising, 10) for _ in range(2)]
        answers = [within(DEADLINE, submission.result) for submission in submissions]
        # Times are texts in one format, in UTC.
        assert max(p.submitted_on for p in sent(service)) < min(p.solved_on for p in sent(service))
        ids = [answer.info["problem_ids"] for answer in answers]
        assert ids[0] != ids[1] and service.billed_jobs() == 2


# What is kept.


def test_answer_is_recovered_after_a_crash(service, tmp_path):
    sampler = annealer(service, archive=tmp_path, **gauged(0))
    ising = native_model(sampler.chip)
    service.fault("load", "stall", times=None)
    lost = sampler.submit(ising, 10)  # and here the power goes
    until(lambda: {f"problems/{p.id}/" for p in sent(service)} & set(paths(service)))
    after = annealer(service, archive=tmp_path)
    with pytest.warns(AnnealerWarning, match="1 left alone, since"):
        assert within(DEADLINE, after.recover) == 0
    sampler.archive.release()
    service.clear_faults()
    assert within(DEADLINE, after.recover) == 1
    assert within(DEADLINE, after.recover) == 0
    (problem,) = sent(service)
    (answer,) = ReplaySampler(tmp_path)
    # Who has sent it pays for it, nobody else.
    assert after.account.spent == 0
    truth = service.samples_of(problem.id)
    columns = [list(truth.variables).index(q) for q in answer.job.qubits]
    assert (answer.readout == truth.record.sample[:, columns]).all()
    assert service.billed_jobs() == 1
    within(DEADLINE, lost.result)


@pytest.mark.parametrize("is_found", [True, False])
def test_the_account_knows_what_was_spent_after_the_checkpoint(service, tmp_path, is_found):
    sampler = annealer(service, archive=tmp_path, **gauged(0))
    ising = native_model(sampler.chip)
    within(DEADLINE, sampler.sample, ising, 10)
    checkpoint = sampler.state_dict()
    within(DEADLINE, sampler.sample, ising, 10)
    service.fault("load", "stall", times=None)
    lost = sampler.submit(ising, 10)  # and here the process is killed
    until(lambda: len(sent(service)) == 3 and sent(service)[-1].status == "COMPLETED")
    sampler.archive.release()
    after = annealer(service, archive=tmp_path)
    after.load_state_dict(checkpoint)
    estimate = sampler.estimate_time(ising.graph, 10)
    assert after.account.num_problems == 2 and after.account.unconfirmed == estimate
    assert after.account.measured == sampler.account.measured
    service.clear_faults()
    if is_found:
        assert within(DEADLINE, after.recover) == 1
        within(DEADLINE, lost.result)
        assert after.account.unconfirmed == 0 and after.account.num_problems == 3
        assert after.account.measured == sampler.account.measured
    else:
        # A resume once more, from the same checkpoint, comes to the same.
        again = annealer(service, archive=tmp_path)
        again.load_state_dict(checkpoint)
        assert again.account.state_dict() == after.account.state_dict()
        within(DEADLINE, lost.result)


def test_an_archive_that_knows_less_leaves_the_account_alone(service, tmp_path):
    sampler = annealer(service, archive=tmp_path / "one", **gauged(0))
    ising = native_model(sampler.chip)
    for _ in range(2):
        within(DEADLINE, sampler.sample, ising, 10)
    checkpoint = sampler.state_dict()
    after = annealer(service, archive=tmp_path / "another")
    after.load_state_dict(checkpoint)
    assert after.account.state_dict() == sampler.account.state_dict()


def test_one_that_cannot_be_recovered_does_not_hold_up_the_others(service, tmp_path):
    policy = RetryPolicy(timeout=2.0, request_timeout=1.0, retries=1, backoff=0.01, settle=0.05)
    sampler = annealer(service, archive=tmp_path, policy=policy)
    ising = native_model(sampler.chip)
    service.fault("poll", "status", times=None, code=404)
    for _ in range(3):
        with pytest.raises(AnnealerError, match="does not know problem"):
            within(DEADLINE, sampler.sample, ising, 10)
    service.clear_faults()
    failed, gone, _ = sent(service)
    failed.status = "FAILED"
    del service.problems[gone.id]
    with pytest.raises(AnnealerError, match=f"does not know problem {gone.id}"):
        within(DEADLINE, sampler.recover)
    assert len(ReplaySampler(tmp_path)) == 1


def test_replay_has_the_same_samples(tmp_path):
    with physical() as service:
        sampler = annealer(service, archive=tmp_path, beta="auto", **gauged(2))
        ising = native_model(sampler.chip)
        samples = [within(DEADLINE, sampler.sample, ising, 50) for _ in range(2)]
    replay, state = ReplaySampler(tmp_path), None
    for expected in samples:
        answer = replay.sample(ising, 50, state=state)
        # The gauges of a call are archived as they come in.
        assert sorted(answer.spins.tolist()) == sorted(expected.spins.tolist())
        state = answer.state


def test_other_gauges_are_kept_when_one_fails(service, tmp_path):
    sampler = annealer(service, archive=tmp_path, **gauged(3))
    service.fault("submit", "fail")
    with pytest.raises(AnnealerError, match="be programmed"):
        within(DEADLINE, sampler.sample, native_model(sampler.chip), 30)
    # Answers that come after the failure are archived first and booked next.
    until(lambda: sampler.account.num_problems == 2)
    assert len(list(answered(sampler.archive))) == service.billed_jobs() == 2


# A chip that changes.


def test_model_moves_when_the_chip_has_changed(service, monkeypatch):
    sampler = by_specification(service, monkeypatch)
    ising = native_model(within(DEADLINE, lambda: sampler.chip))
    within(DEADLINE, sampler.sample, ising, 10)
    lost = ising.graph.labels[0]
    service.remove_qubits([lost])
    with pytest.raises(RejectedError, match="open the device anew"):
        within(DEADLINE, sampler.sample, ising, 10)
    with pytest.warns(AnnealerWarning, match="placed anew"):
        samples = sampler.sample(ising, 10)
    assert len(samples.spins) == 10 and service.billed_jobs() == 2
    assert lost not in sent(service)[-1].linear


@pytest.mark.parametrize("open_one", [annealer, by_specification])
def test_another_solver_is_found_when_one_goes_offline(service, monkeypatch, tmp_path, open_one):
    more = () if open_one is annealer else (monkeypatch,)
    sampler = open_one(service, *more, archive=tmp_path / "archive", **gauged(0))
    ising = random_ising(CouplingGraph.complete(3), 0.4, seed=1)
    within(DEADLINE, sampler.sample, ising, 10)
    first = sampler.chip.name
    service.set_offline()
    with pytest.raises(DeviceOfflineError, match="offline"):
        within(DEADLINE, sampler.sample, ising, 10)
    with pytest.raises(DeviceOfflineError, match="no solver online"):
        within(DEADLINE, sampler.sample, ising, 10)
    service.replace_chip("zephyr", [2])
    service.set_offline(False)
    with pytest.warns(AnnealerWarning) as caught:
        samples = sampler.sample(ising, 10)
    assert any(f"takes the place of {first}" in str(w.message) for w in caught)
    assert samples.info["backend"] == sampler.chip.name != first
    assert sampler.account.num_problems == service.billed_jobs() == 2
    assert len(list(answered(sampler.archive))) == 2


def test_qubits_that_were_lost_are_left_out_by_a_sampler_that_is_given(service):
    sampler = annealer(service, placement=PlacementSettings("clique"), **gauged(0))
    ising = random_ising(CouplingGraph.complete(3), 0.4, seed=1)
    within(DEADLINE, sampler.sample, ising, 10)
    lost = sampler.site(ising.graph).placement.qubits[0]
    service.remove_qubits([lost])
    with pytest.raises(RejectedError):
        within(DEADLINE, sampler.sample, ising, 10)
    with pytest.warns(AnnealerWarning, match="placed anew"):
        assert len(sampler.sample(ising, 10).spins) == 10
    assert lost not in sent(service)[-1].linear


@pytest.mark.parametrize("code", [429, 503])
def test_opening_waits_for_a_service_that_is_busy(service, monkeypatch, code):
    sampler = by_specification(service, monkeypatch)
    service.fault("metadata", "status", times=2, code=code, retry_after=0.3)
    slept = []
    monkeypatch.setattr(Clock, "sleep", lambda clock, seconds: slept.append(seconds))
    assert within(DEADLINE, lambda: sampler.chip).name == service.chip.name
    assert slept == [0.3, 0.3]


def test_lost_problem_counts_as_spent_until_it_is_found(service, tmp_path):
    sampler = annealer(service, archive=tmp_path, **gauged(0))
    ising = native_model(sampler.chip)
    estimate = sampler.estimate_time(ising.graph, 10)
    service.fault("submit", "accept_then_drop")
    service.fault("list", "empty_list", times=None)
    with pytest.raises(SubmissionUnknownError) as caught:
        within(DEADLINE, sampler.sample, ising, 10)
    assert caught.value.may_have_run
    assert sampler.account.unconfirmed == sampler.account.spent == pytest.approx(estimate)
    with pytest.warns(AnnealerWarning, match="1 unknown to the service, which count as spent"):
        assert within(DEADLINE, sampler.recover) == 0 < sampler.account.unconfirmed
    service.clear_faults()
    assert within(DEADLINE, sampler.recover) == service.billed_jobs() == 1
    assert sampler.account.unconfirmed == pytest.approx(0) and sampler.account.measured > 0


def test_fallback_stands_in_for_a_lost_problem(service):
    sampler = Fallback(annealer(service), GibbsSampler(5))
    ising = native_model(sampler.sampler.chip)
    service.fault("submit", "drop")
    with pytest.warns(FallbackWarning, match="is not known"):
        assert len(sampler.sample(ising, 10).spins) == 10
    assert service.billed_jobs() == 0


def test_model_moves_when_a_resumed_run_finds_another_chip(service):
    before = annealer(service)
    ising = native_model(before.chip)
    within(DEADLINE, before.sample, ising, 10)
    service.remove_qubits([ising.graph.labels[0]])
    after = annealer(service)
    after.load_state_dict(before.state_dict())
    with pytest.warns(AnnealerWarning, match="placed anew"):
        assert len(after.sample(ising, 10).spins) == 10
    assert after.account.num_problems == 2


def test_another_sampler_stands_in_and_steps_back(service):
    policy = RetryPolicy(timeout=1, request_timeout=0.5, retries=0, settle=0.05)
    annealing, gibbs = annealer(service, policy=policy), GibbsSampler(5)
    sampler = Fallback(annealing, gibbs, cooldown=1.0)
    ising = native_model(annealing.chip)
    gibbs.sample(ising, 10)  # its first call may compile, longer than the cooldown
    service.fault("submit", "status", code=500)
    with pytest.warns(FallbackWarning, match="GibbsSampler stands in: .* status 500"):
        assert "status 500" in sampler.sample(ising, 10).info["fallback"]
    assert "rests" in sampler.sample(ising, 10).info["fallback"]
    time.sleep(1.1)
    assert "fallback" not in within(DEADLINE, sampler.sample, ising, 10).info
    assert service.billed_jobs() == 1


def test_zero_model_needs_no_temperature(service):
    sampler = annealer(service, beta="auto")
    graph = native_model(sampler.chip).graph
    ising = Ising(graph, torch.zeros(graph.num_spins), torch.zeros(graph.num_edges))
    assert len(within(DEADLINE, sampler.sample, ising, 10).spins) == 10
    assert service.billed_jobs() == 1
