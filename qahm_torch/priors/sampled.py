r"""Priors whose samples come from a sampler, and when that is called."""

from __future__ import annotations

__all__ = ["SampledPrior"]

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, Samples
from qahm_torch.nn import Prior
from qahm_torch.priors.sharing import from_first_process, is_first_process, refuse_second_bill
from qahm_torch.samplers import Sampler, Submission


class SampledPrior(Prior):
    r"""A prior that asks a sampler for samples of a model, as seldom as it can.

    One negative phase serves all uses within a backward pass, or within `shared_negative`, and
    with a sampler that bills, all processes. Its chains run on from one to the next.

    Arguments:
        sampler: The sampler of the negative phase, which may be replaced at any time.
        num_samples: The number of samples of a negative phase.
        persistent: Whether chains run on from one negative phase to the next.

    Raises:
        ValueError: If `num_samples` is not positive.
    """

    def __init__(self, sampler: Sampler, num_samples: int, persistent: bool):
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}, but at least 1 sample is needed")
        self.sampler = sampler
        self.num_samples = num_samples
        self.persistent = persistent
        self.chains: Chains | None = None
        self._pending: Submission | None = None
        self._drawn: list[_Drawn] = []  # by the backward pass that runs
        self._shared: list[Samples] | None = None  # within `shared_negative`: none, or the one

    @abstractmethod
    def ising(self) -> Ising:
        r"""Returns the model of the present parameters, differentiable in them."""

    def draw(self) -> Samples:
        r"""Runs the negative phase now: `num_samples` samples, for which the chains run on.

        To share one call of the sampler between several uses, pass the answer as `negative`.
        """
        return self._shared_or_asked(None)

    def prefetch(self) -> None:
        r"""Submits the negative phase; the next `draw` or backward pass uses its samples."""
        if self._pending is None and (is_first_process() or not self.sampler.is_billed):
            self._pending = self._submit(self.ising())

    @contextmanager
    def shared_negative(self) -> Iterator[None]:
        r"""Within it, all draws and backward passes use one negative phase.

        The first of them asks the sampler, and the parameters should stay as they are until the
        last.

        Example:
            >>> from qahm_torch import QuantumPriorLayer
            >>> layer, spins = QuantumPriorLayer(4), torch.ones(2, 4)
            >>> with layer.shared_negative():
            ...     (-layer(spins).mean()).backward()
            ...     dreams = layer.draw()
        """
        outer, self._shared = self._shared, [] if self._shared is None else self._shared
        try:
            yield
        finally:
            self._shared = outer

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        clamp: Tensor | None = None,
        sampler: Sampler | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns samples of all spins, of shape (n, N).

        They start from copies of the prior's chains where there are some and nothing is clamped,
        and leave those as they are.

        Arguments:
            num_samples: The number of samples n.
            clamp: Spins to hold, of shape (N,) or (n, N): +-1, or 0 for free.
            sampler: A sampler to use instead of the prior's.
            generator: The source of random numbers.

        Raises:
            RuntimeError: If the sampler bills and this is not the first of several processes.
        """
        refuse_second_bill(sampler or self.sampler)
        state = None
        if clamp is None and sampler is None and self.chains is not None:
            device = self.chains.spins.device
            state = self.chains.rows(_spread(len(self.chains), num_samples, device, generator))
        sampler = sampler or self.sampler
        return sampler.sample(
            self.ising(), num_samples, clamp=clamp, state=state, generator=generator
        ).spins

    def forget_chains(self) -> None:
        r"""Drops the chains and any samples asked for: the next negative phase starts fresh."""
        self.chains = None
        self._pending = None
        self._drawn = []

    def _of_this_backward(self, ising: Ising) -> Samples:
        r"""Returns samples of a model, drawn by its first need in the backward pass that runs.

        The model is that of the forward pass: `functional_call` has put other parameters in its
        place since.
        """
        number = torch._C._current_graph_task_id()
        self._drawn = [drawn for drawn in self._drawn if drawn.number == number >= 0]
        for drawn in self._drawn:
            if _same(drawn.ising, ising):
                return drawn.samples
        is_own = _same(ising, self.ising())
        samples = self._shared_or_asked(None if is_own else ising)
        self._drawn.append(_Drawn(number, ising, samples))
        return samples

    def _shared_or_asked(self, other: Ising | None) -> Samples:
        if self._shared is None:
            return self._asked(other)
        if not self._shared:
            self._shared.append(self._asked(other))
        return self._shared[0]

    def _asked(self, other: Ising | None) -> Samples:
        r"""Returns the samples of the sampler, which are those of all processes where it bills.

        They are of another model than that of the parameters, if there is one.
        """

        def taken() -> Samples:
            return self._taken() if other is None else self._submit(other).result()

        samples = from_first_process(taken) if self.sampler.is_billed else taken()
        if self.persistent:
            self.chains = samples.state
        return samples

    def _taken(self) -> Samples:
        pending, self._pending = self._pending or self._submit(self.ising()), None
        return pending.result()

    def _submit(self, ising: Ising) -> Submission:
        state = self.chains if self.persistent else None
        return self.sampler.submit(ising, self.num_samples, state=state)

    def __getstate__(self) -> dict[str, Any]:
        # Samples under way belong to this process and this object.
        return {**self.__dict__, "_pending": None, "_drawn": [], "_shared": None}


class _Drawn(NamedTuple):
    r"""Samples of a model, and the backward pass that has drawn them."""

    number: int
    ising: Ising
    samples: Samples


def _same(one: Ising, other: Ising) -> bool:
    pairs = (one.h, other.h), (one.J, other.J), (one.gamma, other.gamma)
    return all(x is y or (x is not None and y is not None and torch.equal(x, y)) for x, y in pairs)


def _spread(
    num_chains: int, num_samples: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    r"""Returns random rows of the chains, each as often as the others up to one."""
    rounds = -(-num_samples // num_chains)
    rows = [torch.randperm(num_chains, generator=generator, device=device) for _ in range(rounds)]
    return torch.cat(rows)[:num_samples]
