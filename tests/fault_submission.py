r"""Submissions that get lost, or seem to: which are made again, looked for, or left as unknown.

Each kind of loss comes twice, where the service has taken the problem and where it has not, since
nothing that the client sees tells the two apart.
"""

from __future__ import annotations

__all__ = ["SUBMISSIONS"]

from typing import Any

from fault_runs import Case, Fault, ever, once

UNKNOWN = "was not submitted again; `recover` looks for it later"
UNLISTED = ever("list", "empty_list")
# Time for a request that stalls, and for looking afterwards.
PATIENT = {"timeout": 2.0, "request_timeout": 0.2}


def _losses(accepted: bool) -> dict[str, Fault]:
    r"""Returns losses of which nobody can say what has become of the problem."""
    kinds = ("accept_then_drop", "accept_then_stall", "truncate", "empty_list", "not_json")
    kinds += ("drip_head", "drip_status", "drip_body")
    broken = {kind: once("submit", kind) for kind in kinds}
    if not accepted:
        broken = {kind: once("submit", kind) for kind in ("drop", "reset", "stall")}
    kind = "accept_then_status" if accepted else "status"
    codes = {f"{c}": once("submit", kind, code=c) for c in (408, 500, 502, 504, 520)}
    gateways = {
        f"{c} of a gateway": once("submit", "gateway", code=c, accepts=accepted)
        for c in (500, 502, 503, 504)
    }
    bomb = {"bomb": once("submit", "bomb", num_bytes=2**25)} if accepted else {}
    return broken | codes | gateways | bomb


def _unknown(name: str, *faults: Fault, billed: int = 1, **settings: Any) -> Case:
    settings = {**PATIENT, **settings}
    outcome = "SubmissionUnknownError"
    return Case(name, outcome, faults, UNKNOWN, billed=billed, settings=settings)


def _taken() -> list[Case]:
    late = once("list", "empty_list", times=3)
    return [
        case
        for name, fault in _losses(accepted=True).items()
        for case in (
            Case(f"taken, {name}", faults=(fault,), settings=PATIENT),
            Case(
                f"taken, {name}, listed late",
                faults=(fault, late),
                settings={**PATIENT, "settle": 1.0},
            ),
            _unknown(f"taken, {name}, never listed", fault, UNLISTED),
        )
    ]


def _not_taken() -> list[Case]:
    return [
        case
        for name, fault in _losses(accepted=False).items()
        for case in (
            _unknown(f"not taken, {name}", fault, billed=0),
            Case(
                f"not taken, {name}, made again on request",
                faults=(fault,),
                settings={**PATIENT, "resubmit": True},
            ),
        )
    ]


def _service_says_no() -> list[Case]:
    r"""Returns what the service itself says that it has not taken, and was wrong once."""
    wrong = once("submit", "accept_then_status", code=503)
    return [
        Case("503 of the service, yet taken", faults=(wrong,)),
        _unknown(
            "503 of the service, yet taken, listing fails",
            wrong,
            ever("list", "status", code=500),
        ),
    ]


def _listings() -> list[Case]:
    lost = once("submit", "accept_then_drop")
    ends = {
        "fails": ever("list", "status", code=500),
        "refuses the filter": ever("list", "status", code=400),
        "wants other credentials": ever("list", "status", code=401),
        "is no list": ever("list", "null"),
        "is of other things": ever("list", "number"),
        "stalls": ever("list", "stall"),
        "drips": ever("list", "drip_body"),
    }
    return [
        *(_unknown(f"listing {name}", lost, fault) for name, fault in ends.items()),
        Case("listing fails once", faults=(lost, once("list", "status", code=500))),
        Case("listing drops once", faults=(lost, once("list", "drop"))),
        _unknown("not listed until the deadline", lost, UNLISTED, settle=60.0, timeout=0.5),
    ]


def _on_request() -> list[Case]:
    r"""Returns what `resubmit` may cost: the service denies the first run, and bills two."""
    again = {**PATIENT, "resubmit": True}
    return [
        Case(
            "taken, never listed, made again on request",
            faults=(once("submit", "accept_then_drop"), UNLISTED),
            billed=2,
            orphans=1,
            settings=again,
        ),
        _unknown(
            "broken for ever, made again on request", ever("submit", "drop"), billed=0, **again
        ),
    ]


SUBMISSIONS: list[Case] = [
    *_taken(),
    *_not_taken(),
    *_service_says_no(),
    *_listings(),
    *_on_request(),
]
