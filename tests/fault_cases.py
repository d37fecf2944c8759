r"""What can go wrong between the client and the service, and what must come of it, in a table.

Each case is run with the real client in front of the loopback service by `observe`, which compares
what came out with what the service knows.
"""

from __future__ import annotations

__all__ = ["CASES", "READS", "Case", "Observation", "native_model", "observe"]

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pytest
from cloud_chip import Problem, timing_of
from cloud_service import CloudService, scrub_environment, within
from models import random_ising

from qahm_torch import AnnealerError, AnnealerSampler, CouplingGraph, Ising, RetryPolicy, Samples
from qahm_torch.samplers.annealer import Chip, ReplaySampler

READS = 20
# A case that takes longer has hung.
DEADLINE = 15.0
# Beyond its deadline, a call may finish a request and cancel its problem.
SLACK = 2.0

Fault = tuple[str, str, dict[str, Any]]
Prepare = Callable[[CloudService, Any], object]


@dataclass(frozen=True)
class Case:
    r"""What is wrong, and what must come of it.

    Arguments:
        name: What is wrong, in words.
        outcome: "samples", or the name of the error.
        faults: What `CloudService.fault` is to plan.
        says: What the message has in it.
        billed: How many jobs run in the end.
        orphans: How many of them the service denies to know of.
        settings: Those of `RetryPolicy` that differ.
        options: Those of the service that differ.
        prepare: What is done to the service and the client before the call.
        opening: Whether the faults come when the device is opened; else it is open already.
        client: Options of the client that is opened, and its token.
    """

    name: str
    outcome: str = "samples"
    faults: tuple[Fault, ...] = ()
    says: str = ""
    billed: int = 1
    orphans: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Prepare = lambda service, device: None
    opening: bool = False
    client: dict[str, Any] = field(default_factory=dict)

    @property
    def policy(self) -> RetryPolicy:
        quick = {"timeout": 0.8, "request_timeout": 0.25, "retries": 2, "backoff": 0.01}
        return RetryPolicy(**{**quick, **self.settings})


class Observation(NamedTuple):
    r"""What came of a case."""

    samples: Samples | None
    error: BaseException | None
    seconds: float
    billed: int
    num_wrong: int  # of the samples that were accepted, those that the QPU did not draw
    cost: float  # the seconds of QPU time of the jobs that the service admits to
    booked: float  # the seconds of the ledger, after the call
    measured: float  # the seconds that are measured, after recovery
    unpaid: set[str]  # the problems that have run and are not in the archive after recovery
    num_wrong_archived: int  # of the reads in the archive, those that the QPU did not draw

    @property
    def outcome(self) -> str:
        return "samples" if self.error is None else type(self.error).__name__


def native_model(chip: Chip, num_spins: int = 8) -> Ising:
    r"""Returns a connected model that is named after qubits of the chip."""
    graph = nx.Graph(chip.couplers.tolist())
    qubits = list(nx.bfs_tree(graph, chip.qubits[0].item()))[:num_spins]
    return random_ising(CouplingGraph.from_networkx(graph.subgraph(qubits)))


def observe(case: Case, folder: Path) -> Observation:
    r"""Runs a case, and afterwards, without faults, recovers what was lost."""
    with pytest.MonkeyPatch.context() as patch, CloudService(**_options(case)) as service:
        scrub_environment(patch, folder)
        sampler = _sampler(case, service, patch, folder / "archive")
        if not case.opening:
            ising = native_model(within(DEADLINE, lambda: sampler.chip))
        else:
            ising = random_ising(CouplingGraph.complete(2))
        for step, kind, details in case.faults:
            service.fault(step, kind, **details)
        case.prepare(service, sampler.device)
        start = time.monotonic()
        samples, error = _outcome(sampler, ising)
        seconds = time.monotonic() - start
        booked = sampler.ledger.measured + sampler.ledger.unconfirmed
        service.clear_faults()
        service.resume_listening()
        if error is not None and service.problems:
            within(DEADLINE, sampler.recover)
        admitted = [p for p in service.problems.values() if p.billed][case.orphans :]
        kept, num_wrong_archived = _kept(folder / "archive", service)
        return Observation(
            samples,
            error,
            seconds,
            service.billed_jobs(),
            0 if samples is None else _num_wrong(samples, ising, service),
            sum(_cost(service, problem) for problem in admitted),
            booked,
            sampler.ledger.measured,
            {problem.id for problem in admitted} - kept,
            num_wrong_archived,
        )


