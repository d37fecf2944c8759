r"""What is said of a problem that the service has taken: is it done, what is the answer, stop."""

from __future__ import annotations

__all__ = ["Conversation"]

import json
from typing import Any

from qahm_torch.device.door import Answer, Job, access_time, checked_answer
from qahm_torch.device.errors import (
    AnnealerError,
    AnswerError,
    DeadlineError,
    DeviceOfflineError,
    ProblemFailedError,
    ServiceError,
)
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.device.protocol import decode_answer
from qahm_torch.device.redaction import quoted, tidied
from qahm_torch.device.transport import Transport, Trouble

# How long the service may keep a poll open before it says that nothing has changed.
LONG_POLL = 20.0
# Between polls, for services that answer at once; it doubles from the first to the second.
PAUSES = (0.01, 1.0)
# What services say of a problem when it is the solver that has failed.
GONE = ("offline", "unavailable", "not available", "retired", "maintenance", "decommissioned")


class Conversation:
    r"""Waits for a problem, loads its answer, and cancels it when time is up.

    Arguments:
        transport: The connection to the service.
        policy: Deadlines and retries.
        clock: The deadline for the answer, cancelling included.
        reserve: The seconds of it that are kept for cancelling.
        has_begun: Whether the service may have worked on the problem by now.
    """

    def __init__(
        self,
        transport: Transport,
        policy: RetryPolicy,
        clock: Clock,
        reserve: float,
        has_begun: bool = False,
    ):
        self.transport = transport
        self.policy = policy
        self.clock = clock
        self.reserve = reserve
        self.name = transport.name
        self._is_foreign = False  # whether the problem, as far as is known, is of another job
        self._has_begun = has_begun

    def finish(self, job: Job, status: dict[str, Any]) -> Answer:
        r"""Returns the answer to a problem of which the last status is known.

        Raises:
            DeadlineError: If there is none in time; it says what is left running.
            AnnealerError: If there is none that can be trusted.
        """
        problem_id = status["id"]
        try:
            clock = self.clock.earlier(self.reserve)
            return self._answer(job, self._settled(job, status, clock), clock)
        except DeadlineError as error:
            reason = str(error)
            # What nobody waits for any more should not be billed.
            cancelled, ran = (False, True) if self._is_foreign else self._cancel(problem_id)
        fate = "may still run: `recover` can fetch its answer"
        if cancelled:
            fate = "was cancelled, but may have run" if ran else "was cancelled"
        raise DeadlineError(
            f"{self.name}: {reason}; problem {problem_id} {fate}",
            problem_id,
            may_have_run=ran,
        )

    def _settled(self, job: Job, status: dict[str, Any], clock: Clock) -> dict[str, Any]:
        r"""Polls until the problem is completed, and returns its last status."""
        problem_id, strange, pause = status["id"], 0, PAUSES[0]
        while True:
            # What becomes of another job says nothing of this one.
            self._is_foreign = _is_foreign(job, status)
            state = None if self._is_foreign else status.get("status")
            self._has_begun = self._has_begun or state == "IN_PROGRESS"
            if state == "COMPLETED":
                return status
            if state in ("FAILED", "CANCELLED"):
                raise self._failure(status)
            if state not in ("PENDING", "IN_PROGRESS"):
                self.transport.doubt()
                strange += 1
                if strange > self.policy.retries:
                    raise self._strangeness(job, status)
                clock.sleep(self.policy.backoff)
            clock.check("there was no answer", problem_id)
            # One poll that gets stuck should leave time for another.
            wait = max(0.0, min(LONG_POLL, clock.left / 2))
            status = self._poll(problem_id, clock, wait)
            if status.get("status") in ("PENDING", "IN_PROGRESS"):
                clock.sleep(pause)
                pause = min(2 * pause, PAUSES[1])

    def _poll(self, problem_id: str, clock: Clock, wait: float) -> dict[str, Any]:
        query = {"id": problem_id, "timeout": int(wait)}
        body = self.transport.persist(
            "GET", "problems/", "problems", clock, problem_id, wait, params=query
        )
        mine = [s for s in body if isinstance(s, dict) and s.get("id") == problem_id]
        # A service that leaves the problem out is asked again.
        return mine[0] if mine else {"id": problem_id, "status": "missing from its list"}

    def _strangeness(self, job: Job, status: dict[str, Any]) -> AnnealerError:
        problem_id = status["id"]
        if _is_foreign(job, status):
            return _foreign(job, status, problem_id)
        return ServiceError(
            f"{self.name} says {quoted(status.get('status'))!r} of problem {problem_id}, which is "
            "no status; `recover` may fetch the answer later",
            problem_id,
        )

    def _failure(self, status: dict[str, Any]) -> AnnealerError:
        state, problem_id = status.get("status"), status["id"]
        reason = quoted(status.get("error_message") or "no reason given")
        if state == "FAILED" and any(word in reason.lower() for word in GONE):
            return DeviceOfflineError(
                f"{self.name} went offline: {reason}. Problem {problem_id} was not run; try "
                "again later",
                problem_id,
                may_have_run=False,
            )
        return ProblemFailedError(
            f"problem {problem_id} was {str(state).lower()} by {self.name}: {reason}. "
            "Try again; if that fails too, change the settings or the model",
            problem_id,
            may_have_run=state != "CANCELLED" or self._may_have_run(status),
        )

    def _may_have_run(self, status: dict[str, Any]) -> bool:
        r"""Whether a problem that is cancelled may have been billed all the same.

        The service cancels what waits at once, and what it works on if there is time
        (https://docs.dwavesys.com/docs/latest/rest_api_resources.html). What it bills for
        the latter is not documented: it counts as run, and so does what has an answer or times.
        """
        told = status.get("answer"), status.get("timing")
        seconds = [access_time(t.get("timing", t)) for t in told if isinstance(t, dict)]
        return self._has_begun or any(t != 0 for t in seconds)

    def _answer(self, job: Job, status: dict[str, Any], clock: Clock) -> Answer:
        problem_id, attempt = status["id"], 0
        message = status if "answer" in status else None
        while True:
            if message is None:
                path = f"problems/{problem_id}/"
                message = self.transport.persist(
                    "GET", path, "problem", clock, problem_id, body_time=clock.left / 2
                )
            try:
                return self._decoded(job, message, problem_id)
            except AnswerError:
                self.transport.doubt()
                # The run is paid for, and damage on the way may not come again.
                if attempt >= self.policy.retries:
                    raise
            clock.sleep(self.policy.pause(attempt))
            attempt, message = attempt + 1, None

    def _decoded(self, job: Job, message: Any, problem_id: str) -> Answer:
        try:
            if message.get("id", problem_id) != problem_id:
                raise ValueError(f"it is that of problem {quoted(message['id'])}")
            if _is_foreign(job, message):
                raise _foreign(job, message, problem_id)
            answer = message["answer"]
            parts = decode_answer(answer)
            info = {"timing": tidied(answer.get("timing")), "problem_id": problem_id}
            return checked_answer(job, problem_id=problem_id, info=info, **parts)  # type: ignore[arg-type]
        except AnswerError:
            raise
        except Exception as error:
            # Whatever a body can be made of: what can be wrong with it is not to be listed.
            reason = quoted(f"{type(error).__name__}: {error}")
        raise AnswerError(
            f"the answer to problem {problem_id} cannot be read ({reason}); `recover` may fetch "
            "it again",
            problem_id,
        )

    def _cancel(self, problem_id: str) -> tuple[bool, bool]:
        r"""Asks for a problem to be cancelled; returns whether it is, and may have run."""
        try:
            content = {"data": json.dumps([problem_id]).encode()}
            body = self.transport.request("DELETE", "problems/", "problems", self.clock, content)
            self._has_begun = self._has_begun or _is_late(body)
            status = self._poll(problem_id, self.clock, 0.0)
        except (Trouble, AnnealerError):
            return False, True
        is_cancelled = status.get("status") == "CANCELLED"
        return is_cancelled, not is_cancelled or self._may_have_run(status)


def _is_late(body: Any) -> bool:
    r"""Whether the answer to a cancellation says that the service works on the problem already."""
    told = (
        [status for status in body if isinstance(status, dict)] if isinstance(body, list) else []
    )
    return not told or any("error_code" in status for status in told)


def _is_foreign(job: Job, message: dict[str, Any]) -> bool:
    r"""Whether the service says that a problem has another label than the job."""
    label = message.get("label")
    return label is not None and label != job.label


def _foreign(job: Job, message: dict[str, Any], problem_id: str) -> AnswerError:
    return AnswerError(
        f"problem {problem_id} has the label {quoted(message['label'], 80)!r} instead of "
        f"{job.label!r}, so it is of another job. Nothing of it was used; `recover` may fetch the "
        "right one",
        problem_id,
    )
