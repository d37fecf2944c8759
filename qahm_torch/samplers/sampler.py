r"""The interface of all samplers: settings in the object, chains in and out of the call."""

from __future__ import annotations

__all__ = ["DeferredSampler", "Sampler", "Submission"]

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, Samples

Start = Literal["fresh", "resumed", "spins"]


class Sampler(ABC):
    r"""Draws spins from an Ising model.

    A sampler holds settings only. Chains are passed in and returned as `state`, so one sampler
    serves many models, and a checkpoint needs no sampler.

    `sample` and `submit` are the door, which checks what is asked, once for all samplers; a
    subclass has `_sample` behind it, and says in its class what it can do.

    Example:
        >>> class Coins(Sampler):
        ...     r"Independent fair coins, whatever the model."
        ...
        ...     can_clamp = False
        ...
        ...     def _sample(self, ising, num_samples, *, clamp, state, generator):
        ...         bits = torch.randint(2, (num_samples, ising.num_spins), generator=generator)
        ...         return Samples(bits.to(ising.h) * 2 - 1, info={"backend": "coins"})
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.zeros(3))
        >>> Coins().sample(ising, 5).spins.shape
        torch.Size([5, 3])
        >>> Coins().sample(ising, 5, clamp=torch.ones(3))
        Traceback (most recent call last):
            ...
        ValueError: Coins cannot hold spins, but clamp holds 3 of them
    """

    can_clamp: bool = True  # whether spins can be held
    takes_gamma: bool = False  # whether models may have a transverse field
    keeps_chains: bool = False  # whether there are chains to run on
    is_billed: bool = False  # whether samples cost more than the time of this machine

    def sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None = None,
        state: Chains | Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Samples:
        r"""Returns samples of the model, in its dtype and on its device.

        Arguments:
            ising: The model.
            num_samples: The number of samples S.
            clamp: Spins to hold, of shape (N,) for all samples or (S, N) for each: +-1 where a
                spin is held and 0 where it is free. The free spins follow the conditional law.
            state: The chains of an earlier answer, to run on; None for fresh ones. Chains of
                another sampler, or spins of shape (S', N), are where the new chains start. Another
                number of chains than samples is thinned out or repeated, and chains of a model of
                another size are left aside. Which of these it was is `info["start"]`.
            generator: The source of random numbers; None for torch's own.

        Raises:
            ValueError: If an argument does not fit the model, or the model is one that the
                sampler cannot sample.
        """
        _check_request(self, ising, num_samples, clamp)
        chains, start = _starting_chains(self, ising, num_samples, state)
        with torch.no_grad(), torch.autocast(ising.h.device.type, enabled=False):
            samples = self._sample(
                ising, num_samples, clamp=clamp, state=chains, generator=generator
            )
        return _noted(samples, start)

    def submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None = None,
        state: Chains | Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Submission:
        r"""Returns at once; `.result()` of the answer gives the samples.

        Takes the arguments of `sample`. The model is copied, so that later changes of the
        parameters do not reach it. A sampler on the local machine does its work in `.result()`.
        """
        _check_request(self, ising, num_samples, clamp)
        chains, start = _starting_chains(self, ising, num_samples, state)
        with torch.no_grad():
            pending = self._submit(
                ising.detach(), num_samples, clamp=clamp, state=chains, generator=generator
            )
        return Submission(lambda: _noted(pending.result(), start))

    @abstractmethod
    def _sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Samples:
        r"""Returns samples; the arguments are checked, and no gradient is recorded.

        `state` has one chain per sample, on the device of the model. It may be the chains of
        another sampler, of which the spins are what there is.
        """

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        r"""Returns at once, for a sampler that has something to wait for."""

        def draw() -> Samples:
            with torch.no_grad(), torch.autocast(ising.h.device.type, enabled=False):
                return self._sample(
                    ising, num_samples, clamp=clamp, state=state, generator=generator
                )

        return Submission(draw)

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

    def _resumes(self, chains: Chains) -> bool:
        r"""Whether chains are of the sampler's own kind, and not just spins to start from."""
        return type(chains) is Chains


class DeferredSampler(Sampler):
    r"""A sampler whose samples come later, such as a device: what it has is a `_submit`."""

    def _sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Samples:
        return self._submit(
            ising.detach(), num_samples, clamp=clamp, state=state, generator=generator
        ).result()

    @abstractmethod
    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        r"""Submits what is asked and returns at once; the arguments are those of `_sample`."""


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


def _check_request(sampler: Sampler, ising: Ising, num_samples: int, clamp: Tensor | None) -> None:
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}, but at least 1 sample is needed")
    name = type(sampler).__name__
    if not (ising.is_classical or sampler.takes_gamma):
        raise ValueError(
            f"{name} samples classical models, but gamma is not 0; PathIntegralSampler takes a "
            "transverse field, and ExactSampler one of few spins"
        )
    ising.check_finite()
    if clamp is None:
        return
    _check_clamp(ising, num_samples, clamp)
    if not sampler.can_clamp:
        held = int((clamp != 0).sum())
        raise ValueError(f"{name} cannot hold spins, but clamp holds {held} of them")


def _starting_chains(
    sampler: Sampler, ising: Ising, num_samples: int, state: Chains | Tensor | None
) -> tuple[Chains | None, Start]:
    r"""Returns the chains to start from, one per sample, and what is to be said of them."""
    chains = Chains(state) if isinstance(state, Tensor) else state
    if chains is None or not sampler.keeps_chains or not _fits(chains, ising):
        return None, "fresh"
    chains = chains.to(ising.h.device)
    if len(chains) != num_samples:
        rows = torch.arange(num_samples, device=chains.spins.device)
        chains = chains.rows(rows % len(chains))
    if sampler._resumes(chains):
        return chains, "resumed"
    return Chains(chains.spins), "spins"


def _noted(samples: Samples, start: Start) -> Samples:
    return samples._replace(info={"start": start, **(samples.info or {})})


def _fits(chains: Chains, ising: Ising) -> bool:
    shape = chains.spins.shape
    return len(shape) == 2 and shape[0] > 0 and shape[1] == ising.num_spins


def _check_clamp(ising: Ising, num_samples: int, clamp: Tensor) -> None:
    shapes = ((ising.num_spins,), (num_samples, ising.num_spins))
    if tuple(clamp.shape) not in shapes:
        raise ValueError(
            f"clamp has shape {tuple(clamp.shape)}; {shapes[0]} holds the same spins in all "
            f"samples and {shapes[1]} holds them row by row"
        )
    wrong = clamp[(clamp != 0) & (clamp.abs() != 1)]
    if len(wrong):
        raise ValueError(
            f"clamp holds {wrong.min().item()}; +-1 holds a spin and 0 leaves it free"
        )
