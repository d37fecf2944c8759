r"""The loopback cloud service: the real client works against it, and faults are as announced."""

import base64
import http.client
import json
import time
import zlib

import dimod
import numpy as np
import pytest
import requests
from cloud_faults import STEPS
from cloud_service import CloudService, gibbs_at, scrub_environment, within
from dwave.cloud import exceptions
from dwave.cloud.api import Problems
from dwave.samplers import SimulatedAnnealingSampler
from dwave.system import DWaveSampler, EmbeddingComposite

DEADLINE = 10  # seconds
POLL = "application/vnd.dwave.sapi.problems+json; version=3.0.0"


@pytest.fixture(autouse=True)
def _hermetic(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path)


@pytest.fixture
def service():
    with CloudService(shape=[2]) as service:
        yield service


@pytest.fixture
def connect():
    r"""Connects the real client to a service, and closes it without waiting in the end."""
    samplers = []

    def connect(service, **options):
        sampler = within(DEADLINE, DWaveSampler, **{**service.client_options(), **options})
        samplers.append(sampler)
        return sampler

    yield connect
    for sampler in samplers:
        within(DEADLINE, sampler.client.close, wait=False)


def resolved(sampleset):
    within(DEADLINE, sampleset.resolve)
    return sampleset


def random_bqm(sampler, vartype="SPIN", seed=0):
    rng = np.random.default_rng(seed)
    linear = {q: rng.normal() for q in sampler.nodelist[::2]}
    quadratic = {e: rng.normal() for e in sampler.edgelist if set(e) <= set(linear)}
    return dimod.BinaryQuadraticModel(linear, quadratic, 0.7, vartype)


def rows(sampleset, bqm):
    columns = [list(sampleset.variables).index(v) for v in bqm.variables]
    return sampleset.record.sample[:, columns]


class Recorder(dimod.Sampler):
    r"""Keeps the problems that it is given."""

    parameters = {"num_reads": []}
    properties = {}

    def __init__(self):
        self.problems = []

    def sample(self, bqm, num_reads):
        self.problems.append(bqm.copy())
        return dimod.RandomSampler().sample(bqm, num_reads=num_reads)


# The real client, end to end.


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize(
    ("topology", "shape"), [("chimera", [2]), ("pegasus", [2]), ("zephyr", [2])]
)
def test_client_receives_what_the_qpu_drew(connect, topology, shape, vartype):
    with CloudService(topology, shape, missing_qubits=3) as service:
        sampler = connect(service)
        assert sampler.properties["topology"]["type"] == topology
        assert len(sampler.nodelist) < sampler.properties["num_qubits"]
        bqm = random_bqm(sampler, vartype)
        answer = resolved(sampler.sample(bqm, num_reads=50, answer_mode="raw", label="mine"))
        truth = service.samples_of(answer.info["problem_id"])
        assert np.array_equal(rows(answer, bqm), rows(truth, bqm)) and len(answer) == 50
        assert np.allclose(answer.record.energy, bqm.energies(answer))
        assert np.allclose(truth.record.energy + bqm.offset, answer.record.energy)
        problem = service.problems[answer.info["problem_id"]]
        assert problem.linear == dict(bqm.linear) and problem.billed
        assert {frozenset(e): J for e, J in problem.quadratic.items() if J} == {
            frozenset(e): J for e, J in bqm.quadratic.items()
        }
        assert problem.label == answer.info["problem_label"] == "mine"
        assert service.billed_jobs() == 1


def test_histogram_holds_the_same_reads(service, connect):
    qubits = connect(service).nodelist[:3]
    answer = resolved(connect(service).sample_ising(dict.fromkeys(qubits, 1.0), {}, num_reads=200))
    truth = service.samples_of(answer.info["problem_id"]).aggregate()
    assert len(answer) == 8 and answer.record.num_occurrences.sum() == 200
    assert (np.diff(answer.record.energy) >= 0).all()
    counts = [
        {tuple(s.values()): n for s, n in ss.data(["sample", "num_occurrences"])}
        for ss in (answer, truth)
    ]
    assert counts[0] == counts[1]


