r"""What can go wrong between the client and the service, and what must come of it, in a table.

The cases are run with the real client in front of the loopback service (`fault_runs.observe`).
"""

from __future__ import annotations

__all__ = ["CASES"]

import threading
import time
from typing import Any

from cloud_service import CloudService
from fault_answers import ANSWERS
from fault_runs import TOKEN, Case, Fault, Prepare, ever, once
from fault_submission import SUBMISSIONS

STEPS = ("submit", "poll", "load")
# For what ends with the deadline.
SHORT = {"timeout": 0.4, "request_timeout": 0.2}
FOR_NOW = (429, 500, 502, 503, 504)
LEFT = "may still run: `recover` can fetch its answer"
CREDENTIALS = "check them with `dwave ping`"


def _transport() -> list[Case]:
    kinds = ("drop", "reset", "stall", "accept_then_drop", "accept_then_stall", "truncate")
    drips = [Case(f"drip at {s}", faults=(once(s, "drip", pause=1e-5),)) for s in STEPS]
    return [
        *(case for kind in kinds for case in _broken(kind)),
        *drips,
        *(case for kind in ("drip_head", "drip_status", "drip_body") for case in _dripping(kind)),
        Case(
            "drip at load without end",
            "DeadlineError",
            (ever("load", "drip", pause=0.05),),
            LEFT,
            settings=SHORT,
        ),
        *(Case(f"packed at {s}", faults=(ever(s, "packed"),)) for s in STEPS),
        Case("bomb at load", faults=(once("load", "bomb", num_bytes=2**25),)),
        Case(
            "bomb at load for ever",
            "ServiceError",
            (ever("load", "bomb", num_bytes=2**25, coding="deflate"),),
            "bytes",
        ),
    ]


def _broken(kind: str) -> list[Case]:
    patient = {"timeout": 2.0, "request_timeout": 0.2 if "stall" in kind else 0.6}
    return [
        *(Case(f"{kind} at {s}", faults=(once(s, kind),), settings=patient) for s in STEPS[1:]),
        *_without_end(kind),
    ]


def _dripping(kind: str) -> list[Case]:
    # What drips is cut after the time of a request, and asked for again.
    patient = {"timeout": 4.0, "request_timeout": 0.2}
    return [
        Case(f"{kind} at poll", faults=(once("poll", kind),), settings=patient),
        Case(f"{kind} at load", faults=(once("load", kind),), settings=patient),
        *_without_end(kind),
    ]


def _without_end(kind: str) -> list[Case]:
    return [
        Case(f"{kind} at {s} for ever", "DeadlineError", (ever(s, kind),), LEFT, settings=SHORT)
        for s in STEPS[1:]
    ]


def _statuses() -> list[Case]:
    cases = [case for step in STEPS for case in _statuses_at(step)]
    patient = (ever("submit", "status", code=503, retry_after=60),)
    return [
        *cases,
        Case(
            "503 with Retry-After beyond the deadline",
            "DeadlineError",
            patient,
            "503",
            billed=0,
            settings=SHORT,
        ),
        Case("404 at submit", "RejectedError", (ever("submit", "status", code=404),), "404", 0),
        *(Case(f"404 at {s}", faults=(once(s, "status", code=404),)) for s in STEPS[1:]),
        *(
            Case(
                f"404 at {s} for ever", "ServiceError", (ever(s, "status", code=404),), "not know"
            )
            for s in STEPS[1:]
        ),
    ]


def _statuses_at(step: str) -> list[Case]:
    # A problem that has been accepted is waited for until the deadline. Of one that is submitted,
    # only the service itself can say that it was not.
    paid, codes = int(step != "submit"), FOR_NOW if step != "submit" else (429, 503)
    end, settings = ("DeadlineError", SHORT) if paid else ("ServiceError", {})

    def first(code: int, **details: float) -> tuple[Fault, ...]:
        return (once(step, "status", code=code, **details),)

    def always(code: int, **details: float) -> tuple[Fault, ...]:
        return (ever(step, "status", code=code, **details),)

    def lasting(code: int, name: str = "", **details: float) -> Case:
        name = f"{code} at {step} for ever{name}"
        says = f"the service answered with status {code}"
        return Case(name, end, always(code, **details), says, paid, settings=settings)

    return [
        *(
            Case(f"{code} at {step}", "CredentialsError", always(code), CREDENTIALS, paid)
            for code in (401, 403)
        ),
        *(Case(f"{code} at {step}", faults=first(code)) for code in codes),
        *(lasting(code) for code in codes),
        lasting(503, ", Retry-After 0", retry_after=0),
        *(
            Case(f"{code} at {step}, Retry-After", faults=first(code, retry_after=0.1))
            for code in (429, 503)
        ),
    ]


def _protocol() -> list[Case]:
    bodies = ["not_json", "empty_body", "null", "number", "empty_list", "empty_object"]
    kinds = [*bodies, "wrong_content_type", "no_content_type", "no_status", "unknown_status"]
    odd = {"no_status", "unknown_status"}
    at_poll = dict.fromkeys(kinds, "DeadlineError")
    at_poll |= dict.fromkeys([*odd, "empty_list"], "ServiceError")
    # An answer is an answer, whatever the status beside it.
    at_load = dict.fromkeys(kinds, "DeadlineError") | dict.fromkeys(odd, "samples")
    at_load |= {"empty_object": "AnswerError"}
    ends = {"submit": dict.fromkeys(kinds, "samples"), "poll": at_poll, "load": at_load}
    cases = []
    for step in STEPS:
        for kind in kinds:
            cases.append(Case(f"{kind} at {step}", faults=(once(step, kind),)))
            end = ends[step][kind]
            says = "" if end == "samples" else "recover"
            settings = {} if step == "submit" or end == "samples" else SHORT
            always = (ever(step, kind),)
            cases.append(Case(f"{kind} at {step} for ever", end, always, says, settings=settings))
    return cases


