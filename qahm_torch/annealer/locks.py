r"""Locks on files, which the system takes off when the process that holds them ends."""

from __future__ import annotations

__all__ = ["PAUSE", "held_elsewhere", "hold_lock", "locked"]

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, where one process at a time has to be the rule
    fcntl = None  # type: ignore[assignment]

PAUSE = 0.005


def hold_lock(descriptor: int, shared: bool = False) -> bool:
    r"""Takes the lock of an open file, until it is closed; returns whether it was free.

    A lock belongs to what was opened, not to the process: two threads exclude each other as two
    processes do, and it goes with the process however that ends. Where the file system has no
    locks, each one is free.

    Arguments:
        descriptor: The file.
        shared: Whether others may hold it so as well: for who only asks whether it is held.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def held_elsewhere(path: Path) -> bool:
    r"""Returns whether somebody who is alive holds the lock of a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not hold_lock(descriptor, shared=True)
    finally:
        _release(descriptor)


@contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    r"""Holds the lock of a file, which is made if it is not there.

    Raises:
        TimeoutError: If somebody else holds it for longer, in seconds.
        OSError: If the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        end = time.monotonic() + timeout
        while not hold_lock(descriptor):
            if time.monotonic() > end:
                raise TimeoutError(f"{path} was locked by another process for {timeout:g} s")
            time.sleep(PAUSE)
        yield
    finally:
        _release(descriptor)


def _release(descriptor: int) -> None:
    # A child that was forked meanwhile has the file open, too: closing it here would leave the
    # lock with the child.
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
