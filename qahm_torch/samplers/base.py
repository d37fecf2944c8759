r"""The interface of all samplers: settings in the object, chains in and out of the call."""

from __future__ import annotations

__all__ = ["Sampler", "Samples", "Submission", "check_request"]

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Ising


class Samples(NamedTuple):
    r"""What a sampler answers."""

    spins: Tensor  # (S, N), no gradient
    weights: Tensor | None = None  # (S,), None for equal ones
    state: Any = None  # resumes the chains; a tensor has one chain per row
    info: dict[str, Any] | None = None  # what the sampler did


class Sampler(ABC):
    r"""Draws spins from an Ising model.

    A sampler holds settings only. Chains are passed in and returned as `state`, so one sampler
    serves many models, and a checkpoint needs no sampler.
    """

    is_billed = False  # whether samples cost more than the time of this machine

    @abstractmethod
    def sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None = None,
        state: Any = None,
        generator: torch.Generator | None = None,
    ) -> Samples:
        r"""Returns samples of the model, in its dtype and on its device.

        Arguments:
            ising: The model.
            num_samples: The number of samples S.
            clamp: Spins to hold, of shape (N,) for all samples or (S, N) for each: +-1 where a
                spin is held and 0 where it is free. The free spins follow the conditional law.
            state: The state of an earlier answer, to run its chains on; None for fresh ones.
            generator: The source of random numbers; None for torch's own.

        Raises:
            ValueError: If an argument does not fit the model, or the model is one that the
                sampler cannot sample.
        """

    def submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None = None,
        state: Any = None,
        generator: torch.Generator | None = None,
    ) -> Submission:
        r"""Returns at once; `.result()` of the answer gives the samples.

        Takes the arguments of `sample`. The model is copied, so that later changes of the
        parameters do not reach it. A sampler on the local machine does its work in `.result()`.
        """
        snapshot = ising.detach()
        return Submission(
            lambda: self.sample(
                snapshot, num_samples, clamp=clamp, state=state, generator=generator
            )
        )

    def state_dict(self) -> dict[str, Any]:
        r"""Returns what the sampler has learned of its device, in plain containers.

        Most samplers learn nothing. Chains are not part of it: they are in the `state` of answers.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        r"""Takes over what an earlier sampler had learned."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k[:1] != "_")
        return f"{type(self).__name__}({settings})"


class Submission:
    r"""Samples that have been asked for.

    Arguments:
        resolve: Returns the samples; called at most once.
    """

    def __init__(self, resolve: Callable[[], Samples]):
        self._resolve = resolve
        self._samples: Samples | None = None

    def result(self) -> Samples:
        r"""Returns the samples, waiting for them where that is needed."""
        if self._samples is None:
            self._samples = self._resolve()
        return self._samples


def check_request(ising: Ising, num_samples: int, clamp: Tensor | None) -> None:
    r"""Checks what every sampler is asked.

    Raises:
        ValueError: If the biases are not finite, `num_samples` is not positive or `clamp` is of a
            wrong shape or holds anything but -1, 0 and 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}, but at least 1 sample is needed")
    ising.check_finite()
    if clamp is None:
        return
    shapes = ((ising.num_spins,), (num_samples, ising.num_spins))
    if tuple(clamp.shape) not in shapes:
        raise ValueError(
            f"clamp has shape {tuple(clamp.shape)}; {shapes[0]} holds the same spins in all "
            f"samples and {shapes[1]} holds them row by row"
        )
    values = set(clamp.unique().tolist())
    if not values <= {-1, 0, 1}:
        wrong = sorted(values - {-1, 0, 1})[0]
        raise ValueError(f"clamp holds {wrong}; +-1 holds a spin and 0 leaves it free")
