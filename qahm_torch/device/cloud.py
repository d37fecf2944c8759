r"""A QPU behind D-Wave's cloud service: one conversation per problem, with deadlines."""

from __future__ import annotations

__all__ = ["CloudDevice"]

import json
import zlib
from typing import TYPE_CHECKING, Any

from qahm_torch.device.chip import Chip
from qahm_torch.device.conversation import Conversation
from qahm_torch.device.door import Answer, Device, Job, guarded
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.device.protocol import Wiring, encode_problem
from qahm_torch.device.quiet_logs import hush
from qahm_torch.device.redaction import remember_config
from qahm_torch.device.seal import Sealed
from qahm_torch.device.submission import Submission, find
from qahm_torch.device.transport import Transport

if TYPE_CHECKING:
    from dwave.system import DWaveSampler

# Of the time for an answer, what is kept for cancelling the problem: a part, and seconds at most.
RESERVE = (0.25, 5.0)
# What the service may say beside the samples, in bytes.
OVERHEAD = 2**22


class CloudDevice(Device):
    r"""Runs problems on a solver that a `DWaveSampler` has found.

    The sampler gives credentials, endpoint, proxies, solver and a session; what is said over it is
    the cloud protocol, a request at a time: submit, poll, load. So each step has its deadline, its
    failures are told apart, and answers are decoded at the width of the problem.

    *What is tried again.* Whatever cannot start a second run: a submission that is known not to
    have been taken, polls and loads. `Submission` says which is which, and what becomes of one
    that may or may not have arrived.

    *How long it takes.* The deadline is one of the whole call, by the clock on the wall, whatever
    comes in drops meanwhile; the last of it is kept for cancelling a problem that was given up.
    No thread and no socket outlasts the call.

    Arguments:
        sampler: The sampler. Its own submission threads are not used, so that dead ones, or a fork
            of the process, do not matter.
        policy: Deadlines and retries.
        is_owner: Whether the sampler is closed with the device.
    """

    is_remote = True
    grace = 1.0  # for a machine that is busy; the conversation itself keeps to the deadline

    def __init__(self, sampler: DWaveSampler, policy: RetryPolicy, is_owner: bool = False):
        hush()
        remember_config(sampler.client.config)
        # It leads to the credentials, and whoever prints the locals of a frame prints devices.
        self.sampler: Any = Sealed(sampler)
        self.policy = policy
        self.chip = Chip.of(sampler)
        self._is_owner = is_owner
        properties = sampler.properties
        self._identity = _as_dict(sampler.solver.identity)
        self._wiring = Wiring(
            properties["qubits"], properties["couplers"], properties["num_qubits"]
        )

    @guarded("running a problem")
    def run(self, job: Job, clock: Clock) -> Answer:
        body, reserve = self._encode(job), _reserve(clock)
        with self._connected(_largest_answer(job)) as transport:
            status = Submission(transport, self.policy, clock, reserve).made(body, job.label)
            return Conversation(transport, self.policy, clock, reserve).finish(job, status)

    @guarded("fetching an answer")
    def fetch(self, job: Job, problem_id: str, clock: Clock) -> Answer:
        status = {"id": problem_id, "status": "PENDING"}
        with self._connected(_largest_answer(job)) as transport:
            # Nobody has seen what became of it since it was submitted.
            talk = Conversation(transport, self.policy, clock, _reserve(clock), has_begun=True)
            return talk.finish(job, status)

    @guarded("listing problems")
    def find(self, label: str, clock: Clock) -> str | None:
        r"""Returns the id of the problem with a label, None if the service has none.

        Raises:
            AnnealerError: If the service does not say.
        """
        with self._connected(OVERHEAD) as transport:
            return find(transport, label, clock)

    def close(self) -> None:
        if self._is_owner:
            self.sampler.client.close(wait=False)

    def _connected(self, max_bytes: int) -> Transport:
        return Transport(self.sampler, self.policy, self.chip.name, max_bytes)

    # Nothing was sent yet.
    @guarded("writing down a problem", may_have_run=False)
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


def _reserve(clock: Clock) -> float:
    part, most = RESERVE
    return min(part * clock.timeout, most)


def _largest_answer(job: Job) -> int:
    r"""Returns the bytes that the answer to a job may have at most, and a good deal more.

    A row is a bit for each qubit, an energy and how often it was read; in base64.
    """
    num_qubits = len(job.qubits)
    row = -(-num_qubits // 8) + 8 + 4
    return 2 * 4 * (job.num_reads * row + 4 * num_qubits) // 3 + OVERHEAD


def _as_dict(identity: Any) -> dict[str, Any]:
    return dict(identity.model_dump() if hasattr(identity, "model_dump") else identity.dict())
