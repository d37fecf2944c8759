r"""What holds credentials out of sight, and errors without the frames in which they were."""

from __future__ import annotations

__all__ = ["Sealed", "bare", "has_met_client"]

import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)

# Where the frames hold sessions and headers.
CLIENTS = ("dwave.cloud", "dwave.system.samplers", "requests", "urllib3", "http.client")


class Sealed:
    r"""An object that is used as it is, but neither printed nor looked into.

    Crash reporters print the locals of all frames and follow what hangs on them. Attributes of the
    object are there by name, while `vars`, `repr` and `pickle` do not lead to it.

    Arguments:
        value: The object.

    Example:
        >>> from types import SimpleNamespace
        >>> client = Sealed(SimpleNamespace(token="ABC-0123456789"))
        >>> client, client.token, hasattr(client, "__dict__")
        (Sealed(SimpleNamespace), 'ABC-0123456789', False)
    """

    __slots__ = ("_reach",)
    _reach: Callable[[], Any]

    def __init__(self, value: Any):
        self._reach = lambda: value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._reach(), name)

    def __repr__(self) -> str:
        return f"Sealed({type(self._reach()).__name__})"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} holds credentials, and is not pickled")


def bare(error: E) -> E:
    r"""Returns an error without its traceback, its cause and its context.

    Their frames hold sessions, whose headers are credentials. What raises it next is where its
    traceback begins.
    """
    error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error.with_traceback(None)


def has_met_client(error: BaseException) -> bool:
    r"""Whether an error, or one that led to it, has passed through a client of a service."""
    return any(
        frame.f_globals.get("__name__", "").startswith(CLIENTS)
        for known in _chain(error)
        for frame, _ in traceback.walk_tb(known.__traceback__)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set[int]()
    while waiting:
        known = waiting.pop()
        if id(known) not in seen:
            seen.add(id(known))
            yield known
            waiting += [e for e in (known.__cause__, known.__context__) if e is not None]
