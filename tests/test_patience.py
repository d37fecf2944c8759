r"""Deadlines, and calls that are left behind."""

import threading

import pytest

from qahm_torch import RetryPolicy
from qahm_torch.device import DeadlineError
from qahm_torch.device.patience import Clock, Task


@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout", 0), ("request_timeout", -1), ("retries", -1), ("backoff", -1), ("settle", -1)],
)
def test_patience_is_not_negative(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        RetryPolicy(**{name: value})


def test_a_clock_that_has_run_down_says_so():
    Clock(60).check("nothing came")
    with pytest.raises(DeadlineError, match="nothing came within 0 s") as caught:
        Clock(0).check("nothing came", "id-7")
    assert caught.value.problem_id == "id-7" and caught.value.may_have_run


def test_a_task_hands_over_what_its_function_returns_or_raises():
    assert Task(lambda: None, 60).result("late") is None
    with pytest.raises(KeyError, match="lost"):
        Task(lambda: {}["lost"], 60).result("late")


def test_a_task_that_does_not_end_is_left_behind():
    gate = threading.Event()
    task = Task(lambda: gate.wait(60), 0.05)
    with pytest.raises(DeadlineError, match="no word within 0.05 s") as caught:
        task.result("no word within {time}", may_have_run=True)
    assert caught.value.may_have_run
    gate.set()
