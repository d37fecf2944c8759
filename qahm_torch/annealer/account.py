r"""The account of QPU time: what problems are estimated to take, and what they have taken."""

from __future__ import annotations

__all__ = ["TimeAccount", "estimate_access_time", "estimate_submission"]

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import BudgetError, LedgerError

MICROSECOND = 1e-6
BOOKED = ("measured", "unconfirmed", "num_problems", "num_reads")
# The parameters of a submission that the timing model asks for.
TIMED = (
    *("annealing_time", "anneal_schedule", "reinitialize_state", "programming_thermalization"),
    *("readout_thermalization", "reduce_intersample_correlation"),
)


class TimeAccount:
    r"""Counts QPU access time, in seconds: what was measured, and what may have been spent.

    Before a problem is submitted, its estimated time is held; the answer replaces it by the
    measured time. Where no answer comes and the problem may have run, the estimate stays in the
    account as unconfirmed, so that a budget holds in the worst case. An account has an `id`, under
    which an archive knows what was sent on it (see `booked`).

    Arguments:
        budget: The QPU time that may be spent in all; None for no limit.

    Raises:
        ValueError: If the budget is negative.

    Example:
        >>> account = TimeAccount(budget=1.0)
        >>> account.hold("a", 0.25)
        >>> account.charge("a", 0.2, num_reads=100)
        >>> account.spent, account.left
        (0.2, 0.8)
    """

    def __init__(self, budget: float | None = None):
        if budget is not None and not budget >= 0:
            raise ValueError(f"budget is {budget}, but seconds of QPU time are not negative")
        self.budget = budget
        self.id = uuid.uuid4().hex
        self.measured = 0.0
        self.unconfirmed = 0.0
        self.num_problems = 0
        self.num_reads = 0
        self._held: dict[str, float] = {}
        self._unknown: dict[str, float] = {}  # given up, part of what is unconfirmed

    @property
    def spent(self) -> float:
        r"""The seconds that are spent, or may be: measured, unconfirmed and under way."""
        return self.measured + self.unconfirmed + sum(self._held.values())

    @property
    def left(self) -> float:
        r"""The seconds that are left of the budget; infinite without one."""
        return float("inf") if self.budget is None else max(0.0, self.budget - self.spent)

    def check(self, estimate: float) -> None:
        r"""Raises BudgetError if so many more seconds would go beyond the budget."""
        if self.budget is not None and self.spent + estimate > self.budget:
            raise BudgetError(
                f"the next problem would take {estimate:.4g} s of QPU time, and {self.left:.4g} s "
                f"are left of the budget of {self.budget:g} s. It was not submitted; a larger "
                "`budget` lets the run go on from its checkpoint"
            )

    def hold(self, label: str, estimate: float) -> None:
        r"""Sets aside the estimated time of a problem that is about to be submitted."""
        self._held[label] = estimate

    def charge(self, label: str, seconds: float | None, num_reads: int) -> None:
        r"""Books an answer; without a measured time, the estimate counts as unconfirmed."""
        estimate = self._held.pop(label, 0.0)
        if seconds is None:
            self.unconfirmed += estimate
        else:
            self.measured += seconds
        self.num_problems += 1
        self.num_reads += num_reads

    def give_up(self, label: str, may_have_run: bool) -> None:
        r"""Books a problem without an answer."""
        if label in self._unknown:
            if not may_have_run:
                self._release(label)
            return
        estimate = self._held.pop(label, 0.0)
        if may_have_run:
            self.unconfirmed += estimate
            self._unknown[label] = estimate

    def confirm(self, label: str, estimate: float, seconds: float, num_reads: int) -> None:
        r"""Replaces an unconfirmed estimate by the time of an answer that was recovered."""
        if label in self._unknown:
            self._release(label)
        else:
            self.unconfirmed = max(0.0, self.unconfirmed - estimate)
        self.measured += seconds
        self.num_problems += 1
        self.num_reads += num_reads

    def _release(self, label: str) -> None:
        self.unconfirmed = max(0.0, self.unconfirmed - self._unknown.pop(label))

    def state_dict(self) -> dict[str, Any]:
        r"""Returns the account, in plain containers; what is under way counts as unconfirmed."""
        return {
            "id": self.id,
            "measured": self.measured,
            "unconfirmed": self.unconfirmed + sum(self._held.values()),
            "unknown": {**self._unknown, **self._held},
            "num_problems": self.num_problems,
            "num_reads": self.num_reads,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        r"""Takes over an account, so that a resumed run goes on with the same budget.

        Raises:
            LedgerError: If an entry is no finite number, or negative: no budget would hold.
        """
        amounts = {name: _amount(name, state.get(name)) for name in BOOKED}
        # Accounts of former versions have neither labels nor a name.
        unknown = state.get("unknown", {})
        if not isinstance(unknown, dict):
            raise LedgerError(f"the account of QPU time has unknown = {unknown!r}, not a mapping")
        self._unknown = {str(label): _amount(label, value) for label, value in unknown.items()}
        self._held = {}
        self.id = str(state.get("id", self.id))
        self.measured, self.unconfirmed = amounts["measured"], amounts["unconfirmed"]
        self.num_problems = int(amounts["num_problems"])
        self.num_reads = int(amounts["num_reads"])

    def __repr__(self) -> str:
        budget = "" if self.budget is None else f" of {self.budget:g} s"
        return f"TimeAccount({self.spent:.4g} s{budget}, {self.num_problems} problems)"


def _amount(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and 0 <= value < math.inf:
        return float(value)
    raise LedgerError(
        f"the account of QPU time has {name} = {value!r}, but a finite number that is not "
        "negative is needed for a budget to hold"
    )


def estimate_submission(
    chip: Chip, num_qubits: int, num_reads: int, parameters: Mapping[str, Any]
) -> float | None:
    r"""Returns what `estimate_access_time` does, by the parameters of a submission."""
    timed = {name: parameters[name] for name in TIMED if name in parameters}
    return estimate_access_time(chip, num_qubits, num_reads, **timed)


def estimate_access_time(
    chip: Chip,
    num_qubits: int,
    num_reads: int = 1,
    annealing_time: float | None = None,
    *,
    anneal_schedule: Sequence[Sequence[float]] | None = None,
    reinitialize_state: bool = True,
    programming_thermalization: float | None = None,
    readout_thermalization: float | None = None,
    reduce_intersample_correlation: bool = False,
) -> float | None:
    r"""Returns the QPU access time of a problem in seconds, None if the device has no timing data.

    It is the device's own timing model, as the cloud client computes it,

    .. math:: T = T_p + \mathrm{num\_reads} \, (t_a + t_r(\mathrm{num\_qubits}) + t_d),

    with the times of programming, anneal, readout and delay: an estimate of what is billed, not a
    bound. The arguments are those of the submission; None is the device's default. The fast-anneal
    protocol is not modeled.

    Arguments:
        chip: The device.
        num_qubits: The number of qubits that the problem uses.
        num_reads: The number of reads.
        annealing_time: The time of an anneal, in microseconds.
        anneal_schedule: Points (microseconds, s), in place of `annealing_time`; a schedule that
            starts at s = 1 is a reverse anneal.
        reinitialize_state: Whether each read of a reverse anneal starts from the same state.
        programming_thermalization: The wait after programming, in microseconds.
        readout_thermalization: The wait after each read, in microseconds.
        reduce_intersample_correlation: Whether to wait longer between reads.

    Raises:
        ValueError: If a number is not positive, both `annealing_time` and `anneal_schedule` are
            given, or the device has a timing model that the client does not know.

    References:
        | Operation and Timing (D-Wave Systems)
        | https://docs.dwavequantum.com/en/latest/quantum_research/operation_timing.html

    Example:
        >>> from qahm_torch import SimulatedAnnealer
        >>> chip = Chip.of(SimulatedAnnealer("zephyr", 2))
        >>> one, many = (estimate_access_time(chip, 100, n) for n in (1, 1000))
        >>> one < many < 1000 * one
        True
    """
    if num_qubits < 1 or num_reads < 1:
        raise ValueError(
            f"num_qubits is {num_qubits} and num_reads {num_reads}, but a problem has 1 at least"
        )
    if annealing_time is not None and not annealing_time > 0:
        raise ValueError(f"annealing_time is {annealing_time}, but times are positive")
    if chip.timing is None:
        return None
    microseconds = _solver(chip).estimate_qpu_access_time(
        num_qubits,
        num_reads,
        annealing_time=annealing_time,
        anneal_schedule=anneal_schedule,
        # The model asks only whether there is one.
        initial_state=[(0, 1)] if anneal_schedule else None,
        reinitialize_state=reinitialize_state,
        programming_thermalization=_explicit(programming_thermalization),
        readout_thermalization=_explicit(readout_thermalization),
        reduce_intersample_correlation=reduce_intersample_correlation,
    )
    return float(microseconds) * MICROSECOND


def _explicit(time: float | None) -> float | None:
    # The client takes a zero for the default.
    return 1e-9 if time == 0 else time


def _solver(chip: Chip) -> Any:
    from dwave.cloud.solver import StructuredSolver

    properties = {
        "supported_problem_types": ["ising"],
        "parameters": {},
        "qubits": [],
        "couplers": [],
        "problem_timing_data": dict(chip.timing or {}),
    }
    data = {
        "identity": {"name": chip.name},
        "status": "ONLINE",
        "description": "",
        "avg_load": 0.0,
        "properties": properties,
    }
    return StructuredSolver(client=None, data=data)