def _jobs() -> list[Case]:
    def late(name: str, says: str, *faults: Fault) -> Case:
        return Case(name, "DeadlineError", faults, says, 0, settings=SHORT)

    never = once("submit", "pending_forever")
    no_cancel = ever("cancel", "status", code=500)
    busy = {"error_code": 429, "error_msg": "Too many"}
    return [
        Case("FAILED", "ProblemFailedError", (once("submit", "fail"),), "be programmed", 0),
        Case("CANCELLED", "ProblemFailedError", (once("submit", "cancel"),), "cancelled", 0),
        Case("offline", "DeviceOfflineError", (once("submit", "offline"),), "went offline", 0),
        Case("refused job", "RejectedError", (once("submit", "refuse"),), "not run; change", 0),
        Case("job refused for now", faults=(once("submit", "refuse", **busy),)),
        Case("job refused", "ServiceError", (ever("submit", "refuse", **busy),), "429", 0),
        late("pending for ever", "was cancelled", never),
        late("pending for ever, cancelling fails", "may still run", never, no_cancel),
        Case("slow", faults=(once("submit", "slow", seconds=0.3),)),
        late("too slow", "was cancelled", once("submit", "slow", seconds=9)),
    ]


def _answers() -> list[Case]:
    damages = ["short_reads", "nan_energies", "wrong_energies", "shifted_labels", "no_answer"]
    damages += ["missing_variables", "extra_variables", "truncated_solutions", "bad_base64"]
    damages += ["truncated_energies", "other_format"]
    harmless = ["missing_num_occurrences", "wrong_num_variables", "no_timing", "null_timing"]
    odd_times = [7, "soon", {"qpu_access_time": float("nan")}, {"qpu_access_time": -5}]
    return [
        *(Case(f"{kind} in an answer", faults=(once("load", kind),)) for kind in damages),
        *(
            Case(f"{kind} in all answers", "AnswerError", (ever("load", kind),), "recover")
            for kind in damages
        ),
        *(Case(f"{kind} in all answers", faults=(ever("load", kind),)) for kind in harmless),
        *(
            Case(f"timing of {time}", faults=(ever("load", "null_timing", timing=time),))
            for time in odd_times
        ),
    ]


def _opening() -> list[Case]:
    def case(name: str, outcome: str, *faults: Fault, says: str = "", **more: Any) -> Case:
        return Case(f"opening: {name}", outcome, faults, says, 0, opening=True, **more)

    status = lambda code: ever("metadata", "status", code=code)
    offline, credentials = "DeviceOfflineError", "CredentialsError"
    return [
        *(case(f"{c}", credentials, status(c), says="does not accept") for c in (401, 403)),
        *(case(f"{c}", "ServiceError", status(c), says=f"status {c}") for c in (429, 500, 503)),
        case("404", "ServiceError", status(404), says="check the endpoint"),
        case("dropped", offline, ever("metadata", "drop"), says="cannot be reached"),
        case("stalled", offline, ever("metadata", "stall"), says="cannot be reached"),
        case("no solver", offline, ever("metadata", "empty_list"), says="no solver online"),
        case("not JSON", "ServiceError", ever("metadata", "not_json"), says="protocol"),
        case("refused", offline, says="reached", prepare=lambda s, _: s.stop_listening()),
        case("offline", offline, says="no solver online", prepare=lambda s, _: s.set_offline()),
        case("other solver", offline, says="no solver online", client={"solver": "another"}),
        case(
            "wrong token", credentials, says="does not accept", client={"token": TOKEN + "-wrong"}
        ),
        case("empty token", credentials, says="put the credentials", client={"token": ""}),
        case(
            "line break", credentials, says="end with a line break", client={"token": TOKEN + "\n"}
        ),
        *(
            case(f"{kind}", "DeadlineError", ever("metadata", kind), says="not opened")
            for kind in ("drip_head", "drip_status", "drip_body")
        ),
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
            prepare=_once_submitted(_go_down_for(0.4)),
        ),
        Case(
            f"{down} after submission",
            "DeadlineError",
            says="may still run",
            options={"latency": 0.3},
            settings={"timeout": 1.0},
            prepare=_once_submitted(_go_down),
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


def _once_submitted(action: Prepare) -> Prepare:
    def watch(service: CloudService, device: Any) -> None:
        stop = time.monotonic() + 5
        while not service.problems and time.monotonic() < stop:
            time.sleep(0.01)
        # The answer to the submission is on its way.
        time.sleep(0.05)
        action(service, device)

    return lambda *both: threading.Thread(target=watch, args=both, daemon=True).start()


def _kill_threads(service: CloudService, device: Any) -> None:
    # An answer of null kills one of the client's five submission threads.
    service.fault("submit", "null", times=5)
    for _ in range(5):
        device.sample_ising({device.nodelist[0]: 1.0}, {}, num_reads=1)
        time.sleep(0.05)


def _break(service: CloudService, device: Any) -> None:
    service.remove_qubits(service.chip.qubits[:1].tolist())


CASES: list[Case] = [
    *_transport(),
    *_statuses(),
    *_protocol(),
    *_jobs(),
    *_answers(),
    *ANSWERS,
    *SUBMISSIONS,
    *_opening(),
    *_around(),
]
