r"""A sampler that stands in for another one."""

from __future__ import annotations

__all__ = ["Fallback", "FallbackWarning"]

import math
import time
import warnings
from typing import Any

import torch
from torch import Tensor

from qahm_torch.device.errors import AnnealerError, BudgetError
from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.samplers.sampler import Sampler, Submission
from qahm_torch.samplers.wrapper import Wrapper


class FallbackWarning(UserWarning):
    r"""Another sampler stands in; the training goes on."""


class Fallback(Wrapper):
    r"""Asks a sampler, and another one where that fails.

    An `AnnealerError` of the first is told by a `FallbackWarning`, once until it has answered
    again, and in `info["fallback"]` of each answer of the other. Then the first rests for a while
    before it is asked again; for good, if it has spent its budget. The other starts from the
    chains that the first would have run on from.

    What the first can do is what both are asked for: the other refuses by itself what it cannot.

    Arguments:
        sampler: The sampler that is asked first, such as an `AnnealerSampler`.
        other: The sampler that stands in.
        cooldown: The seconds of rest after a failure.

    Raises:
        ValueError: If `cooldown` is negative.

    Example:
        >>> from qahm_torch import AnnealedSampler, AnnealerSampler, SimulatedAnnealer
        >>> device = SimulatedAnnealer("chimera", 2, beta=2.0, seed=0)
        >>> Fallback(AnnealerSampler(device), AnnealedSampler()).is_billed
        True
    """

    def __init__(self, sampler: Sampler, other: Sampler, cooldown: float = 60.0):
        if not cooldown >= 0:
            raise ValueError(f"cooldown is {cooldown}, but seconds are not negative")
        super().__init__(sampler)
        self.keeps_chains = sampler.keeps_chains or other.keeps_chains
        self.other = other
        self.cooldown = cooldown
        self._resting_until = 0.0
        self._has_warned = False

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        asked: dict[str, Any] = {"clamp": clamp, "state": state, "generator": generator}

        def stand_in(reason: str) -> Samples:
            samples = self.other.sample(ising, num_samples, **asked)
            info: SampleInfo = {**(samples.info or {}), "fallback": reason}
            return samples._replace(info=info)

        if time.monotonic() < self._resting_until:
            return Submission(lambda: stand_in("the sampler rests after a failure"))
        try:
            pending = self.sampler.submit(ising, num_samples, **asked)
        except AnnealerError as error:
            reason = self._rest(error)
            return Submission(lambda: stand_in(reason))

        def resolve() -> Samples:
            try:
                samples = pending.result()
            except AnnealerError as error:
                return stand_in(self._rest(error))
            self._has_warned = False
            return samples

        return Submission(resolve)

    def _rest(self, error: AnnealerError) -> str:
        r"""Lets the sampler rest after a failure, and returns what is to be said of it."""
        is_spent = isinstance(error, BudgetError)
        self._resting_until = math.inf if is_spent else time.monotonic() + self.cooldown
        if not self._has_warned:
            self._has_warned = True
            message = f"{type(self.other).__name__} stands in: {error}"
            warnings.warn(message, FallbackWarning, stacklevel=4)
        return f"{type(error).__name__}: {error}"

    def __getstate__(self) -> dict[str, Any]:
        # The clock of another process has another beginning.
        return {**self.__dict__, "_resting_until": 0.0}

    def __repr__(self) -> str:
        return f"Fallback({self.sampler!r}, {self.other!r}, cooldown={self.cooldown})"