def test_timing_is_what_the_client_estimates(service, connect):
    sampler = connect(service)
    options = {"num_reads": 30, "annealing_time": 50.0}
    bqm = random_bqm(sampler)
    timing = resolved(sampler.sample(bqm, **options)).info["timing"]
    estimate = sampler.solver.estimate_qpu_access_time(len(bqm.variables), **options)
    assert timing["qpu_access_time"] == pytest.approx(estimate)
    per_read = ("anneal", "readout", "delay")
    sampling = 30 * sum(timing[f"qpu_{name}_time_per_sample"] for name in per_read)
    assert timing["qpu_access_time"] == pytest.approx(timing["qpu_programming_time"] + sampling)


def test_seed_decides_the_samples(connect):
    answers = []
    for seed in (0, 0, 1):
        with CloudService(shape=[2], seed=seed) as service:
            sampler = connect(service)
            bqm = random_bqm(sampler)
            answers += [rows(resolved(sampler.sample(bqm, num_reads=9)), bqm) for _ in range(2)]
    first, second, again, _, other, _ = answers
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second) and not np.array_equal(first, other)


def test_auto_scale_fills_the_ranges(connect):
    recorder = Recorder()
    with CloudService(shape=[2], sampler=recorder) as service:
        sampler = connect(service)
        (u, v), h = sampler.edgelist[0], 0.6
        resolved(sampler.sample_ising({u: h}, {(u, v): 0.5}))  # J is 1/2 of its largest
        resolved(sampler.sample_ising({u: h}, {(u, v): -0.5}))  # h is 0.15, J 1/4 of its least
        resolved(sampler.sample_qubo({(u, v): 2.0}))  # h is 1/2 each, J is 1/2
        resolved(sampler.sample_ising({u: h}, {(u, v): 0.5}, auto_scale=False))
    assert [bqm.linear[u] for bqm in recorder.problems] == pytest.approx([1.2, 2.4, 1.0, 0.6])
    assert [bqm.quadratic[u, v] for bqm in recorder.problems] == pytest.approx([1, -2, 1, 0.5])


def test_samples_follow_the_programmed_temperature(connect):
    options = {"sampler": SimulatedAnnealingSampler(), "sampler_options": gibbs_at(2.0)}
    with CloudService(shape=[2], **options) as service:
        sampler = connect(service)
        h = dict.fromkeys(sampler.nodelist, 0.3)
        answer = resolved(sampler.sample_ising(h, {}, num_reads=500, auto_scale=False))
    weights = answer.record.num_occurrences / 500
    mean = (weights @ answer.record.sample).mean()
    tolerance = 5 / np.sqrt(500 * len(h))
    assert abs(mean + np.tanh(0.6)) < tolerance
    assert abs(mean + np.tanh(0.8 * 0.6)) > tolerance


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"h": 300.0, "auto_scale": False}, r"h of 300.0 is out of range \[-4.0, 4.0\]"),
        ({"J": 1.5, "auto_scale": False}, "extended_j of 1.5"),
        ({"num_reads": 10**6}, "num_reads of 1000000"),
        ({"annealing_time": 1e4}, "annealing_time of 10000.0"),
        ({"annealing_time": 2000.0, "num_reads": 1000}, "problem_run_duration"),
        ({"anneal_schedule": [[t, t / 20] for t in range(21)]}, "anneal_schedule has 21 points"),
        ({"h": float("inf")}, "not finite"),
    ],
)
def test_refusals(service, connect, options, refusal):
    sampler = connect(service)
    u, v = sampler.edgelist[0]
    h, J = options.pop("h", 0.0), options.pop("J", 0.0)
    with pytest.raises(exceptions.SolverFailureError, match=refusal):
        resolved(sampler.sample_ising({u: h}, {(u, v): J}, **options))
    assert not service.problems


