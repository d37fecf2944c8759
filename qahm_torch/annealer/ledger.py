r"""The account of QPU time."""

from __future__ import annotations

__all__ = ["TimeLedger"]

from typing import Any

from qahm_torch.device.errors import BudgetError


class TimeLedger:
    r"""Counts QPU access time, in seconds: what was measured, and what may have been spent.

    Before a problem is submitted, its estimated time is held; the answer replaces it by the
    measured time. Where no answer comes and the problem may have run, the estimate stays in the
    account as unconfirmed, so that a budget holds in the worst case.

    Arguments:
        budget: The QPU time that may be spent in all; None for no limit.

    Example:
        >>> ledger = TimeLedger(budget=1.0)
        >>> ledger.hold("a", 0.25)
        >>> ledger.charge("a", 0.2, num_reads=100)
        >>> ledger.spent, ledger.left
        (0.2, 0.8)
    """

    def __init__(self, budget: float | None = None):
        if budget is not None and not budget >= 0:
            raise ValueError(f"budget is {budget}, but seconds of QPU time are not negative")
        self.budget = budget
        self.measured = 0.0
        self.unconfirmed = 0.0
        self.num_problems = 0
        self.num_reads = 0
        self._held: dict[str, float] = {}

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
        estimate = self._held.pop(label, 0.0)
        self.unconfirmed += estimate if may_have_run else 0.0

    def confirm(self, estimate: float, seconds: float, num_reads: int) -> None:
        r"""Replaces an unconfirmed estimate by the time of an answer that was recovered."""
        self.unconfirmed = max(0.0, self.unconfirmed - estimate)
        self.measured += seconds
        self.num_problems += 1
        self.num_reads += num_reads

    def state_dict(self) -> dict[str, Any]:
        r"""Returns the account, in plain containers; what is under way counts as unconfirmed."""
        return {
            "measured": self.measured,
            "unconfirmed": self.unconfirmed + sum(self._held.values()),
            "num_problems": self.num_problems,
            "num_reads": self.num_reads,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        r"""Takes over an account, so that a resumed run goes on with the same budget."""
        self.measured = float(state["measured"])
        self.unconfirmed = float(state["unconfirmed"])
        self.num_problems = int(state["num_problems"])
        self.num_reads = int(state["num_reads"])
        self._held = {}

    def __repr__(self) -> str:
        budget = "" if self.budget is None else f" of {self.budget:g} s"
        return f"TimeLedger({self.spent:.4g} s{budget}, {self.num_problems} problems)"
