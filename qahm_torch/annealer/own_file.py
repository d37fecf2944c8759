r"""The file of an archive that one process appends to, and whose lock it holds meanwhile."""

from __future__ import annotations

__all__ = ["OwnFile"]

import contextlib
import os
import threading
import time
import weakref
from pathlib import Path

from qahm_torch.annealer.locks import PAUSE, hold_lock


class OwnFile:
    r"""A file of records of this process, made when it is first needed.

    A record is on disk in whole or not at all, so far as the disk lets it: what is left of one
    that did not fit is cut off again.

    Arguments:
        folder: Where the file will be.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._descriptor: int | None = None
        self._waiting: list[bytes] = []
        self._lock = threading.Lock()
        _ALL.add(self)

    def append(self, record: bytes) -> None:
        r"""Writes a record, after those that are kept.

        Raises:
            OSError: If it cannot be written; those that are kept stay so.
        """
        with self._lock:
            self._write([*self._waiting, record])
            self._waiting = []

    def keep(self, record: bytes) -> str | None:
        r"""Writes a record, or else keeps it for the next time and returns why."""
        with self._lock:
            self._waiting.append(record)
            try:
                self._write(self._waiting)
            except OSError as error:
                return str(error)
            self._waiting = []
            return None

    def forget(self) -> None:
        r"""Leaves the file, to the parent after a fork; the next record goes into a new one."""
        # The lock belongs to what was opened; it stays with the parent.
        self._close()
        self._waiting, self._lock = [], threading.Lock()

    def _open(self) -> int:
        if self._descriptor is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder.resolve() / f"{time.time_ns()}-{os.getpid()}.qahm"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._descriptor = os.open(path, flags, 0o666)
            # Whoever asks whether it is held holds it for a moment.
            while not hold_lock(self._descriptor):
                time.sleep(PAUSE)
            _flush_folder(self.folder)
        return self._descriptor

    def _write(self, records: list[bytes]) -> None:
        descriptor = self._open()
        size = os.fstat(descriptor).st_size
        try:
            view = memoryview(b"".join(records))
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise

    def _close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = None

    def __del__(self) -> None:
        self._close()


def _flush_folder(folder: Path) -> None:
    # Not all systems let a folder be opened.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_ALL: weakref.WeakSet[OwnFile] = weakref.WeakSet()


def _forget_all() -> None:
    for file in list(_ALL):
        file.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
