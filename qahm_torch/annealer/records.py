r"""What is written into the archive about a problem, and read from it again."""

from __future__ import annotations

__all__ = [
    "Answered",
    "Lost",
    "answered",
    "record_answer",
    "record_job",
    "record_loss",
    "unanswered",
]

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qahm_torch.annealer.archive import AnswerArchive, Record
from qahm_torch.annealer.placement import Layout
from qahm_torch.annealer.program import Program, decode
from qahm_torch.device.door import Answer, Job
from qahm_torch.device.errors import AnnealerError, ProblemFailedError
from qahm_torch.ising import CouplingGraph, Ising


class Lost(NamedTuple):
    r"""A problem that was submitted, of which no answer has come."""

    job: Job
    problem_id: str | None


class Answered(NamedTuple):
    r"""A problem with its answer."""

    ising: Ising  # the model of the spins that were free, float64
    spins: Tensor  # its samples, decoded by majority vote, of shape (S, N), int8
    readout: np.ndarray  # the qubits, of shape (R, Q), int8
    job: Job
    beta: float  # what the model was divided by
    meta: dict[str, Any]  # "purpose", "problem_id", "access_time", "time", ...


def record_job(
    archive: AnswerArchive, job: Job, made: Program, layout: Layout, ising: Ising, purpose: str
) -> None:
    r"""Writes down a problem that is about to be submitted."""
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
        "gauge": made.gauge.numpy().astype(np.int8),
        "spin_of": layout.spin_of.numpy(),
        "chain_length": layout.chain_length.numpy(),
        "edges": ising.graph.edges.numpy(),
        "model_h": ising.h.cpu().double().numpy(),
        "model_J": ising.J.cpu().double().numpy(),
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
            lost[label] = Lost(_job(record), None)
        elif record.meta["kind"] == "answer" or not record.meta["may_be_answered"]:
            lost.pop(label, None)
        elif label in lost:
            lost[label] = lost[label]._replace(problem_id=record.meta["problem_id"])
    return list(lost.values())


def answered(archive: AnswerArchive) -> Iterator[Answered]:
    r"""Yields the problems that have an answer, in the order of the answers."""
    jobs: dict[str, Record] = {}
    for record in archive:
        label = record.meta["label"]
        if record.meta["kind"] == "job":
            jobs[label] = record
        elif record.meta["kind"] == "answer" and label in jobs:
            yield _answered(jobs.pop(label), record)


def _job(record: Record) -> Job:
    arrays, meta = record.arrays, record.meta
    return Job(
        arrays["qubits"],
        arrays["h"],
        arrays["couplers"],
        arrays["J"],
        meta["num_reads"],
        meta["parameters"],
        meta["label"],
    )


def _answered(asked: Record, record: Record) -> Answered:
    job, arrays = _job(asked), asked.arrays
    bits = np.unpackbits(record.arrays["bits"], axis=1, count=len(job.qubits))
    readout = bits.astype(np.int8) * 2 - 1
    h = torch.from_numpy(arrays["model_h"])
    graph = CouplingGraph(len(h), torch.from_numpy(arrays["edges"]))
    ising = Ising(graph, h, torch.from_numpy(arrays["model_J"]))
    spins = decode(
        torch.from_numpy(readout),
        torch.from_numpy(arrays["spin_of"]),
        torch.from_numpy(arrays["chain_length"]),
        torch.from_numpy(arrays["gauge"]),
        len(h),
        generator=torch.Generator().manual_seed(0),
    ).spins
    meta = {**asked.meta, **record.meta}
    return Answered(ising, spins, readout, job, meta["beta"], meta)
