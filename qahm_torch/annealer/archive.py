r"""An append-only archive of everything that was sent to a device and came back."""

from __future__ import annotations

__all__ = [
    "AnswerArchive",
    "Lost",
    "Record",
    "Unanswered",
    "record_answer",
    "record_job",
    "record_loss",
    "recorded_job",
    "unanswered",
    "writing",
]

import io
import json
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from qahm_torch.annealer.locks import held_elsewhere, locked
from qahm_torch.annealer.own_file import OwnFile
from qahm_torch.annealer.program import Problem
from qahm_torch.device.door import Answer, Job
from qahm_torch.device.errors import (
    AnnealerError,
    AnnealerWarning,
    ArchiveError,
    ProblemFailedError,
)

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
    disk. A record carries its lengths and a checksum. One that is damaged or was cut short is left
    out in reading, which goes on with the next whole one, and an `AnnealerWarning` tells of it.

    *Why plain files.* Each writing process has a file of its own, which is only ever appended to:
    processes cannot get into each other's way, whatever the file system knows of locks, and a
    damaged byte costs its record and no other. A data base in one file (sqlite) would need shared
    memory for many writers, which network file systems do not have, and one bad page of it may
    cost all of the rest. What a full disk has left of half a record is taken off again.

    The writer holds the lock of its file, which the system takes off when the process ends, in
    whatever way: whether somebody still waits for what a file has submitted is whether its lock is
    held. On Windows, which has no such locks, nobody counts as waiting.

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
        self._own = OwnFile(self.folder)

    def append(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        r"""Writes one record, after those that are still to be written, and waits for the disk.

        Raises:
            OSError: If it cannot be written; nothing of it is left then.
        """
        self._own.append(_packed(meta, arrays))

    def keep(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> str | None:
        r"""Writes one record, or else keeps it in memory until the next one is written.

        Returns:
            None, or why it is not on disk.
        """
        return self._own.keep(_packed(meta, arrays))

    def release(self) -> None:
        r"""Gives up the file and its lock, as the end of the process does."""
        self._own.forget()

    def files(self) -> list[Path]:
        r"""Returns the files of all who have written, oldest first."""
        return sorted(self.folder.glob("*.qahm"))

    def damage(self) -> dict[Path, int]:
        r"""Reads all, and returns the number of damaged pieces of each file that has some."""
        counts = {path: _read(path).num_damaged for path in self.files()}
        return {path: number for path, number in counts.items() if number}

    def records_of(self, path: Path) -> list[Record]:
        r"""Returns the whole records of a file, and warns of damaged ones."""
        read = _read(path)
        # What a living writer is in the middle of is no damage.
        if read.num_damaged and not (read.only_tail and held_elsewhere(path)):
            warnings.warn(
                f"{path} has {read.num_damaged} damaged piece(s){read.why}; "
                f"{len(read.records)} whole records of it are read",
                AnnealerWarning,
                stacklevel=2,
            )
        return read.records

    @contextmanager
    def recovering(self, timeout: float) -> Iterator[None]:
        r"""Keeps other recoveries out, which wait for so many seconds.

        Raises:
            ArchiveError: If another one does not end, or the folder cannot be written.
        """
        with ExitStack() as stack:
            with writing(self):
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / "recovery.lock", timeout))
            yield

    def __iter__(self) -> Iterator[Record]:
        for path in self.files():
            yield from self.records_of(path)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"AnswerArchive({str(self.folder)!r})"


class Lost(NamedTuple):
    r"""A problem that was submitted, of which no answer has come."""

    job: Job
    problem_id: str | None
    account: str | None  # who has paid, if that was written down
    estimate: float | None


def record_job(
    archive: AnswerArchive,
    job: Job,
    problem: Problem,
    gauge: Tensor,
    purpose: str,
    account: str,
    estimate: float,
) -> None:
    r"""Writes down a job that is about to be submitted: a problem under one of its gauges.

    Arguments:
        archive: Where.
        job: What is sent.
        problem: What it is made of.
        gauge: The gauge of each spin, of shape (copies * N,).
        purpose: What it is for.
        account: The id of the account that pays.
        estimate: The seconds that it holds for the job.

    Raises:
        ArchiveError: If that is not possible.
    """
    part, made = problem.part, problem.program
    meta = {
        "kind": "job",
        "purpose": purpose,
        "label": job.label,
        "account": account,
        "estimate": estimate,
        "num_reads": job.num_reads,
        "parameters": {k: v for k, v in job.parameters.items() if k != "initial_state"},
        "beta": made.beta,
        "scale": made.scale,
    }
    arrays = {
        "qubits": job.qubits,
        "h": job.h,
        "couplers": job.couplers,
        "J": job.J,
        "gauge": gauge.numpy().astype(np.int8),
        "spin_of": part.placed.spin_of.numpy(),
        "edges": part.ising.graph.edges.numpy(),
        "model_h": part.ising.h.cpu().double().numpy(),
        "model_J": part.ising.J.cpu().double().numpy(),
    }
    with writing(archive):
        archive.append(meta, arrays)


