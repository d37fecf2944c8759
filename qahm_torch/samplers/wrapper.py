r"""Samplers around samplers."""

from __future__ import annotations

__all__ = ["Wrapper", "within"]

from typing import Any, TypeVar

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising
from qahm_torch.samplers.sampler import DeferredSampler, Sampler, Submission

S = TypeVar("S", bound=Sampler)


class Wrapper(DeferredSampler):
    r"""A sampler that asks another one, and can do what that one can.

    Chains go through to the inner sampler as they are, and so does what it has learned: a state
    dict fits with the wrapper and without it. A subclass has a `_submit`.

    Arguments:
        sampler: The inner sampler.
    """

    def __init__(self, sampler: Sampler):
        self.sampler = sampler
        self.can_clamp = sampler.can_clamp
        self.takes_gamma = sampler.takes_gamma
        self.keeps_chains = sampler.keeps_chains
        self.is_billed = sampler.is_billed

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        return self.sampler.submit(
            ising, num_samples, clamp=clamp, state=state, generator=generator
        )

    def _resumes(self, chains: Chains) -> bool:
        return True  # the inner sampler says what it makes of them

    def state_dict(self) -> dict[str, Any]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.load_state_dict(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sampler!r})"


def within(sampler: Sampler, kind: type[S]) -> S | None:
    r"""Returns the first sampler of a kind: the sampler itself, or one that it wraps."""
    while not isinstance(sampler, kind):
        if not isinstance(sampler, Wrapper):
            return None
        sampler = sampler.sampler
    return sampler
