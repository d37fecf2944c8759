import math

import pytest

from qahm_torch.annealer import TimeLedger
from qahm_torch.device import BudgetError


def test_time_is_held_then_charged():
    ledger = TimeLedger(budget=1.0)
    ledger.hold("a", 0.5)
    assert ledger.spent == 0.5 and ledger.left == 0.5
    ledger.charge("a", 0.2, num_reads=10)
    assert ledger.spent == 0.2 and (ledger.num_problems, ledger.num_reads) == (1, 10)


def test_what_may_have_run_stays_in_the_account():
    ledger = TimeLedger()
    for label, may_have_run in (("a", True), ("b", False)):
        ledger.hold(label, 0.5)
        ledger.give_up(label, may_have_run)
    ledger.hold("c", 0.25)
    ledger.charge("c", None, 1)
    assert ledger.measured == 0 and ledger.unconfirmed == 0.75 and ledger.left == math.inf
    ledger.confirm(0.5, 0.4, 1)
    assert ledger.measured == 0.4 and ledger.unconfirmed == 0.25


def test_budget_is_kept_before_it_is_exceeded():
    ledger = TimeLedger(budget=1.0)
    ledger.hold("a", 0.7)
    ledger.check(0.3)
    with pytest.raises(BudgetError, match=r"0\.4 s of QPU time, and 0\.3 s are left"):
        ledger.check(0.4)


def test_account_goes_on_after_a_resume():
    ledger = TimeLedger(budget=2.0)
    ledger.hold("a", 0.5)
    ledger.charge("a", 0.5, 100)
    ledger.hold("under way", 0.25)
    copy = TimeLedger(budget=2.0)
    copy.load_state_dict(ledger.state_dict())
    assert copy.spent == 0.75 and copy.left == 1.25 and copy.num_reads == 100


def test_a_budget_is_not_negative():
    with pytest.raises(ValueError, match="budget is -1"):
        TimeLedger(budget=-1)