def record_answer(archive: AnswerArchive, job: Job, answer: Answer) -> str | None:
    r"""Writes down an answer, as it was read off the qubits; returns why it could not be."""
    meta = {
        "kind": "answer",
        "label": job.label,
        "problem_id": answer.problem_id,
        "access_time": answer.access_time,
        "info": {k: v for k, v in answer.info.items() if k == "timing"},
    }
    return archive.keep(meta, {"bits": np.packbits(answer.spins > 0, axis=1)})


def record_loss(archive: AnswerArchive, job: Job, error: AnnealerError) -> None:
    r"""Writes down that there was no answer, now or with the next record."""
    meta = {
        "kind": "loss",
        "label": job.label,
        "problem_id": error.problem_id,
        "may_have_run": error.may_have_run,
        "may_be_answered": error.may_have_run and not isinstance(error, ProblemFailedError),
        "error": f"{type(error).__name__}: {error}",
    }
    archive.keep(meta, {})


@contextmanager
def writing(archive: AnswerArchive) -> Iterator[None]:
    r"""Says in our words that the archive cannot be written, before anything is spent.

    Raises:
        ArchiveError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ArchiveError(
            f"the archive {archive.folder} cannot be written ({error}), so that an answer would "
            "not be kept; nothing was sent. Make room, or give a folder that can be written"
        ) from error


class Unanswered(NamedTuple):
    r"""What the archive knows of jobs, by their labels."""

    lost: list[Lost]  # may have an answer at the service only, and nobody waits for it
    num_waiting: int  # those that a living process waits for


def unanswered(archive: AnswerArchive) -> Unanswered:
    r"""Returns the problems that may have an answer at the service only, oldest first.

    Somebody waits for a job if its writer is alive and has not written down its loss.
    """
    lost: dict[str, Lost] = {}
    waiting: set[str] = set()
    settled: set[str] = set()
    for path in archive.files():
        # Asked before reading: who ends meanwhile is left to the next recovery.
        is_alive = held_elsewhere(path)
        for record in archive.records_of(path):
            label, kind = record.meta.get("label"), record.meta.get("kind")
            if not isinstance(label, str):
                continue
            if kind == "job" and label not in settled:
                lost.setdefault(label, _lost(record))
                waiting |= {label} if is_alive else set()
            elif kind == "answer" or (kind == "loss" and not record.meta["may_be_answered"]):
                lost.pop(label, None)
                settled.add(label)
            elif kind == "loss":
                waiting.discard(label)
                if label in lost:
                    lost[label] = lost[label]._replace(problem_id=record.meta["problem_id"])
    free = [job for label, job in lost.items() if label not in waiting]
    return Unanswered(free, len(waiting & set(lost)))


def _lost(record: Record) -> Lost:
    meta = record.meta
    return Lost(recorded_job(record), None, meta.get("account"), meta.get("estimate"))


def recorded_job(record: Record) -> Job:
    r"""Returns the job that `record_job` has written down."""
    qubits, h, couplers, J = (record.arrays[name] for name in ("qubits", "h", "couplers", "J"))
    num_reads, parameters, label = (
        record.meta[name] for name in ("num_reads", "parameters", "label")
    )
    return Job(qubits, h, couplers, J, num_reads, parameters, label)


class _Read(NamedTuple):
    records: list[Record]
    num_damaged: int
    only_tail: bool  # whether nothing but the end is damaged
    why: str


def _packed(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    head = json.dumps({**meta, "time": time.time()}).encode()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    blob = buffer.getvalue()
    numbers = [len(head), len(blob), zlib.crc32(head + blob)]
    return MAGIC + b"".join(n.to_bytes(4, "little") for n in numbers) + head + blob


def _read(path: Path) -> _Read:
    try:
        data = path.read_bytes()
    except OSError as error:
        return _Read([], 1, False, f" and cannot be read ({error})")
    records, num_damaged, start, is_whole = [], 0, 0, True
    while start < len(data):
        found = _record_at(data, start)
        if found is None:
            num_damaged += is_whole
            start = data.find(MAGIC, start + 1)
            is_whole = False
            if start < 0:
                break
        else:
            record, start = found
            records.append(record)
            is_whole = True
    return _Read(records, num_damaged, num_damaged == 1 and not is_whole, "")


def _record_at(data: bytes, start: int) -> tuple[Record, int] | None:
    r"""Returns the record at a position and where it ends, None if there is no whole one."""
    words = data[start : start + HEADER]
    if len(words) < HEADER or not words.startswith(MAGIC):
        return None
    head_size, blob_size, checksum = np.frombuffer(words[len(MAGIC) :], "<u4").tolist()
    middle = start + HEADER + head_size
    stop = middle + blob_size
    if stop > len(data) or zlib.crc32(data[start + HEADER : stop]) != checksum:
        return None
    # The lengths are not under the checksum: damaged ones can split the parts elsewhere.
    try:
        meta = json.loads(data[start + HEADER : middle])
        with np.load(io.BytesIO(data[middle:stop]), allow_pickle=False) as arrays:
            return Record(meta, dict(arrays)), stop
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile):
        return None
