r"""An append-only archive of everything that was sent to a device and came back."""

from __future__ import annotations

__all__ = ["AnswerArchive", "Record"]

import io
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MAGIC = b"QAHM"
# The magic word, then the lengths of the two parts and a checksum of both, 4 bytes each.
HEADER = len(MAGIC) + 12


class Record(NamedTuple):
    r"""One entry: a few values by name, and arrays by name."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]


class AnswerArchive:
    r"""Keeps submissions and answers in a folder, so that nothing that was paid for is lost.

    A submission is written before it is sent and an answer as soon as it is there, each flushed to
    disk. A record carries its lengths and a checksum: one that was cut short by a crash is left
    out in reading, and all before it are whole. Each writing process has a file of its own, which
    is only ever appended to.

    Arguments:
        folder: Where the files are; made if it is not there.

    Example:
        >>> import tempfile
        >>> archive = AnswerArchive(tempfile.mkdtemp())
        >>> archive.append({"kind": "answer"}, {"spins": np.ones((2, 3), dtype=np.int8)})
        >>> [record.arrays["spins"].shape for record in archive]
        [(2, 3)]
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._file: Path | None = None
        self._pid = 0

    def append(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        r"""Writes one record and waits until it is on disk.

        Raises:
            OSError: If it cannot be written.
        """
        head = json.dumps({**meta, "time": time.time()}).encode()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        blob = buffer.getvalue()
        numbers = [len(head), len(blob), zlib.crc32(head + blob)]
        header = MAGIC + b"".join(n.to_bytes(4, "little") for n in numbers)
        with open(self._path(), "ab") as file:
            file.write(header + head + blob)
            file.flush()
            os.fsync(file.fileno())

    def __iter__(self) -> Iterator[Record]:
        for path in sorted(self.folder.glob("*.qahm")):
            yield from _records(path)

    def _path(self) -> Path:
        # After a fork, the child must not write into the file of its parent.
        if self._file is None or self._pid != os.getpid():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._pid = os.getpid()
            self._file = self.folder / f"{time.time_ns()}-{self._pid}.qahm"
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_file": None, "_pid": 0}

    def __repr__(self) -> str:
        return f"AnswerArchive({str(self.folder)!r})"


def _records(path: Path) -> Iterator[Record]:
    data = path.read_bytes()
    start = 0
    while len(data) - start >= HEADER and data[start : start + len(MAGIC)] == MAGIC:
        words = data[start + len(MAGIC) : start + HEADER]
        head_size, blob_size, checksum = np.frombuffer(words, "<u4").tolist()
        middle = start + HEADER + head_size
        stop = middle + blob_size
        if stop > len(data) or zlib.crc32(data[start + HEADER : stop]) != checksum:
            return
        meta = json.loads(data[start + HEADER : middle])
        with np.load(io.BytesIO(data[middle:stop]), allow_pickle=False) as arrays:
            yield Record(meta, dict(arrays))
        start = stop
