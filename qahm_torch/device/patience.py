r"""How long to wait for a device, and how often to try again."""

from __future__ import annotations

__all__ = ["Clock", "RetryPolicy", "Task"]

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from qahm_torch.device.errors import DeadlineError

T = TypeVar("T")

# Beyond it, clocks of the system overflow.
LONGEST = 1e9
LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class RetryPolicy:
    r"""How long to wait for a device, and how often to try again. All times are in seconds.

    Arguments:
        timeout: The time for one answer by the clock on the wall, everything included: the end of
            it is kept for cancelling the problem, if there is no answer by then.
        request_timeout: The time for one request to the service, and for its silence while a
            large answer comes in.
        retries: How often a step that failed is tried again; waiting for a problem that has been
            accepted is not limited by it, only by `timeout`.
        backoff: The wait before the first retry, which doubles from one to the next.
        settle: How long a submission that may or may not have arrived is looked for.
        resubmit: Whether one that was not found is made again, `retries` times at most. At your
            own risk: a service that lists a problem later than `settle` runs it twice and bills it
            twice, and the account knows of one. By default such a problem ends in a
            `SubmissionUnknownError` and counts as spent until `AnnealerSampler.recover` finds it.

    Raises:
        ValueError: If a time is not positive or `retries` is negative.
    """

    timeout: float = 600.0
    request_timeout: float = 30.0
    retries: int = 4
    backoff: float = 0.5
    settle: float = 10.0
    resubmit: bool = False

    def __post_init__(self) -> None:
        for name in ("timeout", "request_timeout"):
            if not 0 < getattr(self, name) <= LONGEST:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but a time is positive and at most "
                    f"{LONGEST:g} s"
                )
        for name in ("retries", "backoff", "settle"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but it is not negative")

    def pause(self, attempt: int, asked: float | None = None) -> float:
        r"""Returns the seconds to wait before an attempt is made again.

        Twice as long from one to the next, from the backoff up to 10 s; longer if the service asks
        for it.

        Arguments:
            attempt: The number of attempts before this one.
            asked: The seconds that the service asks for.
        """
        # No power that is beyond all numbers, however long a problem is waited for.
        return max(min(LONGEST_PAUSE, self.backoff * 2.0 ** min(attempt, 60)), asked or 0.0)


class Clock:
    r"""A deadline that steps of one job share.

    Arguments:
        timeout: The seconds from now to the deadline.
    """

    def __init__(self, timeout: float):
        self.timeout = timeout
        self._stop = time.monotonic() + timeout

    @property
    def left(self) -> float:
        r"""The seconds that are left; negative beyond the deadline."""
        return self._stop - time.monotonic()

    def earlier(self, seconds: float) -> Clock:
        r"""Returns a clock that runs down so many seconds before this one."""
        clock = Clock(self.timeout)
        clock._stop = self._stop - seconds
        return clock

    def check(self, what: str, problem_id: str | None = None) -> None:
        r"""Raises DeadlineError if the time is over."""
        if self.left <= 0:
            raise DeadlineError(f"{what} within {self.timeout:g} s", problem_id)

    def sleep(self, seconds: float) -> None:
        r"""Sleeps, but not beyond the deadline."""
        time.sleep(max(0.0, min(seconds, self.left)))


class Task(Generic[T]):
    r"""A call in a thread of its own, which is left behind if it does not end.

    Arguments:
        function: What is called.
        timeout: The seconds from now that `result` waits.
    """

    def __init__(self, function: Callable[[], T], timeout: float):
        self._function = function
        self._clock = Clock(timeout)
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def result(self, late: str, may_have_run: bool = False) -> T:
        r"""Returns the value of the function, or raises what it has raised.

        Arguments:
            late: What has not happened, and what becomes of it, with "{time}" for the seconds.
            may_have_run: Whether a problem may have been run all the same.

        Raises:
            DeadlineError: If it has not ended in time.
        """
        self._thread.join(max(0.0, self._clock.left))
        if self._error is not None:
            raise self._error
        if not self._value:
            raise DeadlineError(
                late.format(time=f"{self._clock.timeout:g} s"), may_have_run=may_have_run
            )
        return self._value[0]

    def _call(self) -> None:
        try:
            self._value.append(self._function())
        except BaseException as error:
            self._error = error