def test_twenty_problems_in_flight(connect):
    with CloudService(shape=[2], latency=0.1) as service:
        sampler = connect(service)
        bqms = [random_bqm(sampler, seed=k) for k in range(20)]
        answers = [sampler.sample(b, num_reads=5, label=f"{k}") for k, b in enumerate(bqms)]
        for k, (bqm, answer) in enumerate(zip(bqms, answers)):
            problem = service.problems[resolved(answer).info["problem_id"]]
            assert problem.label == f"{k}" and problem.linear == dict(bqm.linear)
            assert np.allclose(answer.record.energy, bqm.energies(answer))
        assert service.billed_jobs() == 20


def test_embedding_composite(connect):
    options = {"sampler": SimulatedAnnealingSampler(), "sampler_options": gibbs_at(20.0)}
    with CloudService(shape=[2], **options) as service:
        sampler = EmbeddingComposite(connect(service))
        bqm = dimod.BQM.from_ising({0: 0.5}, {(i, j): -1 for i in range(5) for j in range(i)})
        answer = resolved(
            within(
                DEADLINE,
                sampler.sample,
                bqm,
                num_reads=20,
                embedding_parameters={"random_seed": 1},
            )
        )
        assert set(answer.first.sample.values()) == {-1}
        assert answer.first.energy == pytest.approx(-10.5)


def test_answer_is_fetched_again_by_another_client(service, connect):
    sampler = connect(service)
    bqm = random_bqm(sampler)
    first = resolved(sampler.sample(bqm, num_reads=5, answer_mode="raw"))
    again = connect(service).client.retrieve_answer(first.info["problem_id"])
    again = within(DEADLINE, again.wait_sampleset)
    assert np.array_equal(rows(again, bqm), rows(first, bqm)) and service.billed_jobs() == 1


def test_low_level_client_lists_and_cancels(service):
    options = {"endpoint": service.endpoint, "token": service.token}
    service.fault("submit", "pending_forever")
    problem_id = submit(service, "mine").json()[0]["id"]
    with Problems.from_config(config_file=False, **options) as problems:
        [status] = within(DEADLINE, problems.list_problems, label="mine")
        assert status.id == problem_id and status.label == "mine"
        assert within(DEADLINE, problems.cancel_problem, problem_id).status == "CANCELLED"
        assert within(DEADLINE, problems.get_problem, problem_id).status == "CANCELLED"


def test_polling_with_backoff(connect):
    with CloudService(shape=[2], latency=0.1) as service:
        sampler = connect(service, poll_strategy="backoff")
        assert len(resolved(sampler.sample(random_bqm(sampler), num_reads=1))) == 1


def test_named_solver_and_unknown_one(service, connect):
    name = connect(service).solver.name
    assert connect(service, solver=name).solver.name == name
    with pytest.raises(exceptions.SolverNotFoundError):
        connect(service, solver="another")


def test_token_is_checked_all_along(service, connect):
    with pytest.raises(exceptions.SolverAuthenticationError):
        connect(service, token="wrong")
    sampler = connect(service)
    service.token = "revoked"
    with pytest.raises(exceptions.SolverAuthenticationError):
        resolved(sampler.sample(random_bqm(sampler)))
    assert service.requests[-1] == ("POST", "problems/", 401)


def test_solver_goes_offline(connect):
    with CloudService(shape=[2], latency=0.4) as service:
        sampler = connect(service)
        answer = sampler.sample(random_bqm(sampler))
        service.set_offline()
        with pytest.raises(exceptions.SolverOfflineError):
            resolved(answer)
        with pytest.raises(exceptions.SolverNotFoundError):
            connect(service)
        service.set_offline(False)
        assert connect(service).nodelist == sampler.nodelist
        assert service.billed_jobs() == 0


def test_chip_changes_under_the_user(service, connect):
    before = connect(service)
    broken = before.nodelist[4]
    service.remove_qubits([broken])
    with pytest.raises(exceptions.SolverFailureError, match="as it is now"):
        resolved(before.sample(random_bqm(before)))
    after = connect(service)
    assert set(before.nodelist) - set(after.nodelist) == {broken}
    assert all(broken not in edge for edge in after.edgelist)
    assert len(resolved(after.sample(random_bqm(after)))) == 1


