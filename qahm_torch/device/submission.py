r"""Giving a problem to the service once, and looking for one that may not have arrived."""

from __future__ import annotations

__all__ = ["Submission", "find"]

from typing import Any

from qahm_torch.device.errors import (
    AnnealerError,
    DeadlineError,
    DeviceOfflineError,
    RejectedError,
    ServiceError,
    SubmissionUnknownError,
)
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.device.protocol import is_problem_id
from qahm_torch.device.redaction import quoted
from qahm_torch.device.transport import Transport, Trouble

# Between looks, for services that answer at once; it doubles from the first to the second.
PAUSES = (0.01, 1.0)
TOO_MANY, UNAVAILABLE = 429, 503


class Submission:
    r"""One submission of one problem, which is billed once at most.

    A submission is not idempotent: the service runs what it gets, as often as it gets it. So what
    is made again is what is known not to have been taken, and nothing else:

    ============================================  ============  ==================================
    What has happened                             Taken?        What is done
    ============================================  ============  ==================================
    not a byte was sent: no such name, no route,  no            made again
    refused, no answer to the handshake
    status 429, or 429 as the word on this one    no: counted   made again, after Retry-After
    problem                                       before it is
                                                  read
    status 503 which the service itself repeats   no, by its    made again, after Retry-After, if
    in its own form in the body                   own word      the service has no problem of its
                                                                label
    status 400, 404, 405, 409, 413, 422, or       no, by its    `RejectedError`: a repetition
    another error as the word on this problem     own word      would not change it
    status 401, 403                               no            `CredentialsError`
    everything else: broken or cut after the      not known     looked for by its label; found, it
    first byte was sent, or no answer in time;                  goes on, and otherwise it is
    other statuses, and 503 of whoever is in                    `SubmissionUnknownError`
    between (a gateway says 500, 502, 503 or 504
    also when the service behind it has taken
    the problem); an answer that is cut, not
    JSON, too large, or without a problem id
    ============================================  ============  ==================================

    Each attempt has a connection of its own: on one that was kept, which the other side may have
    closed meanwhile, each would now and then be lost without having left.

    Arguments:
        transport: The conversation with the service.
        policy: Deadlines and retries. With `resubmit`, what is not found is made again, too.
        clock: The deadline for the answer.
        reserve: The seconds before the deadline that are kept for looking, at least.
    """

    def __init__(self, transport: Transport, policy: RetryPolicy, clock: Clock, reserve: float):
        self.transport = transport
        self.policy = policy
        self.clock = clock
        self.reserve = reserve
        self.name = transport.name

    def made(self, content: dict[str, Any], label: str) -> dict[str, Any]:
        r"""Returns the status of the problem, as far as it is known, with its id.

        Raises:
            SubmissionUnknownError: If the problem may have been taken, and was not found.
            AnnealerError: If it was not taken.
        """
        clock, attempt = self.clock.earlier(self.reserve), 0
        trouble: Trouble | None = None
        lost: Trouble | None = None  # the last trouble after which the problem may have been taken
        while clock.left > 0 and attempt <= self.policy.retries:
            if trouble is not None:
                self.transport.pause(attempt - 1, trouble, clock)
            try:
                return self._attempt(content, clock)
            except Trouble as error:
                trouble = error
            if not _is_refused(trouble):
                found = self._looked_for(label, trouble)
                if found is not None:
                    return {"id": found, "status": "PENDING"}
                lost = lost if _is_disowned(trouble) else trouble
            attempt += 1
        if lost is not None:
            raise self._unknown(label, lost, "and the service has no problem of its label")
        if trouble is None or attempt <= self.policy.retries:
            raise DeadlineError(
                f"{self.name} did not take the problem within {clock.timeout:g} s"
                f"{'' if trouble is None else f' ({trouble})'}. It was not run; try again later"
            )
        kind = ServiceError if trouble.left else DeviceOfflineError
        raise kind(
            f"{self.name} could not be given the problem in {attempt} tries: {trouble}. It was "
            "not run; try again later"
        )

    def _attempt(self, content: dict[str, Any], clock: Clock) -> dict[str, Any]:
        self.transport.hang_up()
        return self._accepted(
            self.transport.request("POST", "problems/", "problems", clock, content)
        )

    def _accepted(self, body: Any) -> dict[str, Any]:
        r"""Returns the status of a submission, if the service has taken it."""
        if not isinstance(body, list) or len(body) != 1:
            self.transport.doubt()
            raise Trouble("its answer to the submission is not a list of one status")
        status = body[0]
        if isinstance(status, dict) and "error_code" in status:
            if status["error_code"] == TOO_MANY:
                raise Trouble("too many problems (429)", TOO_MANY)
            reason, code = quoted(status.get("error_msg")), quoted(status["error_code"], 20)
            raise RejectedError(
                f"{self.name} refused the problem: {reason} ({code}). It was not run; change the "
                "settings or the model, or open the device anew if its qubits have changed"
            )
        if not isinstance(status, dict) or not is_problem_id(status.get("id")):
            self.transport.doubt()
            raise Trouble("its answer to the submission has no problem id")
        return status

    def _looked_for(self, label: str, trouble: Trouble) -> str | None:
        r"""Returns the id of a problem that may have arrived; None if it may be made again.

        The service is asked again and again for the time `settle`, since it may list what it has
        taken a while later, and once at least, however late it is.
        """
        clock = self.clock.earlier(self.reserve)
        clock = clock if clock.left > 0 else self.clock.earlier(self.reserve / 2)
        may_go_on = self.policy.resubmit or _is_disowned(trouble)
        settling = Clock(0.0 if _is_disowned(trouble) else self.policy.settle)
        pause = PAUSES[0]
        try:
            while (found := find(self.transport, label, clock)) is None and settling.left > 0:
                clock.check("there was no problem of its label")
                clock.sleep(min(pause, settling.left))
                pause = min(2 * pause, PAUSES[1])
            if found is not None or may_go_on:
                return found
            reason = f"and the service has had no problem of its label for {settling.timeout:g} s"
        except AnnealerError as error:
            reason = f"and then {error}"
        raise self._unknown(label, trouble, reason)

    def _unknown(self, label: str, trouble: Trouble, reason: str) -> SubmissionUnknownError:
        return SubmissionUnknownError(
            f"whether {self.name} runs the problem {label!r} is not known: {trouble}, {reason}. "
            "It was not submitted again; `recover` looks for it later. Until then it counts as "
            "spent",
            may_have_run=True,
        )


def find(transport: Transport, label: str, clock: Clock) -> str | None:
    r"""Returns the id of the problem with a label, None if the service has none.

    Raises:
        AnnealerError: If the service does not say.
    """
    body = transport.persist("GET", "problems/", "problems", clock, params={"label": label})
    # A service that does not know the filter would list other problems as well.
    found = [p.get("id") for p in body if isinstance(p, dict) and p.get("label") == label]
    return next((known for known in found if is_problem_id(known)), None)


def _is_refused(trouble: Trouble) -> bool:
    r"""Whether the service has surely not taken a problem, so that nobody needs to look."""
    return not trouble.left or trouble.status == TOO_MANY


def _is_disowned(trouble: Trouble) -> bool:
    r"""Whether the service itself says that it has not taken it, which is worth one look."""
    return trouble.status == UNAVAILABLE and trouble.is_told
