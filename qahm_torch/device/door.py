r"""The door to a device: one interface for a dimod sampler and for the cloud service."""

from __future__ import annotations

__all__ = [
    "Answer",
    "Device",
    "DimodDevice",
    "Job",
    "access_time",
    "checked_answer",
    "guarded",
]

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import AnnealerError, AnswerError, ServiceError
from qahm_torch.device.patience import Clock
from qahm_torch.device.seal import bare, has_met_client

if TYPE_CHECKING:
    import dimod

P = ParamSpec("P")
T = TypeVar("T")

MICROSECOND, YEAR = 1e-6, 3.2e7
# What energies may be off by, as a part of the sum of all biases. They come as doubles, whose sums
# in another order differ by some 1e-12 of it on a whole chip; a weak spin that is flipped counts
# for more than this, down to 1e-5 of the strongest bias there.
ROUNDING = 1e-9


class Job(NamedTuple):
    r"""One problem to be run."""

    qubits: np.ndarray  # of shape (Q,), the qubits used
    h: np.ndarray  # of shape (Q,)
    couplers: np.ndarray  # of shape (C, 2), positions in `qubits`
    J: np.ndarray  # of shape (C,)
    num_reads: int
    parameters: dict[str, Any]
    label: str

    def energies(self, spins: np.ndarray) -> np.ndarray:
        r"""Returns the energies of readouts of shape (R, Q)."""
        from scipy.sparse import csr_array

        values = spins.T.astype(np.float64)
        size = (len(self.qubits), len(self.qubits))
        couplings = csr_array((self.J.astype(np.float64), tuple(self.couplers.T)), shape=size)
        fields = couplings @ values + self.h.astype(np.float64)[:, None]
        energies: np.ndarray = np.einsum("qr,qr->r", values, fields)
        return energies


class Answer(NamedTuple):
    r"""What a device has answered: every read in a row of its own, in order of time."""

    spins: np.ndarray  # of shape (R, Q), int8, in the order of the job's qubits
    problem_id: str | None
    access_time: float | None  # seconds of QPU time, None where the device does not say
    info: dict[str, Any]


def guarded(step: str, may_have_run: bool = True) -> Callable[[Callable[P, T]], Callable[P, T]]:
    r"""Returns a decorator that turns whatever a step raises into errors of annealers.

    Their tracebacks begin at the step: further in, frames hold sessions with their credentials.

    Arguments:
        step: What is done, for the message.
        may_have_run: Whether a problem may have run when the step fails in an unknown way.

    Raises:
        ServiceError: For an error that is not ours.
    """
    advice = "`recover` may fetch the answer later" if may_have_run else "check the endpoint"

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            problem: BaseException
            try:
                return function(*args, **kwargs)
            except AnnealerError as error:
                problem = error
            except Exception as error:
                message = f"{step}: what the service said led to {type(error).__name__}; {advice}"
                problem = ServiceError(message, may_have_run=may_have_run)
                problem.unread = getattr(error, "unread", {})
            except BaseException as error:  # by the user, or at the end of the process
                problem = error
            # Outside of the handler: the error may hold a request with its credentials.
            raise bare(problem)

        return call

    return decorate


class Device(ABC):
    r"""What jobs can be run on."""

    chip: Chip
    is_remote: bool = False  # whether what is behind it may go, and another one be found
    grace: float = 0.1  # seconds that `run` may need beyond its deadline, to say what happened

    @abstractmethod
    def run(self, job: Job, clock: Clock) -> Answer:
        r"""Runs a job and returns its answer, checked.

        Raises:
            AnnealerError: If there is no answer that can be trusted.
        """

    def fetch(self, job: Job, problem_id: str, clock: Clock) -> Answer:
        r"""Returns the answer to a job that was submitted earlier."""
        raise AnnealerError(f"{self.chip.name} keeps no answers by problem id", problem_id)

    def find(self, label: str, clock: Clock) -> str | None:
        r"""Returns the id of a problem by its label, None if the device knows none."""
        return None

    def close(self) -> None:  # noqa: B027
        r"""Gives up what was opened for this device; problems that are under way go on."""


class DimodDevice(Device):
    r"""A structured dimod sampler on this machine, or anything else that looks like one.

    Arguments:
        sampler: The sampler, with `nodelist`, `edgelist`, `properties` and `parameters`.
    """

    def __init__(self, sampler: Any):
        self.sampler = sampler
        self.chip = Chip.of(sampler)

    def run(self, job: Job, clock: Clock) -> Answer:
        try:
            answer = self.sampler.sample(_to_bqm(job), **self._keywords(job))
            answer.resolve()
        except AnnealerError:
            raise
        except Exception as error:
            problem = AnnealerError(f"{self.chip.name} failed: {_told(error)}")
            cause = None if has_met_client(error) else error
        else:
            return _from_sample_set(answer, job)
        raise problem from cause

    def _keywords(self, job: Job) -> dict[str, Any]:
        # A simulated sampler may lack what only machines have; what the user has set is checked
        # against the chip before.
        known = self.sampler.parameters
        keywords = {"num_reads": job.num_reads, "label": job.label, **job.parameters}
        return {name: value for name, value in keywords.items() if name in known}


