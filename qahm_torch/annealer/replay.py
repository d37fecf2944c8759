r"""An archive as a sampler: the answers that were paid for, once more."""

from __future__ import annotations

__all__ = ["Answered", "ReplaySampler", "answered"]

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qahm_torch.annealer.archive import AnswerArchive, Record, recorded_job
from qahm_torch.annealer.run import decode
from qahm_torch.device.door import Job
from qahm_torch.ising import Chains, CouplingGraph, Ising, SampleInfo, Samples
from qahm_torch.ising.merging import Sets
from qahm_torch.samplers.sampler import Sampler


@dataclass(frozen=True)
class Replayed(Chains):
    r"""Where a replay is: its last samples, and the number of answers that have been used."""

    position: int

    def rows(self, index: Tensor) -> Replayed:
        return replace(self, spins=self.spins[index.to(self.spins.device)])

    def to(self, device: torch.device | str) -> Replayed:
        return replace(self, spins=self.spins.to(device))


class Answered(NamedTuple):
    r"""A problem with its answer."""

    ising: Ising  # the model of the spins that were free, float64
    spins: Tensor  # its samples, decoded by majority vote, of shape (S, N), int8
    readout: np.ndarray  # the qubits, of shape (R, Q), int8
    job: Job
    beta: float  # what the model was divided by
    meta: dict[str, Any]  # "purpose", "problem_id", "access_time", "time", ...


class ReplaySampler(Sampler):
    r"""Answers with the samples of an archive, one recorded call after another.

    The state is the number of answers that have been used, so that a run which resumes goes on
    where it was. What was spent on finding the temperature is left out. Samples are those of the
    models that were recorded: with `strict`, another model is an error; without, the samples are
    used for it as they are, which is right where the model has moved little.

    Arguments:
        archive: The folder of the archive.
        strict: Whether the model must be the one that was recorded.

    Raises:
        ValueError: If the archive has no answers; in `sample` if they are used up, are of another
            model, or too few for the request, or if spins are clamped.
    """

    can_clamp = False
    keeps_chains = True

    def __init__(self, archive: str | Path, strict: bool = True):
        self.archive = Path(archive)
        self.strict = strict
        self._answers = [a for a in answered(AnswerArchive(archive)) if _is_sample(a)]
        if not self._answers:
            raise ValueError(f"archive is {archive}, but there are no answers in it")

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[Answered]:
        return iter(self._answers)

    def _sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Samples:
        position = state.position if isinstance(state, Replayed) else 0
        rows = torch.empty(0, ising.num_spins, dtype=torch.int8)
        while len(rows) < num_samples:
            rows = torch.cat([rows, self._next(ising, position, num_samples).spins])
            position += 1
        spins = rows[:num_samples].to(ising.h)
        info: SampleInfo = {"backend": "replay", "position": position}
        return Samples(spins, state=Replayed(spins, position), info=info)

    def _resumes(self, chains: Chains) -> bool:
        return isinstance(chains, Replayed)

    def _next(self, ising: Ising, position: int, num_samples: int) -> Answered:
        if position >= len(self):
            raise ValueError(
                f"num_samples is {num_samples}, but the {len(self)} answers of {self.archive} are "
                "used up"
            )
        answer = self._answers[position]
        if answer.ising.num_spins != ising.num_spins or (
            self.strict and not _same(answer.ising, ising)
        ):
            raise ValueError(
                f"answer {position} of {self.archive} is of another model, but this one is asked "
                "for; strict=False uses it all the same if it has as many spins"
            )
        return answer


def answered(archive: AnswerArchive) -> Iterator[Answered]:
    r"""Yields the problems that have an answer, in the order of the answers."""
    # An answer that was recovered may be in an older file than its job.
    records = list(archive)
    jobs = {r.meta["label"]: r for r in records if r.meta.get("kind") == "job"}
    for record in records:
        label = record.meta.get("label")
        if record.meta.get("kind") == "answer" and label in jobs:
            yield _answered(jobs.pop(label), record)


def _answered(asked: Record, record: Record) -> Answered:
    job, arrays = recorded_job(asked), asked.arrays
    bits = np.unpackbits(record.arrays["bits"], axis=1, count=len(job.qubits))
    readout = bits.astype(np.int8) * 2 - 1
    h = torch.from_numpy(arrays["model_h"])
    graph = CouplingGraph(len(h), torch.from_numpy(arrays["edges"]))
    ising = Ising(graph, h, torch.from_numpy(arrays["model_J"]))
    gauge = torch.from_numpy(arrays["gauge"])
    strands = Sets(torch.from_numpy(arrays["spin_of"]), len(gauge))
    generator = torch.Generator().manual_seed(0)
    decoded = decode(torch.from_numpy(readout), strands, gauge, len(h), generator=generator)
    meta = {**asked.meta, **record.meta}
    return Answered(ising, decoded.spins, readout, job, meta["beta"], meta)


def _is_sample(answer: Answered) -> bool:
    return bool(answer.meta["purpose"] == "samples")


def _same(recorded: Ising, ising: Ising) -> bool:
    h, J = (values.detach().cpu().double() for values in (ising.h, ising.J))
    return bool(
        torch.equal(recorded.graph.edges, ising.graph.edges)
        and torch.allclose(recorded.h, h, atol=1e-6)
        and torch.allclose(recorded.J, J, atol=1e-6)
    )