def test_cancelled_by_the_user(connect):
    with CloudService(shape=[2], latency=5) as service:
        sampler = connect(service)
        future = sampler.solver.sample_bqm(random_bqm(sampler))
        problem_id = within(DEADLINE, future.wait_id)
        future.cancel()
        with pytest.raises(exceptions.CanceledFutureError):
            within(DEADLINE, future.result)
        assert service.problems[problem_id].status == "CANCELLED"
        assert service.billed_jobs() == 0


def test_process_of_its_own(connect):
    with CloudService(shape=[2], process=True) as service:
        sampler = connect(service)
        assert len(resolved(sampler.sample(random_bqm(sampler), num_reads=3))) == 3
        endpoint = service.endpoint
    with pytest.raises(requests.ConnectionError):
        requests.get(endpoint, timeout=1)


# Plain requests, where the client would hide what happens or hang.


def call(service, method, path, content=None, timeout=2, **options):
    headers = {"X-Auth-Token": service.token} | options.pop("headers", {})
    data = None if content is None else json.dumps(content)
    url = service.endpoint + path
    return requests.request(method, url, data=data, headers=headers, timeout=timeout, **options)


def job(service, label=None, **params):
    r"""A job of two spins, encoded by hand."""
    [solver] = call(service, "GET", "solvers/remote/").json()
    properties = solver["properties"]
    u, v = properties["couplers"][0]
    linear = np.array([{u: 0.5, v: -0.25}.get(q, np.nan) for q in properties["qubits"]], "<f8")
    text = [base64.b64encode(x.tobytes()).decode() for x in (linear, np.array([-1.0], "<f8"))]
    data = {"format": "qp", "lin": text[0], "quad": text[1], "offset": 0.0}
    content = {"solver": solver["identity"], "type": "ising", "data": data, "params": params}
    return content if label is None else content | {"label": label}


def submit(service, label=None, timeout=2, **params):
    return call(service, "POST", "problems/", [job(service, label, **params)], timeout)


def finished(service, problem_id):
    return call(service, "GET", f"problems/?id={problem_id}&timeout=2").json()[0]


def answer_of(service, **params):
    r"""The message, and its arrays, of a job that is run here and now."""
    [status] = submit(service, **params).json()
    assert finished(service, status["id"])["status"] == "COMPLETED"
    message = call(service, "GET", f"problems/{status['id']}/").json()
    types = {"active_variables": "<i4", "energies": "<f8", "num_occurrences": "<i4"}
    answer = message.get("answer", {})
    for name in types.keys() & answer.keys():
        answer[name] = np.frombuffer(base64.b64decode(answer[name]), types[name])
    return status["id"], answer


def request_of(service, step, label="x"):
    r"""Makes the request of one step."""
    [status] = submit(service, label).json()
    problem_id = status["id"]
    finished(service, problem_id)
    paths = {
        "metadata": ("GET", "solvers/remote/", None),
        "submit": ("POST", "problems/", [job(service)]),
        "poll": ("GET", f"problems/?id={problem_id}", None),
        "load": ("GET", f"problems/{problem_id}/", None),
        "cancel": ("DELETE", "problems/", [problem_id]),
        "list": ("GET", f"problems/?label={label}", None),
    }
    return lambda **options: call(service, *paths[step], **options)


def test_listing_by_label(service):
    ids = [submit(service, label).json()[0]["id"] for label in ("a", "b", "a", None)]
    listed = lambda query: [s["id"] for s in call(service, "GET", f"problems/?{query}").json()]
    assert listed("label=a") == [ids[2], ids[0]]
    assert listed("label=a&max_results=1") == [ids[2]]
    assert listed("label=c") == listed("label=a&solver=another") == []
    finished(service, ids[1])
    assert listed("label=b&status=COMPLETED") == [ids[1]] and listed("label=b&status=FAILED") == []
    status = call(service, "GET", "problems/?label=b").json()[0]
    assert status["label"] == "b" and status["solver"]["name"].endswith("mock")


