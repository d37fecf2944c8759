r"""A D-Wave cloud service on the loopback address, for the real client to talk to.

It speaks the protocol as far as QPU problems go, bills the jobs that it runs, and fails on demand
(`CloudService.fault`). Nothing in it knows of the client: it reads and writes bytes.
"""

from __future__ import annotations

__all__ = [
    "CloudService",
    "Exchange",
    "Reply",
    "gibbs_at",
    "scrub_environment",
    "within",
]

import contextlib
import itertools
import json
import multiprocessing
import os
import socket
import sys
import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import dimod
import numpy as np
from cloud_chip import (
    Answer,
    Chip,
    Problem,
    as_ising,
    check_params,
    check_ranges,
    decode,
    encode,
    energies_of,
    filtered,
    histogram_of,
    now,
    programmed,
    rows_of,
    timing_of,
    values_of,
)
from cloud_faults import (
    ANSWER_FAULTS,
    EXCHANGE_FAULTS,
    JOB_FAULTS,
    MESSAGE_FAULTS,
    FaultPlan,
)
from numpy import ndarray

T = TypeVar("T")

PREFIX = "/sapi/v2/"
LONGEST_POLL = 30.0  # seconds
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")


# For the tests around the service.


def within(seconds: float, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    r"""Returns what the function returns, in a thread that is abandoned when time is up.

    Raises:
        TimeoutError: If the function takes longer. Its own errors come through as they are.
    """
    outcome: list[tuple[bool, Any]] = []

    def target() -> None:
        try:
            outcome.append((True, function(*args, **kwargs)))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no result within {seconds} s")
    succeeded, result = outcome[0]
    if succeeded:
        return result
    raise result


def scrub_environment(monkeypatch: Any, cache_home: Any) -> None:
    r"""Takes away the user's settings, credentials, proxies and caches."""
    for name in list(os.environ):
        if name.upper().startswith("DWAVE_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(cache_home))


def gibbs_at(beta: float, num_sweeps: int = 64) -> dict[str, Any]:
    r"""Returns options of `SimulatedAnnealingSampler` that draw at one inverse temperature."""
    return {
        "beta_range": [beta, beta],
        "num_sweeps": num_sweeps,
        "proposal_acceptance_criteria": "Gibbs",
        "randomize_order": True,
    }


# What passes through the service.


class Reply(NamedTuple):
    r"""An answer to a request."""

    body: bytes
    content_type: str | None
    code: int = 200
    headers: Mapping[str, str] = {}


class CloudService:
    r"""A cloud service with one QPU.

    Arguments:
        topology: "chimera", "pegasus" or "zephyr".
        shape: Its sizes.
        missing_qubits: Names of qubits that do not work, or how many of them (chosen by `seed`).
        sampler: "random" for random bits, or a `dimod.Sampler` that gets the programmed problem,
            rescaled where `auto_scale` says so.
        sampler_options: Further keywords of its `sample`, such as `gibbs_at(beta)`.
        latency: The time from a submission until the job has run, in seconds.
        token: What clients have to send.
        properties: Properties of the solver that differ from the usual ones.
        seed: Decides the random bits, and the samples where the sampler takes a seed: the k-th job
            has the same samples in each service of this seed.
        process: Whether to serve from a process of its own. Nothing but `endpoint`, `token` and
            `client_options` is of use then.

    Raises:
        ValueError: If there is no such topology.
        RuntimeError: On leaving, if the service has failed in ways that were not asked for.

    Example:
        >>> with CloudService(shape=[2]) as service:
        ...     service.endpoint.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        topology: str = "pegasus",
        shape: Sequence[int] = (4,),
        *,
        missing_qubits: int | Collection[int] = (),
        sampler: Any = "random",
        sampler_options: Mapping[str, Any] = {},
        latency: float = 0.0,
        token: str = "TEST-loopback-token",
        properties: Mapping[str, Any] = {},
        seed: int = 0,
        process: bool = False,
    ):
        self._options = {k: v for k, v in locals().items() if k not in ("self", "process")}
        self._elsewhere = process
        self.token, self.latency, self.seed = token, latency, seed
        self.chip = Chip.build(topology, shape, missing_qubits, properties, seed)
        self.online = True
        self.requests: list[tuple[str, str, int | None]] = []
        self.problems: dict[str, Problem] = {}
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self.changed = threading.Condition()
        self.faults = FaultPlan()
        self._sampler, self._sampler_options = sampler, dict(sampler_options)
        self._server: _Server | None = None
        self._port = 0
        self._count = itertools.count()
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> CloudService:
        if self._elsewhere:
            self._start_process()
        else:
            self.resume_listening()
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        if self._elsewhere:
            self._stop_process()
            return
        self.closing.set()
        self.stop_listening()
        for timer in self._timers:
            timer.cancel()
        if self.errors:
            # What the test itself failed at, if anything, is not to be hidden by this.
            message = f"the service itself has failed: {self.errors[0]!r}"
            raise RuntimeError(message) from failure or self.errors[0]

    # What a test asks.

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}{PREFIX}"

    def client_options(self) -> dict[str, Any]:
        r"""Returns keywords for `DWaveSampler` that keep it to this service and in a hurry."""
        return {
            "endpoint": self.endpoint,
            "token": self.token,
            "config_file": False,
            "cache_enabled": False,
            "request_timeout": 5,
            "poll_wait_time": 1,
            "polling_timeout": 20,
            "http_retry_total": 2,
        }

    def billed_jobs(self) -> int:
        return sum(problem.billed for problem in list(self.problems.values()))

    def samples_of(self, problem_id: str) -> dimod.SampleSet:
        r"""Returns what the QPU drew, one row per read in the order of time, without offset."""
        problem = self.problems[problem_id]
        if problem.bits is None:
            raise ValueError(f"problem {problem_id} is {problem.status} and has no samples")
        values = values_of(problem.type, problem.bits)
        return dimod.SampleSet.from_samples(
            (values, problem.terms.qubits.tolist()),
            energy=energies_of(problem.terms, values),
            vartype="SPIN" if problem.type == "ising" else "BINARY",
        )

    # What a test does to it.

    def fault(
        self, step: str, kind: str, times: int | None = 1, after: int = 0, **details: Any
    ) -> None:
        r"""Plans a fault of the coming requests, jobs or answers; see `cloud_faults`.

        Arguments:
            step: "metadata", "submit", "poll", "load", "cancel" or "list".
            kind: The name of the fault.
            times: How often it strikes; None for ever.
            after: How many times it lets pass first. Where several faults are due, the one that
                was planned first strikes, and the others do not count that time.
            details: Keywords of the fault's function.
        """
        self.faults.add(step, kind, times, after, details)

    def clear_faults(self) -> None:
        self.faults.clear()

    def set_offline(self, offline: bool = True) -> None:
        r"""Takes the solver offline, or back: jobs that would run meanwhile fail."""
        self.online = not offline

    def remove_qubits(self, qubits: Collection[int]) -> None:
        r"""Breaks qubits. The working graph has a new id, and jobs for the old one are refused."""
        self.chip = self.chip.without(qubits)

    def replace_chip(self, topology: str, shape: Sequence[int]) -> None:
        r"""Takes the solver away and has another one, which is online."""
        self.chip = Chip.build(topology, shape, (), {}, self.seed)

    def stop_listening(self) -> None:
        r"""Breaks all connections and refuses new ones."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            with self.changed:
                self.changed.notify_all()

    def resume_listening(self) -> None:
        r"""Listens again, on the same port."""
        if self._server is None:
            self._server = _Server(self, self._port)
            self._port = self._server.server_port

    # The steps of the protocol. Each returns the content of its answer.

    def on_metadata(self, exchange: Exchange) -> Any:
        solver = self.chip.definition | {"status": "ONLINE" if self.online else "OFFLINE"}
        name = exchange.route[len("solvers/remote/") :].strip("/")
        if name not in ("", self.chip.name):
            raise _NotFoundError(f"there is no solver {name!r}")
        shown = filtered(solver, exchange.query.get("filter", "all"))
        return shown if name else [shown]

    def on_submit(self, exchange: Exchange) -> Any:
        jobs = exchange.json()
        if isinstance(jobs, dict):
            return self._accept(jobs)
        return [self._accept(job) for job in jobs]

    def on_poll(self, exchange: Exchange) -> list[dict[str, Any]]:
        problems = [self._find(problem_id) for problem_id in exchange.query["id"].split(",")]
        patience = min(float(exchange.query.get("timeout", 0)), LONGEST_POLL)
        with self.changed:
            self.changed.wait_for(
                lambda: self._server is None or any(p.status in TERMINAL for p in problems),
                patience,
            )
            return [problem.status_object() for problem in problems]

    def on_list(self, exchange: Exchange) -> list[dict[str, Any]]:
        statuses = [problem.status_object() for problem in reversed(list(self.problems.values()))]
        for name in {"label", "status"} & set(exchange.query):
            statuses = [s for s in statuses if s.get(name) == exchange.query[name]]
        if "solver" in exchange.query:
            statuses = [s for s in statuses if s["solver"]["name"] == exchange.query["solver"]]
        return statuses[: int(exchange.query.get("max_results", 1000))]

    def on_load(self, exchange: Exchange) -> dict[str, Any]:
        problem = self._find(exchange.route.split("/")[1])
        if problem.status != "COMPLETED" or problem.bits is None:
            return problem.status_object()
        answer = self._answer(problem, problem.bits)
        answer = self.faults.take("load", ANSWER_FAULTS, _as_it_is)(answer)
        message = self.faults.take("load", MESSAGE_FAULTS, _as_it_is)(encode(answer))
        return problem.status_object() | ({} if message is None else {"answer": message})

    def on_cancel(self, exchange: Exchange) -> Any:
        problem_id = exchange.route.split("/")[1]
        problems = [self._find(i) for i in ([problem_id] if problem_id else exchange.json())]
        with self.changed:
            for problem in problems:
                if problem.status == "PENDING":
                    problem.status = "CANCELLED"
            self.changed.notify_all()
        statuses = [problem.status_object() for problem in problems]
        return statuses[0] if problem_id else statuses

    # The life of a job.

    def _accept(self, job: dict[str, Any]) -> dict[str, Any]:
        try:
            problem = self._read(job)
        except ValueError as error:
            return {"error_code": 400, "error_msg": str(error)}
        self.faults.take("submit", JOB_FAULTS, _as_it_is)(problem)
        if problem.refusal is not None:
            return problem.refusal
        self.problems[problem.id] = problem
        status = problem.status_object()
        if problem.delay is not None:
            self._schedule(problem, problem.delay)
        return status

    def _read(self, job: dict[str, Any]) -> Problem:
        if job["solver"] != self.chip.definition["identity"]:
            raise ValueError(f"{job['solver']} is not the solver {self.chip.name} as it is now")
        terms = decode(self.chip, job["data"])
        check_params(self.chip.properties, job["params"])
        if not job["params"].get("auto_scale", True):
            check_ranges(self.chip.properties, as_ising(job["type"], terms))
        return Problem(
            id=str(uuid.uuid4()),
            type=job["type"],
            label=job.get("label"),
            solver=job["solver"],
            params=job["params"],
            terms=terms,
            seed=(self.seed, next(self._count)),
            delay=self.latency,
        )

    def _schedule(self, problem: Problem, delay: float) -> None:
        timer = threading.Timer(delay, self._run, [problem])
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _run(self, problem: Problem) -> None:
        with self.changed:
            if problem.status != "PENDING" or self.closing.is_set():
                return
            problem.status = "IN_PROGRESS"
        if not self.online:
            problem.outcome, problem.error_message = "FAILED", "Solver is offline"
        if problem.outcome == "COMPLETED":
            self._draw(problem)
        with self.changed:
            problem.solved_on = now()
            problem.status = problem.outcome
            self.changed.notify_all()

    def _draw(self, problem: Problem) -> None:
        try:
            problem.bits = self._bits(problem)
            problem.billed = True
        except Exception as error:
            self.errors.append(error)
            problem.outcome, problem.error_message = "FAILED", repr(error)

    def _bits(self, problem: Problem) -> ndarray:
        rng = np.random.default_rng(problem.seed)
        if self._sampler == "random":
            size = (problem.num_reads, len(problem.terms.qubits))
            return rng.integers(0, 2, size, dtype=np.uint8)
        options = {"num_reads": problem.num_reads} | self._sampler_options
        if "seed" in self._sampler.parameters:
            options.setdefault("seed", int(rng.integers(2**31)))
        bqm = programmed(self.chip.properties, problem)
        return rows_of(self._sampler.sample(bqm, **options), problem.terms.qubits.tolist())

    def _answer(self, problem: Problem, bits: ndarray) -> Answer:
        occurrences = None
        if problem.params.get("answer_mode", "histogram") == "histogram":
            bits, occurrences = histogram_of(bits)
        energies = energies_of(problem.terms, values_of(problem.type, bits))
        if occurrences is not None:
            order = np.argsort(energies, kind="stable")
            bits, energies, occurrences = bits[order], energies[order], occurrences[order]
        num_variables = self.chip.properties["num_qubits"]
        timing = timing_of(self.chip.properties, len(problem.terms.qubits), problem.params)
        return Answer(problem.terms.qubits, bits, energies, occurrences, num_variables, timing)

    def _find(self, problem_id: str) -> Problem:
        if problem_id not in self.problems:
            raise _NotFoundError(f"there is no problem {problem_id!r}")
        return self.problems[problem_id]

    # A process of its own.

    def _start_process(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._options), daemon=True)
        self._process.start()
        theirs.close()
        self._port = self._pipe.recv()

    def _stop_process(self) -> None:
        self._pipe.close()
        self._process.join(10)


def _serve(pipe: Any, options: dict[str, Any]) -> None:
    with CloudService(**options) as service, contextlib.suppress(EOFError):
        pipe.send(urlsplit(service.endpoint).port)
        pipe.recv()


# HTTP.


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, service: CloudService, port: int):
        super().__init__(("127.0.0.1", port), Exchange)
        self.service = service
        self.open_sockets: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
        for open_socket in list(self.open_sockets):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open_sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open_sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client that has gone away is no fault of the service.
        if error is not None and not isinstance(error, ConnectionError):
            self.service.errors.append(error)


