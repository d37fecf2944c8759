r"""Answers that are not of the problem that was asked, or that no reader was written for."""

from __future__ import annotations

__all__ = ["ANSWERS", "fuzzed", "fuzzed_opening"]

import random

from fault_runs import Case, ever, once

QUICK = {"timeout": 0.6, "request_timeout": 0.2}
STEPS = ("submit", "poll", "load", "list", "cancel")


def fuzzed(step: str, seed: int) -> Case:
    r"""Returns a case of which right samples, or an error of ours, are all that is expected.

    The step is reached, by other faults where it has to be, and what is said there is changed.
    """
    faults = [once(step, "mutated", seed=seed)]
    if random.Random(seed).random() < 0.5:
        faults = [ever(step, "mutated", seed=seed)]
    if step == "list":
        faults.append(once("submit", "accept_then_drop"))
    if step == "cancel":
        faults.append(once("submit", "pending_forever"))
    return Case(f"fuzzed {step} {seed}", faults=tuple(faults), settings=QUICK)


def fuzzed_opening(seed: int) -> Case:
    r"""Returns a case in which what the service says of its solver is changed for ever."""
    kind = ("mutated", "mutated_properties")[seed % 4 > 0]
    faults = (ever("metadata", kind, seed=seed),)
    return Case(f"fuzzed opening {seed}", faults=faults, settings=QUICK, opening=True)


ANSWERS: list[Case] = [
    Case("label of another job at load", faults=(once("load", "other_label"),)),
    Case(
        "label of another job in all answers",
        "AnswerError",
        (ever("load", "other_label"),),
        "of another job",
    ),
    Case(
        "label of another job at poll",
        "AnswerError",
        (ever("poll", "other_label"),),
        "of another job",
        options={"latency": 0.1},
    ),
    *(Case(f"nested deep at {s}", faults=(once(s, "deep"),)) for s in ("submit", "poll", "load")),
    Case(
        "nested deep at load for ever",
        "DeadlineError",
        (ever("load", "deep"),),
        "recover",
        settings=QUICK,
    ),
    Case(
        "list without ids",
        "SubmissionUnknownError",
        (once("submit", "accept_then_drop"), ever("list", "no_id")),
        "recover",
    ),
]