def test_bodies_in_all_encodings(service):
    plain = json.dumps([job(service)]).encode()
    deflated, halves = zlib.compress(plain), (slice(100), slice(100, None))
    deflate = {"Content-Encoding": "deflate"}
    bodies = [(plain, {}), (deflated, deflate)]
    bodies += [([body[half] for half in halves], headers) for body, headers in bodies]
    connection = http.client.HTTPConnection(service.endpoint.split("/")[2], timeout=2)
    for body, headers in bodies:
        chunked = isinstance(body, list)
        headers = headers | {"X-Auth-Token": service.token}
        headers |= {"Transfer-Encoding": "chunked"} if chunked else {}
        connection.request("POST", "/sapi/v2/problems/", body, headers, encode_chunked=chunked)
        response = connection.getresponse()
        assert response.headers["Content-Type"] == POLL
        assert json.loads(response.read())[0]["status"] == "PENDING"
    connection.close()
    assert len(service.problems) == 4


def test_long_poll_waits_for_the_first(service):
    service.fault("submit", "slow", seconds=0.3)
    service.fault("submit", "pending_forever")
    slow, never = (submit(service).json()[0]["id"] for _ in range(2))
    statuses = call(service, "GET", f"problems/?id={never},{slow}&timeout=20").json()
    assert [s["status"] for s in statuses] == ["PENDING", "COMPLETED"]
    assert call(service, "GET", f"problems/?id={never}").json()[0]["status"] == "PENDING"


def test_unknown_problems_and_paths(service):
    for path in ("problems/nothing/", "problems/?id=nothing", "solvers/remote/nothing/", "else"):
        assert call(service, "GET", path).status_code == 404


def test_requests_are_logged(service):
    submit(service)
    assert service.requests == [("GET", "solvers/remote/", 200), ("POST", "problems/", 200)]


# Faults of the transport.


@pytest.mark.parametrize("step", STEPS)
def test_fault_strikes_its_step_only(service, step):
    requested = request_of(service, step)
    for other in set(STEPS) - {step}:
        service.fault(other, "status", code=500)
    service.fault(step, "status", times=2, after=1, code=503, retry_after=7)
    service.fault(step, "drop", after=1)
    replies = [requested() for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 503, 503]
    assert replies[1].headers["Retry-After"] == "7"
    assert replies[1].json()["error_code"] == 503
    with pytest.raises(requests.ConnectionError):
        requested()
    assert requested().ok
    service.fault(step, "drop", times=None)
    service.clear_faults()
    assert requested().ok


@pytest.mark.parametrize(
    ("kind", "cause"), [("drop", "RemoteDisconnected"), ("reset", "reset by peer")]
)
def test_broken_before_acceptance(service, kind, cause):
    service.fault("submit", kind)
    with pytest.raises(requests.ConnectionError, match=cause):
        submit(service)
    assert not service.problems and service.requests[-1] == ("POST", "problems/", None)


def test_dropped_after_acceptance(service):
    service.fault("submit", "accept_then_drop")
    with pytest.raises(requests.ConnectionError, match="RemoteDisconnected"):
        submit(service, label="orphan")
    [status] = call(service, "GET", "problems/?label=orphan").json()
    assert finished(service, status["id"])["status"] == "COMPLETED"
    assert service.billed_jobs() == 1


@pytest.mark.parametrize(("kind", "accepted"), [("stall", 0), ("accept_then_stall", 1)])
def test_stalled(kind, accepted):
    with CloudService(shape=[2]) as service:
        service.fault("submit", kind)
        with pytest.raises(requests.ReadTimeout):
            submit(service, timeout=0.2)
        assert len(service.problems) == accepted


def test_stall_of_given_length(service):
    service.fault("submit", "stall", seconds=0.2)
    with pytest.raises(requests.ConnectionError, match="RemoteDisconnected"):
        submit(service)
    service.fault("submit", "accept_then_stall", seconds=0.2)
    assert submit(service).ok and len(service.problems) == 1


def test_truncated(service):
    service.fault("submit", "truncate", missing=3)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="3 more expected"):
        submit(service)
    assert len(service.problems) == 1


