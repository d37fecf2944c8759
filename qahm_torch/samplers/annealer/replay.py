r"""An archive as a sampler: the answers that were paid for, once more."""

from __future__ import annotations

__all__ = ["ReplaySampler"]

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.samplers.annealer.archive import AnswerArchive
from qahm_torch.samplers.annealer.records import Answered, answered
from qahm_torch.samplers.base import Sampler, Samples, check_request


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

    def __init__(self, archive: str | Path, strict: bool = True):
        self.archive = Path(archive)
        self.strict = strict
        self._answers = [a for a in answered(AnswerArchive(archive)) if _is_sample(a)]
        if not self._answers:
            raise ValueError(f"{archive} has no answers in it")

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[Answered]:
        return iter(self._answers)

    def sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None = None,
        state: Any = None,
        generator: torch.Generator | None = None,
    ) -> Samples:
        check_request(ising, num_samples, clamp)
        if clamp is not None:
            raise ValueError("a replay cannot hold spins: it knows no other samples than its own")
        position = int(state or 0)
        rows = torch.empty(0, ising.num_spins, dtype=torch.int8)
        while len(rows) < num_samples:
            rows = torch.cat([rows, self._next(ising, position, num_samples).spins])
            position += 1
        info = {"backend": "replay", "position": position}
        return Samples(rows[:num_samples].to(ising.h), state=position, info=info)

    def _next(self, ising: Ising, position: int, num_samples: int) -> Answered:
        if position >= len(self):
            raise ValueError(
                f"the {len(self)} answers of {self.archive} are used up, and {num_samples} "
                "samples were asked for"
            )
        answer = self._answers[position]
        if answer.ising.num_spins != ising.num_spins or (
            self.strict and not _same(answer.ising, ising)
        ):
            raise ValueError(
                f"answer {position} of {self.archive} is of another model than the one to be "
                "sampled; strict=False uses it all the same if it has as many spins"
            )
        return answer


def _is_sample(answer: Answered) -> bool:
    return answer.meta["purpose"] == "samples"


def _same(recorded: Ising, ising: Ising) -> bool:
    h, J = (values.detach().cpu().double() for values in (ising.h, ising.J))
    return (
        torch.equal(recorded.graph.edges, ising.graph.edges)
        and torch.allclose(recorded.h, h, atol=1e-6)
        and torch.allclose(recorded.J, J, atol=1e-6)
    )
