r"""A QPU behind D-Wave's cloud service: one conversation per problem, with deadlines."""

from __future__ import annotations

__all__ = ["CloudDevice"]

import json
import zlib
from typing import TYPE_CHECKING, Any

from qahm_torch.device.chip import Chip
from qahm_torch.device.door import Answer, Device, Job, checked_answer, guarded
from qahm_torch.device.errors import (
    AnnealerError,
    AnswerError,
    DeadlineError,
    DeviceOfflineError,
    ProblemFailedError,
    RejectedError,
    ServiceError,
    SubmissionUnknownError,
)
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.device.protocol import Wiring, decode_answer, encode_problem
from qahm_torch.device.transport import REFUSED_FOR_NOW, Transport, Trouble

if TYPE_CHECKING:
    from dwave.system import DWaveSampler

# How long the service may keep a poll open before it says that nothing has changed.
LONG_POLL = 20.0
CANCEL_TIME = 5.0
# Between polls, for services that answer at once; it doubles from the first to the second.
PAUSES = (0.01, 1.0)


class CloudDevice(Device):
    r"""Runs problems on a solver that a `DWaveSampler` has found.

    The sampler gives credentials, endpoint, proxies, solver and a session; what is said over it is
    the cloud protocol, a request at a time: submit, poll, load. So each step has its deadline, its
    failures are told apart, and answers are decoded at the width of the problem.

    *What is tried again.* Whatever cannot have started a second run: a submission that did not
    reach the service or that it refused for now (429), polls and loads. Where a submission may or
    may not have arrived, the service is asked for a problem of its label. If it has one, that one
    goes on; if it has none for the time `settle` of the policy, the problem is submitted again; if
    it does not say, or there is no time to wait, `SubmissionUnknownError` ends the matter.

    Arguments:
        sampler: The sampler. Its own submission threads are not used, so that dead ones, or a fork
            of the process, do not matter.
        policy: Deadlines and retries.
    """

    def __init__(self, sampler: DWaveSampler, policy: RetryPolicy):
        self.sampler = sampler
        self.policy = policy
        self.grace = CANCEL_TIME + 1.0  # to cancel a problem that was given up
        self.chip = Chip.of(sampler)
        properties = sampler.properties
        self._identity = _as_dict(sampler.solver.identity)
        self._wiring = Wiring(
            properties["qubits"], properties["couplers"], properties["num_qubits"]
        )
        self._transport = Transport(sampler, policy, self.chip.name)

    @guarded("running a problem")
    def run(self, job: Job, clock: Clock) -> Answer:
        status = self._submit(job, clock)
        return self._finish(job, status, clock)

    @guarded("fetching an answer")
    def fetch(self, job: Job, problem_id: str, clock: Clock) -> Answer:
        return self._finish(job, {"id": problem_id, "status": "PENDING"}, clock)

    @guarded("listing problems")
    def find(self, label: str, clock: Clock) -> str | None:
        r"""Returns the id of the problem with a label, None if the service has none.

        Raises:
            AnnealerError: If the service does not say.
        """
        body = self._transport.persist(
            "GET", "problems/", "problems", clock, params={"label": label}
        )
        if not isinstance(body, list):
            raise ServiceError(f"{self.chip.name} does not list problems by label")
        # A service that does not know the filter would list other problems as well.
        found = [p for p in body if isinstance(p, dict) and p.get("label") == label]
        if found and not isinstance(found[0].get("id"), str):
            raise ServiceError(f"{self.chip.name} lists the problem {label!r} without an id")
        return found[0]["id"] if found else None

    def _submit(self, job: Job, clock: Clock) -> dict[str, Any]:
        body, why, attempt = self._encode(job), "", 0
        while True:
            if clock.left <= 0:
                raise DeadlineError(
                    f"{self.chip.name} did not take the problem within {clock.timeout:g} s{why}. "
                    "It was not run; try again later"
                )
            try:
                return self._accepted(
                    self._transport.request("POST", "problems/", "problems", clock, body)
                )
            except Trouble as error:
                trouble = error
            why = f" ({trouble})"
            if trouble.may_be_taken:
                found = self._find_lost(job.label, trouble, clock)
                if found is not None:
                    return {"id": found, "status": "PENDING"}
            if attempt >= self.policy.retries:
                break
            self._transport.pause(attempt, trouble, clock)
            attempt += 1
        kind = ServiceError if trouble.left else DeviceOfflineError
        raise kind(
            f"{self.chip.name} could not be given the problem in {self.policy.retries + 1} tries: "
            f"{trouble}. It was not run; try again later"
        )

    def _encode(self, job: Job) -> dict[str, Any]:
        content = {
            "solver": self._identity,
            "data": encode_problem(job, self._wiring),
            "type": "ising",
            "params": {"num_reads": job.num_reads, **self._formatted(job)},
            "label": job.label,
        }
        data = json.dumps([content]).encode()
        if not self.sampler.client.config.compress_qpu_problem_data:
            return {"data": data}
        return {"data": zlib.compress(data), "headers": {"Content-Encoding": "deflate"}}

    def _formatted(self, job: Job) -> dict[str, Any]:
        r"""Returns the parameters, with an initial state by qubit as the list that is sent."""
        parameters = dict(job.parameters)
        state = parameters.get("initial_state")
        if isinstance(state, dict):
            slots = [3] * self._wiring.num_qubits  # 3 is a qubit that is not used
            for qubit, spin in state.items():
                slots[qubit] = spin
            parameters["initial_state"] = slots
        return parameters

    def _accepted(self, body: Any) -> dict[str, Any]:
        r"""Returns the status of a submission, if the service has taken it."""
        if not isinstance(body, list) or len(body) != 1:
            raise Trouble("its answer to the submission is not a list of one status")
        status = body[0]
        if isinstance(status, dict) and "error_code" in status:
            if status["error_code"] in REFUSED_FOR_NOW:
                raise Trouble("too many problems (429)", 429)
            raise RejectedError(
                f"{self.chip.name} refused the problem: {status.get('error_msg')} "
                f"({status['error_code']}). It was not run; change the settings or the model, or "
                "open the device anew if its qubits have changed"
            )
        if not isinstance(status, dict) or not isinstance(status.get("id"), str):
            raise Trouble("its answer to the submission has no problem id")
        return status

    def _find_lost(self, label: str, trouble: Trouble, clock: Clock) -> str | None:
        r"""Returns the id of a problem that may have arrived, None once it surely has not."""
        settling, pause = Clock(self.policy.settle), PAUSES[0]
        try:
            while True:
                found = self.find(label, clock)
                if found is not None or settling.left <= 0:
                    return found
                if clock.left <= 0:
                    raise DeadlineError(f"no problem of its label in {clock.timeout:g} s")
                clock.sleep(min(pause, settling.left))
                pause = min(2 * pause, PAUSES[1])
        except AnnealerError as error:
            reason = str(error)
        raise SubmissionUnknownError(
            f"whether {self.chip.name} runs the problem {label!r} is not known: {trouble}, and "
            f"then {reason}. The problem was not submitted again; `recover` looks for it later",
            may_have_run=True,
        )

    def _finish(self, job: Job, status: dict[str, Any], clock: Clock) -> Answer:
        problem_id = status["id"]
        try:
            return self._answer(job, self._settled(status, clock), clock)
        except DeadlineError as error:
            reason = str(error)
            # What nobody waits for any more should not be billed.
            cancelled = self._cancel(problem_id)
        fate = "was cancelled" if cancelled else "may still run: `recover` can fetch its answer"
        raise DeadlineError(
            f"{self.chip.name}: {reason}; problem {problem_id} {fate}",
            problem_id,
            may_have_run=not cancelled,
        )

    def _settled(self, status: dict[str, Any], clock: Clock) -> dict[str, Any]:
        r"""Polls until the problem is completed, and returns its last status."""
        problem_id, strange, pause = status["id"], 0, PAUSES[0]
        while status.get("status") != "COMPLETED":
            self._check_failed(status)
            if status.get("status") not in ("PENDING", "IN_PROGRESS"):
                strange += 1
                if strange > self.policy.retries:
                    raise ServiceError(
                        f"{self.chip.name} says {status.get('status')!r} of problem {problem_id}, "
                        "which is no status; `recover` may fetch the answer later",
                        problem_id,
                    )
                clock.sleep(self.policy.backoff)
            clock.check("there was no answer", problem_id)
            status = self._poll(problem_id, clock)
            if status.get("status") in ("PENDING", "IN_PROGRESS"):
                clock.sleep(pause)
                pause = min(2 * pause, PAUSES[1])
        return status

    def _poll(self, problem_id: str, clock: Clock) -> dict[str, Any]:
        # One poll that gets stuck should leave time for another.
        wait = max(0.0, min(LONG_POLL, clock.left / 2))
        query = {"id": problem_id, "timeout": int(wait)}
        body = self._transport.persist(
            "GET", "problems/", "problems", clock, problem_id, wait, params=query
        )
        mine = [s for s in body if isinstance(s, dict) and s.get("id") == problem_id]
        # A service that leaves the problem out is asked again.
        return mine[0] if mine else {"id": problem_id, "status": "missing from its list"}

    def _check_failed(self, status: dict[str, Any]) -> None:
        state, problem_id = status.get("status"), status["id"]
        reason = status.get("error_message") or "no reason given"
        if state == "FAILED" and "offline" in str(reason).lower():
            raise DeviceOfflineError(
                f"{self.chip.name} went offline: {reason}. Problem {problem_id} was not run; try "
                "again later",
                problem_id,
                may_have_run=False,
            )
        if state in ("FAILED", "CANCELLED"):
            raise ProblemFailedError(
                f"problem {problem_id} was {str(state).lower()} by {self.chip.name}: {reason}. "
                "Try again; if that fails too, change the settings or the model",
                problem_id,
            )

    def _answer(self, job: Job, status: dict[str, Any], clock: Clock) -> Answer:
        problem_id, attempt = status["id"], 0
        _check_label(job, status, problem_id)
        message = status if "answer" in status else None
        while True:
            if message is None:
                path = f"problems/{problem_id}/"
                message = self._transport.persist("GET", path, "problem", clock, problem_id)
            try:
                return self._decoded(job, message, problem_id)
            except AnswerError:
                # The run is paid for, and damage on the way may not come again.
                if attempt >= self.policy.retries:
                    raise
            clock.sleep(self.policy.backoff * 2**attempt)
            attempt, message = attempt + 1, None

    def _decoded(self, job: Job, message: Any, problem_id: str) -> Answer:
        try:
            if message.get("id", problem_id) != problem_id:
                raise ValueError(f"it is that of problem {message['id']}")
            _check_label(job, message, problem_id)
            answer = message["answer"]
            parts = decode_answer(answer)
            info = {"timing": answer.get("timing"), "problem_id": problem_id}
            return checked_answer(job, problem_id=problem_id, info=info, **parts)  # type: ignore[arg-type]
        except AnswerError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        raise AnswerError(
            f"the answer to problem {problem_id} cannot be read ({reason}); `recover` may fetch "
            "it again",
            problem_id,
        )

    def _cancel(self, problem_id: str) -> bool:
        r"""Asks for a problem to be cancelled, and returns whether it is."""
        clock = Clock(min(CANCEL_TIME, self.policy.request_timeout))
        try:
            content = {"data": json.dumps([problem_id]).encode()}
            self._transport.request("DELETE", "problems/", "problems", clock, content)
            return self._poll(problem_id, clock).get("status") == "CANCELLED"
        except (Trouble, AnnealerError):
            return False


def _check_label(job: Job, message: dict[str, Any], problem_id: str) -> None:
    r"""Raises AnswerError if the service says that a problem has another label than the job."""
    label = message.get("label")
    if label is not None and label != job.label:
        raise AnswerError(
            f"problem {problem_id} has the label {label!r} instead of {job.label!r}, so it is of "
            "another job. Nothing of it was used; `recover` may fetch the right one",
            problem_id,
        )


def _as_dict(identity: Any) -> dict[str, Any]:
    return dict(identity.model_dump() if hasattr(identity, "model_dump") else identity.dict())