def test_drip_is_slow_and_whole(service):
    requested = request_of(service, "load")
    whole = requested().content
    service.fault("load", "drip", pause=0.001)
    # The time limit of a read is for each byte, so it does not help here.
    assert 0.001 * len(whole) > 0.1
    assert requested(timeout=0.1).content == whole


def test_refused_connections(service, connect):
    sampler = connect(service)
    port = service.endpoint
    service.stop_listening()
    with pytest.raises(requests.ConnectionError, match="refused"):
        submit(service)
    with pytest.raises(exceptions.RequestTimeout):
        resolved(sampler.sample(random_bqm(sampler)))
    service.resume_listening()
    assert service.endpoint == port
    assert len(resolved(sampler.sample(random_bqm(sampler)))) == 1


def test_listening_stops_in_the_middle_of_a_poll(service):
    service.fault("submit", "pending_forever")
    problem_id = submit(service).json()[0]["id"]
    path = f"problems/?id={problem_id}&timeout=30"
    with pytest.raises(TimeoutError):
        within(0.2, call, service, "GET", path, timeout=30)
    within(10, service.stop_listening)


# Faults of statuses and the protocol.


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 502, 503, 504])
def test_status(service, code):
    service.fault("submit", "status", code=code)
    reply = submit(service)
    assert reply.status_code == code and "Retry-After" not in reply.headers
    assert not service.problems


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("not_json", b"<html>Bad gateway</html>"),
        ("empty_body", b""),
        ("null", b"null"),
        ("number", b"7"),
        ("empty_list", b"[]"),
        ("empty_object", b"{}"),
    ],
)
def test_other_bodies(service, kind, body):
    service.fault("submit", kind)
    reply = submit(service)
    assert reply.ok and reply.content == body and reply.headers["Content-Type"] == POLL
    assert len(service.problems) == 1


def test_other_content_types(service):
    service.fault("submit", "wrong_content_type")
    service.fault("submit", "no_content_type")
    assert submit(service).headers["Content-Type"] == "application/json"
    assert "Content-Type" not in submit(service).headers


def test_other_statuses(service):
    service.fault("submit", "no_status")
    service.fault("submit", "unknown_status")
    assert "status" not in submit(service).json()[0]
    assert submit(service).json()[0]["status"] == "SUPERPOSED"


def test_client_rejects_what_is_not_the_protocol(service, connect):
    sampler = connect(service)
    for kind in ("not_json", "empty_body", "wrong_content_type", "no_content_type", "no_status"):
        service.fault("submit", kind)
        with pytest.raises(exceptions.InvalidAPIResponseError):
            resolved(sampler.sample(random_bqm(sampler)))


# Faults of jobs.


@pytest.mark.parametrize(
    ("kind", "details", "status", "message"),
    [
        ("fail", {"message": "no power"}, "FAILED", "no power"),
        ("offline", {}, "FAILED", "Solver is offline"),
        ("cancel", {}, "CANCELLED", None),
    ],
)
def test_job_ends_badly(service, kind, details, status, message):
    service.fault("submit", kind, **details)
    problem_id = submit(service).json()[0]["id"]
    end = finished(service, problem_id)
    assert end["status"] == status and end.get("error_message") == message
    assert "answer" not in call(service, "GET", f"problems/{problem_id}/").json()
    with pytest.raises(ValueError, match="has no samples"):
        service.samples_of(problem_id)
    assert service.billed_jobs() == 0


def test_job_is_refused_among_others(service):
    service.fault("submit", "refuse", after=1, error_code=429, error_msg="too many")
    replies = call(service, "POST", "problems/", [job(service)] * 3).json()
    assert [reply.get("status") for reply in replies] == ["PENDING", None, "PENDING"]
    assert replies[1] == {"error_code": 429, "error_msg": "too many"}


def test_pending_forever_keeps_the_client_waiting(service, connect):
    service.fault("submit", "pending_forever")
    sampler = connect(service, polling_timeout=None)
    with pytest.raises(TimeoutError):
        within(0.3, sampler.sample(random_bqm(sampler)).resolve)


