r"""How long to wait for a device, and how often to try again."""

from __future__ import annotations

__all__ = ["Clock", "RetryPolicy"]

import time
from dataclasses import dataclass

from qahm_torch.device.errors import DeadlineError


@dataclass(frozen=True)
class RetryPolicy:
    r"""How long to wait for a device, and how often to try again. All times are in seconds.

    Arguments:
        timeout: The time for one answer, everything included. After it, the problem is cancelled
            if it can be.
        request_timeout: The time for one request to the service.
        retries: How often a step that failed is tried again; waiting for a problem that has been
            accepted is not limited by it, only by `timeout`.
        backoff: The wait before the first retry, which doubles from one to the next.
        settle: How long a submission that may or may not have arrived is looked for before it is
            made again. A service that lists a problem later than that may bill it twice.
        cooldown: Where there is a fallback sampler, how long it stands in before the device is
            tried again.

    Raises:
        ValueError: If a time is not positive or `retries` is negative.
    """

    timeout: float = 600.0
    request_timeout: float = 30.0
    retries: int = 4
    backoff: float = 0.5
    settle: float = 10.0
    cooldown: float = 60.0

    def __post_init__(self) -> None:
        for name in ("timeout", "request_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but a time is positive")
        for name in ("retries", "backoff", "settle", "cooldown"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but it is not negative")


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
        return self._stop - time.monotonic()

    def check(self, what: str, problem_id: str | None = None) -> None:
        r"""Raises DeadlineError if the time is over."""
        if self.left <= 0:
            raise DeadlineError(f"{what} within {self.timeout:g} s", problem_id)

    def sleep(self, seconds: float) -> None:
        r"""Sleeps, but not beyond the deadline."""
        time.sleep(max(0.0, min(seconds, self.left)))