def _options(case: Case) -> dict[str, Any]:
    return {"topology": "pegasus", "shape": [2], **case.options}


def _sampler(case: Case, service: CloudService, patch: Any, archive: Path) -> AnnealerSampler:
    from dwave.system import DWaveSampler

    settings = {"beta": 1.0, "num_gauges": 0, "policy": case.policy, "archive": archive}
    options = {**service.client_options(), "http_retry_total": 1, "request_timeout": 0.25}
    options = {**options, **case.client}
    if not case.opening:
        return AnnealerSampler(within(DEADLINE, DWaveSampler, **options), **settings)
    patch.setenv("DWAVE_API_TOKEN", options.pop("token"))
    spec = {"class_path": "dwave.system.DWaveSampler", "init_args": options}
    return AnnealerSampler(spec, **settings)


def _outcome(
    sampler: AnnealerSampler, ising: Ising
) -> tuple[Samples | None, BaseException | None]:
    try:
        return within(DEADLINE, sampler.sample, ising, READS), None
    except Exception as error:
        return None, error


def _num_wrong(samples: Samples, ising: Ising, service: CloudService) -> int:
    assert samples.info is not None
    (problem_id,) = samples.info["problem_ids"]
    truth = service.samples_of(problem_id)
    columns = [list(truth.variables).index(q) for q in ising.graph.labels]
    return int((truth.record.sample[:, columns] != samples.spins.numpy()).any(1).sum())


def _kept(archive: Path, service: CloudService) -> tuple[set[str], int]:
    r"""Returns the problems with an answer in the archive, and how many reads of it are wrong."""
    try:
        answers = list(ReplaySampler(archive))
    except ValueError:
        return set(), 0
    wrong = 0
    for answer in answers:
        truth = service.samples_of(answer.meta["problem_id"])
        columns = [list(truth.variables).index(q) for q in answer.job.qubits]
        wrong += int(np.any(truth.record.sample[:, columns] != answer.readout, axis=1).sum())
    return {answer.meta["problem_id"] for answer in answers}, wrong


def _cost(service: CloudService, problem: Problem) -> float:
    timing = timing_of(service.chip.properties, len(problem.terms.qubits), problem.params)
    return timing["qpu_access_time"] * 1e-6


# The table.

STEPS = ("submit", "poll", "load")
CREDENTIALS = "check them with `dwave ping`"


def _once(step: str, kind: str, **details: Any) -> Fault:
    return (step, kind, details)


def _ever(step: str, kind: str, **details: Any) -> Fault:
    return (step, kind, {"times": None, **details})


def _transport() -> list[Case]:
    # Whatever strikes a submission once it is accepted, the job is found by its label.
    harmless = {"accept_then_drop", "accept_then_stall", "truncate"}
    cases = []
    for kind in ("drop", "reset", "stall", "accept_then_drop", "accept_then_stall", "truncate"):
        longer = {"timeout": 2.5 if "stall" in kind else 0.8}
        for step in STEPS:
            cases.append(Case(f"{kind} at {step}", faults=(_once(step, kind),), settings=longer))
        cases += [
            Case(
                f"{kind} at {step} for ever",
                "DeadlineError",
                (_ever(step, kind),),
                "may still run: `recover` can fetch its answer",
            )
            for step in ("poll", "load")
        ]
        found = kind in harmless
        cases.append(
            Case(
                f"{kind} at submit for ever",
                "samples" if found else "ServiceError",
                (_ever("submit", kind),),
                "" if found else "could not be given the problem in 3 tries",
                billed=int(found),
                settings={"timeout": 2.5},
            )
        )
    for step in STEPS:
        cases.append(Case(f"drip at {step}", faults=(_once(step, "drip", pause=1e-5),)))
    endless = (_ever("load", "drip", pause=0.05),)
    return [*cases, Case("drip at load without end", "DeadlineError", endless, "TimeoutError")]