def checked_answer(
    job: Job,
    columns: np.ndarray,
    spins: np.ndarray,
    energies: np.ndarray,
    num_occurrences: np.ndarray | None,
    problem_id: str | None,
    info: dict[str, Any],
) -> Answer:
    r"""Returns an answer if it fits its job.

    Arguments:
        job: The job.
        columns: The qubit of each column, of shape (Q,).
        spins: The rows of the answer, of shape (R', Q).
        energies: Their energies of shape (R',).
        num_occurrences: How often each row was read; None for once.
        problem_id: The identity of the problem.
        info: What else the device has said.

    Raises:
        AnswerError: If qubits, the number of reads, values or energies are not those of the job.
    """
    order = _column_order(job, columns, problem_id)
    if spins.shape != (len(energies), len(columns)):
        raise _damaged(f"it has {spins.shape} spins and {len(energies)} energies", problem_id)
    spins = np.ascontiguousarray(spins[:, order], dtype=np.int8)
    if not (np.abs(spins) == 1).all():
        raise _damaged("it holds values other than -1 and +1", problem_id)
    _check_energies(job, spins, energies, problem_id)
    counts = np.ones(len(spins), dtype=np.int64) if num_occurrences is None else num_occurrences
    if len(counts) != len(spins) or (counts < 1).any():
        raise _damaged("its numbers of occurrences do not fit its rows", problem_id)
    if counts.sum() != job.num_reads:
        raise _damaged(f"it has {counts.sum()} reads instead of {job.num_reads}", problem_id)
    if num_occurrences is not None:
        spins = np.repeat(spins, counts, axis=0)
    return Answer(spins, problem_id, access_time(info.get("timing")), info)


def access_time(timing: Any) -> float | None:
    r"""Returns the seconds that were billed; None for anything that cannot be an amount."""
    access = timing.get("qpu_access_time") if isinstance(timing, dict) else None
    if not isinstance(access, (int, float)) or isinstance(access, bool):
        return None
    # Nothing takes longer than a year, and what does would spend any budget for good.
    if not 0 <= access <= YEAR / MICROSECOND:
        return None
    return float(access) * MICROSECOND


def _column_order(job: Job, columns: np.ndarray, problem_id: str | None) -> np.ndarray:
    order = np.argsort(columns, kind="stable")
    found = columns[order]
    positions = np.searchsorted(found, job.qubits).clip(max=max(0, len(found) - 1))
    if len(found) != len(job.qubits) or (found[positions] != job.qubits).any():
        strange = sorted(set(job.qubits.tolist()) ^ set(found.tolist()))
        raise _damaged(
            f"it is of other qubits than the problem; {strange[:3]} are in one of the two only",
            problem_id,
        )
    columns_in_order: np.ndarray = order[positions]
    return columns_in_order


def _check_energies(
    job: Job, spins: np.ndarray, energies: np.ndarray, problem_id: str | None
) -> None:
    if not np.isfinite(energies).all():
        raise _damaged("some of its energies are not finite", problem_id)
    scale = np.abs(job.h).sum(dtype=np.float64) + np.abs(job.J).sum(dtype=np.float64)
    error = np.abs(job.energies(spins) - energies).max(initial=0.0)
    if error > ROUNDING * scale:
        raise _damaged(
            f"its energies are off by up to {error:.3g} from those of its own samples", problem_id
        )


def _damaged(what: str, problem_id: str | None) -> AnswerError:
    return AnswerError(
        f"the answer is damaged: {what}. Nothing of it was used; `recover` may fetch it again by "
        f"its problem id, {problem_id}",
        problem_id,
    )


def _to_bqm(job: Job) -> dimod.BinaryQuadraticModel:
    import dimod

    a, b = job.couplers.T
    return dimod.BinaryQuadraticModel.from_numpy_vectors(
        job.h, (a, b, job.J), 0.0, dimod.SPIN, variable_order=job.qubits.tolist()
    )


def _from_sample_set(answer: dimod.SampleSet, job: Job) -> Answer:
    answer = answer.change_vartype("SPIN", inplace=False)
    record, info = answer.record, dict(answer.info)
    return checked_answer(
        job,
        np.array(list(answer.variables), dtype=np.int64),
        record.sample,
        record.energy,
        record.num_occurrences,
        info.get("problem_id"),
        info,
    )


def _told(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
