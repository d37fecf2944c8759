r"""An append-only archive of everything that was sent to a device and came back."""

from __future__ import annotations

__all__ = [
    "AnswerArchive",
    "Lost",
    "Record",
    "record_answer",
    "record_job",
    "record_loss",
    "recorded_job",
    "unanswered",
]

import io
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from qahm_torch.annealer.program import Problem
from qahm_torch.device.door import Answer, Job
from qahm_torch.device.errors import AnnealerError, ProblemFailedError

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


class Lost(NamedTuple):
    r"""A problem that was submitted, of which no answer has come."""

    job: Job
    problem_id: str | None


def record_job(
    archive: AnswerArchive, job: Job, problem: Problem, gauge: Tensor, purpose: str
) -> None:
    r"""Writes down a job that is about to be submitted: a problem under one of its gauges."""
    part, made = problem.part, problem.program
    meta = {
        "kind": "job",
        "purpose": purpose,
        "label": job.label,
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
    archive.append(meta, arrays)


def record_answer(archive: AnswerArchive, job: Job, answer: Answer) -> None:
    r"""Writes down an answer, as it was read off the qubits."""
    meta = {
        "kind": "answer",
        "label": job.label,
        "problem_id": answer.problem_id,
        "access_time": answer.access_time,
        "info": {k: v for k, v in answer.info.items() if k == "timing"},
    }
    archive.append(meta, {"bits": np.packbits(answer.spins > 0, axis=1)})


def record_loss(archive: AnswerArchive, job: Job, error: AnnealerError) -> None:
    r"""Writes down that there was no answer."""
    meta = {
        "kind": "loss",
        "label": job.label,
        "problem_id": error.problem_id,
        "may_have_run": error.may_have_run,
        "may_be_answered": error.may_have_run and not isinstance(error, ProblemFailedError),
        "error": f"{type(error).__name__}: {error}",
    }
    archive.append(meta, {})


def unanswered(archive: AnswerArchive) -> list[Lost]:
    r"""Returns the problems that may have an answer at the service only, oldest first."""
    lost: dict[str, Lost] = {}
    for record in archive:
        label = record.meta["label"]
        if record.meta["kind"] == "job":
            lost[label] = Lost(recorded_job(record), None)
        elif record.meta["kind"] == "answer" or not record.meta["may_be_answered"]:
            lost.pop(label, None)
        elif label in lost:
            lost[label] = lost[label]._replace(problem_id=record.meta["problem_id"])
    return list(lost.values())


def recorded_job(record: Record) -> Job:
    r"""Returns the job that `record_job` has written down."""
    qubits, h, couplers, J = (record.arrays[name] for name in ("qubits", "h", "couplers", "J"))
    num_reads, parameters, label = (
        record.meta[name] for name in ("num_reads", "parameters", "label")
    )
    return Job(qubits, h, couplers, J, num_reads, parameters, label)


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