class Broken:
    parameters = ()

    def sample(self, bqm, **options):
        raise ValueError("broken")


def test_failure_of_the_sampler_is_told():
    with (
        pytest.raises(RuntimeError, match="the service itself"),
        CloudService(shape=[2], sampler=Broken()) as service,
    ):
        assert finished(service, submit(service).json()[0]["id"])["status"] == "FAILED"


# Faults of answers.


def spoiled(service, kind, **params):
    r"""The arrays of the samples that the QPU drew, and the answer that tells of them."""
    service.fault("load", kind)
    problem_id, answer = answer_of(service, num_reads=20, **params)
    return service.samples_of(problem_id), answer


def test_short_reads(service):
    _, answer = spoiled(service, "short_reads", answer_mode="raw")
    assert len(answer["energies"]) == len(base64.b64decode(answer["solutions"])) == 19
    _, answer = spoiled(service, "short_reads")
    assert answer["num_occurrences"].sum() < 20


def test_energies(service):
    truth, answer = spoiled(service, "nan_energies", answer_mode="raw")
    assert np.isnan(answer["energies"]).all()
    truth, answer = spoiled(service, "wrong_energies", answer_mode="raw")
    assert np.allclose(answer["energies"], truth.record.energy + 1)


def test_variables(service):
    truth, answer = spoiled(service, "shifted_labels")
    assert [v - 1 for v in answer["active_variables"]] == list(truth.variables)
    truth, answer = spoiled(service, "missing_variables", answer_mode="raw")
    assert answer["active_variables"].tolist() == list(truth.variables)[1:]
    bits = np.unpackbits(np.frombuffer(base64.b64decode(answer["solutions"]), "u1"))[::8]
    assert np.array_equal(2 * bits.astype(int) - 1, truth.record.sample[:, 1])
    truth, answer = spoiled(service, "extra_variables")
    assert len(answer["active_variables"]) == 3
    assert set(answer["active_variables"]) > set(truth.variables)


def test_encoding(service):
    honest = answer_of(service, num_reads=20, answer_mode="raw")[1]
    size = lambda answer: len(base64.b64decode(answer["solutions"]))
    raw = {"answer_mode": "raw"}
    assert size(spoiled(service, "truncated_solutions", **raw)[1]) == size(honest) - 1
    assert len(spoiled(service, "truncated_energies", **raw)[1]["energies"]) == 19
    with pytest.raises(ValueError, match="1 more than a multiple of 4"):
        size(spoiled(service, "bad_base64")[1])
    assert "num_occurrences" not in spoiled(service, "missing_num_occurrences")[1]
    assert spoiled(service, "wrong_num_variables")[1]["num_variables"] == 1
    assert "timing" not in spoiled(service, "no_timing")[1]
    assert spoiled(service, "null_timing")[1]["timing"] is None
    assert spoiled(service, "other_format")[1]["format"] != "qp" == honest["format"]
    assert spoiled(service, "no_answer")[1] == {}


def test_client_takes_wrong_answers_for_good_ones(service, connect):
    sampler = connect(service)
    h = dict.fromkeys(sampler.nodelist[:2], 1.0)
    service.fault("load", "shifted_labels")
    assert set(resolved(sampler.sample_ising(h, {})).variables) != set(h)
    service.fault("load", "missing_num_occurrences")
    assert resolved(sampler.sample_ising(h, {}, num_reads=99)).record.num_occurrences.sum() <= 4


# The tools themselves.


def test_faults_are_checked_when_planned(service):
    with pytest.raises(ValueError, match="step is 'submitt'"):
        service.fault("submitt", "drop")
    with pytest.raises(ValueError, match="kind is 'short_reads'"):
        service.fault("submit", "short_reads")
    with pytest.raises(TypeError, match="minutes"):
        service.fault("poll", "stall", minutes=1)


def test_within():
    assert within(1, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        within(1, divmod, 7, 0)
    with pytest.raises(TimeoutError, match="0.05 s"):
        within(0.05, time.sleep, 1)