def _statuses() -> list[Case]:
    cases = []
    for step in STEPS:
        paid = int(step != "submit")
        for code in (401, 403):
            faults = (_ever(step, "status", code=code),)
            cases.append(
                Case(f"{code} at {step}", "CredentialsError", faults, CREDENTIALS, billed=paid)
            )
        for code in (429, 500, 502, 503, 504):
            once, ever = _once(step, "status", code=code), _ever(step, "status", code=code)
            outcome = "DeadlineError" if paid else "ServiceError"
            says = f"the service answered with status {code}"
            cases.append(Case(f"{code} at {step}", faults=(once,)))
            cases.append(
                Case(
                    f"{code} at {step} for ever",
                    outcome,
                    (ever,),
                    says,
                    paid,
                    settings={"timeout": 0.4},
                )
            )
        for code in (429, 503):
            wait = _once(step, "status", code=code, retry_after=0.1)
            cases.append(Case(f"{code} at {step} with Retry-After", faults=(wait,)))
        busy = (_ever(step, "status", code=503, retry_after=0),)
        cases.append(
            Case(f"503 at {step} for ever, Retry-After 0", outcome, busy, says="503", billed=paid)
        )
    patient = (_ever("submit", "status", code=503, retry_after=60),)
    return [
        *cases,
        Case("404 at submit", "RejectedError", (_ever("submit", "status", code=404),), "404", 0),
        *(Case(f"404 at {s}", faults=(_once(s, "status", code=404),)) for s in STEPS[1:]),
        *(
            Case(
                f"404 at {s} for ever",
                "ServiceError",
                (_ever(s, "status", code=404),),
                "does not know problem",
            )
            for s in STEPS[1:]
        ),
        Case("503 with Retry-After beyond the deadline", "DeadlineError", patient, "503", 0),
    ]


def _protocol() -> list[Case]:
    bodies = ["not_json", "empty_body", "null", "number", "empty_list", "empty_object"]
    kinds = [*bodies, "wrong_content_type", "no_content_type", "no_status", "unknown_status"]
    odd = {"no_status", "unknown_status"}
    at_poll = {k: "DeadlineError" for k in kinds} | dict.fromkeys(
        [*odd, "empty_list"], "ServiceError"
    )
    at_load = {k: "DeadlineError" for k in kinds} | {"empty_object": "AnswerError"}
    # An answer is an answer, whatever the status beside it.
    at_load |= dict.fromkeys(odd, "samples")
    ends = {"submit": dict.fromkeys(kinds, "samples"), "poll": at_poll, "load": at_load}
    cases = []
    for step in STEPS:
        for kind in kinds:
            cases.append(Case(f"{kind} at {step}", faults=(_once(step, kind),)))
            end = ends[step][kind]
            says = "" if end == "samples" else "recover"
            short = {"timeout": 0.4}
            ever = (_ever(step, kind),)
            cases.append(Case(f"{kind} at {step} for ever", end, ever, says, settings=short))
    return cases


def _jobs() -> list[Case]:
    never = _once("submit", "pending_forever")
    no_cancel = _ever("cancel", "status", code=500)
    busy = {"error_code": 429, "error_msg": "Too many"}
    return [
        Case("FAILED", "ProblemFailedError", (_once("submit", "fail"),), "be programmed", 0),
        Case("CANCELLED", "ProblemFailedError", (_once("submit", "cancel"),), "cancelled", 0),
        Case("offline", "DeviceOfflineError", (_once("submit", "offline"),), "went offline", 0),
        Case("refused job", "RejectedError", (_once("submit", "refuse"),), "not run; change", 0),
        Case("job refused for now", faults=(_once("submit", "refuse", **busy),)),
        Case("job refused", "ServiceError", (_ever("submit", "refuse", **busy),), "429", 0),
        Case("pending for ever", "DeadlineError", (never,), "was cancelled", 0),
        Case("pending, no cancelling", "DeadlineError", (never, no_cancel), "may still run", 0),
        Case("slow", faults=(_once("submit", "slow", seconds=0.3),)),
        Case("too slow", "DeadlineError", (_once("submit", "slow", seconds=9),), "cancelled", 0),
    ]


def _answers() -> list[Case]:
    damages = ["short_reads", "nan_energies", "wrong_energies", "shifted_labels", "no_answer"]
    damages += ["missing_variables", "extra_variables", "truncated_solutions", "bad_base64"]
    damages += ["truncated_energies", "other_format"]
    harmless = ["missing_num_occurrences", "wrong_num_variables", "no_timing", "null_timing"]
    odd_times = [7, "soon", {"qpu_access_time": float("nan")}, {"qpu_access_time": -5}]
    return [
        *(Case(f"{kind} in an answer", faults=(_once("load", kind),)) for kind in damages),
        *(
            Case(f"{kind} in all answers", "AnswerError", (_ever("load", kind),), "recover")
            for kind in damages
        ),
        *(Case(f"{kind} in all answers", faults=(_ever("load", kind),)) for kind in harmless),
        *(
            Case(f"timing of {time}", faults=(_ever("load", "null_timing", timing=time),))
            for time in odd_times
        ),
    ]


