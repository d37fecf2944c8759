r"""Measurements that take long, and one who looks at how far they are."""

from __future__ import annotations

__all__ = ["steps", "watched"]

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Watcher = Callable[[int, int], None]

_watcher: ContextVar[Watcher | None] = ContextVar("_watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    r"""Lets somebody know how far the measurements within are.

    Arguments:
        watcher: Is called with the number of batches that are done, and that of all.

    Example:
        >>> with watched(lambda done, total: print(done, "of", total)):
        ...     sum(steps([10, 20]))
        1 of 2
        2 of 2
        30
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def steps(batches: Sequence[T]) -> Iterator[T]:
    r"""Yields batches; where somebody watches, each is told when it is done."""
    watcher = _watcher.get()
    for done, batch in enumerate(batches, 1):
        yield batch
        if watcher is not None:
            watcher(done, len(batches))