class Exchange(BaseHTTPRequestHandler):
    r"""One request and its answer, which is what faults of the transport work on."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def exchange(self) -> None:
        self.service = self.server.service
        self.closing = self.service.closing
        self.body = self._read_body()
        parts = urlsplit(self.path)
        self.route = parts.path.removeprefix(PREFIX)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.step = _step(self.command, self.route, self.query)
        self._log(None)
        honest: Callable[[Exchange], None] = lambda exchange: exchange.send(exchange.process())
        self.service.faults.take(self.step, EXCHANGE_FAULTS, honest)(self)

    do_GET = do_POST = do_DELETE = exchange  # noqa: N815

    def process(self) -> Reply:
        r"""Does what the request asks."""
        if self.headers.get("X-Auth-Token") != self.service.token:
            return self.error(401, "Invalid token or access denied")
        if self.step == "unknown":
            return self.error(404, f"there is no {self.command} {self.path}")
        try:
            content = getattr(self.service, f"on_{self.step}")(self)
        except _NotFoundError as error:
            return self.error(404, str(error))
        return Reply(json.dumps(content).encode(), _content_type(self.step, content))

    def error(self, code: int, message: str) -> Reply:
        body = json.dumps({"error_code": code, "error_msg": message}).encode()
        return Reply(body, "application/json", code)

    def send(self, reply: Reply) -> None:
        self.send_head(reply)
        self.wfile.write(reply.body)

    def send_head(self, reply: Reply) -> None:
        self._log(reply.code)
        self.send_response(reply.code)
        if reply.content_type is not None:
            self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()

    def json(self) -> Any:
        return json.loads(self.body)

    def log_message(self, *_: object) -> None:
        pass

    def _log(self, code: int | None) -> None:
        entry = (self.command, self.path.removeprefix(PREFIX), code)
        if code is None:
            with self.service.changed:
                self.number = len(self.service.requests)
                self.service.requests.append(entry)
        else:
            self.service.requests[self.number] = entry

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(iter(self._read_chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return zlib.decompress(body) if self.headers.get("Content-Encoding") == "deflate" else body

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk


class _NotFoundError(Exception):
    pass


def _step(method: str, route: str, query: Mapping[str, str]) -> str:
    if route.startswith("solvers/remote/"):
        return "metadata"
    if not route.startswith("problems/"):
        return "unknown"
    if method != "GET":
        return {"POST": "submit", "DELETE": "cancel"}[method]
    if route != "problems/":
        return "load"
    return "poll" if "id" in query else "list"


def _content_type(step: str, content: Any) -> str:
    one = "solver-definition" if step == "metadata" else "problem"
    many = "solver-definition-list" if step == "metadata" else "problems"
    # A submission of one job is answered as one of many are.
    media = many if isinstance(content, list) or step == "submit" else one
    return f"application/vnd.dwave.sapi.{media}+json; version=3.0.0"


def _as_it_is(value: T) -> T:
    return value