def _listings() -> list[Case]:
    lost = _once("submit", "accept_then_drop")
    unknown = "was not submitted again; `recover` looks for it later"
    ends = {
        "fails": _ever("list", "status", code=500),
        "refuses the filter": _ever("list", "status", code=400),
        "wants other credentials": _ever("list", "status", code=401),
        "is no list": _ever("list", "null"),
        "stalls": _ever("list", "stall"),
    }
    return [
        *(
            Case(f"lost submission, listing {name}", "SubmissionUnknownError", (lost, f), unknown)
            for name, f in ends.items()
        ),
        Case("lost submission, listing fails", faults=(lost, _once("list", "status", code=500))),
        Case("lost submission, listing drops", faults=(lost, _once("list", "drop"))),
        Case(
            "lost submission, unknown to the service",
            faults=(lost, _ever("list", "empty_list")),
            billed=2,
            orphans=1,
        ),
    ]


def _opening() -> list[Case]:
    def case(name: str, outcome: str, *faults: Fault, says: str = "", **more: Any) -> Case:
        return Case(f"opening: {name}", outcome, faults, says, 0, opening=True, **more)

    status = lambda code: _ever("metadata", "status", code=code)
    offline, credentials = "DeviceOfflineError", "CredentialsError"
    return [
        *(case(f"{c}", credentials, status(c), says="does not accept") for c in (401, 403)),
        *(case(f"{c}", "ServiceError", status(c), says=f"status {c}") for c in (429, 500, 503)),
        case("404", offline, status(404)),
        case("dropped", offline, _ever("metadata", "drop"), says="cannot be reached"),
        case("stalled", offline, _ever("metadata", "stall"), says="cannot be reached"),
        case("no solver", offline, _ever("metadata", "empty_list"), says="no solver online"),
        case("not JSON", "AnnealerError", _ever("metadata", "not_json")),
        case("refused", offline, says="reached", prepare=lambda s, _: s.stop_listening()),
        case("offline", offline, says="no solver online", prepare=lambda s, _: s.set_offline()),
        case("other solver", offline, says="no solver online", client={"solver": "another"}),
        case("wrong token", credentials, says="does not accept", client={"token": "wrong"}),
        case("empty token", credentials, says="put the credentials", client={"token": ""}),
        case("line break", credentials, says="end with a line break", client={"token": "a\n"}),
        case("endless", "DeadlineError", _ever("metadata", "drip", pause=0.05), says="not opened"),
    ]


def _around() -> list[Case]:
    down = "lost connection"
    return [
        Case(f"{down} before", "DeviceOfflineError", (), "given", 0, prepare=_go_down),
        Case(f"{down} before, for a while", prepare=_go_down_for(0.1), settings={"retries": 9}),
        Case(
            f"{down} after submission, for a while",
            settings={"timeout": 3.0},
            options={"latency": 0.3},
            prepare=lambda s, d: threading.Timer(0.1, _go_down_for(0.4), [s, d]).start(),
        ),
        Case(
            f"{down} after submission",
            "DeadlineError",
            says="may still run",
            options={"latency": 0.3},
            prepare=lambda s, d: threading.Timer(0.1, s.stop_listening).start(),
        ),
        Case("closed client", prepare=lambda s, d: d.client.close(wait=False)),
        Case("client with dead submission threads", prepare=_kill_threads, billed=6, orphans=5),
        Case("chip lost qubits", "RejectedError", (), "open the device anew", 0, prepare=_break),
    ]


def _go_down(service: CloudService, device: Any) -> None:
    service.stop_listening()


def _go_down_for(seconds: float) -> Prepare:
    def prepare(service: CloudService, device: Any) -> None:
        service.stop_listening()
        threading.Timer(seconds, service.resume_listening).start()

    return prepare


def _kill_threads(service: CloudService, device: Any) -> None:
    # An answer of null kills one of the client's five submission threads.
    service.fault("submit", "null", times=5)
    for _ in range(5):
        device.sample_ising({device.nodelist[0]: 1.0}, {}, num_reads=1)
        time.sleep(0.05)


def _break(service: CloudService, device: Any) -> None:
    service.remove_qubits(service.chip.qubits[:1].tolist())


CASES = [
    *_transport(),
    *_statuses(),
    *_protocol(),
    *_jobs(),
    *_answers(),
    *_listings(),
    *_opening(),
    *_around(),
]
