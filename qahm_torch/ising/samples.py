r"""What a sampler answers: spins, the chains that resume it, and what it tells of itself."""

from __future__ import annotations

__all__ = ["Chains", "SampleInfo", "Samples"]

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypedDict

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chains:
    r"""Markov chains where they stand: what a sampler returns, and runs on from.

    Every sampler can run on from the spins. One whose chains are more than their spins has a
    subclass of its own, whose further fields are tensors.

    Arguments:
        spins: The spins of shape (S, N), one chain per row; +-1 in any dtype.
    """

    spins: Tensor

    _kinds: ClassVar[dict[str, type[Chains]]] = {}

    def __init_subclass__(cls) -> None:
        Chains._kinds[cls.__name__] = cls

    def __len__(self) -> int:
        return len(self.spins)

    def rows(self, index: Tensor) -> Chains:
        r"""Returns copies of some chains, in the order of `index`, of shape (S',).

        A subclass with tensors that are not of one row per chain says here what becomes of them.
        """
        return self._mapped(lambda values: values[index.to(values.device)])

    def to(self, device: torch.device | str) -> Chains:
        r"""Returns the chains on a device."""
        return self._mapped(lambda values: values.to(device))

    def state_dict(self) -> dict[str, Any]:
        r"""Returns plain containers, which load with `weights_only`."""
        return {
            "kind": type(self).__name__,
            **{f.name: getattr(self, f.name) for f in fields(self)},
        }

    @staticmethod
    def from_state_dict(state: dict[str, Any]) -> Chains:
        r"""Returns the chains that `state_dict` was called on.

        Those of a kind that is not known here, since its sampler has not been imported, are taken
        by their spins alone.
        """
        values = {name: value for name, value in state.items() if name != "kind"}
        kind = Chains._kinds.get(state["kind"])
        return Chains(state["spins"]) if kind is None else kind(**values)

    def _mapped(self, function: Any) -> Chains:
        return replace(self, **{f.name: function(getattr(self, f.name)) for f in fields(self)})


class SampleInfo(TypedDict, total=False):
    r"""What a sampler tells of one answer. Each key is there where it means something."""

    backend: str  # what has drawn the samples
    start: Literal[
        "fresh", "resumed", "spins"
    ]  # the chains: none, its own, another sampler's spins
    num_sweeps: int
    effective_population: float  # of the weights of an annealed population
    num_kinks: float  # mean number of kinks of a world line
    betas: list[float]  # inverse temperatures of a ladder
    rejection_rates: list[float]  # of swaps between neighbors on a ladder
    position: int  # the number of recorded answers that have been used
    fallback: str  # why another sampler stood in
    p_value: float  # of the agreement of moments with those of a reference
    disagrees: bool  # whether that is below the level at which it was checked
    device_weight: float  # of the samples in the best mixture with those of the reference
    answer: dict[str, Any]  # what a dimod sampler said, as it said it
    # Of a device, in its own units:
    beta: float  # inverse temperature that the model was divided by
    beta_stderr: float
    beta_measured: float  # of this answer alone
    beta_measured_stderr: float
    thermal_misfit: float  # how far off the fields are that spins obey; 0 for thermal samples
    chain_break_fraction: float
    chain_strength: float  # as programmed
    clipped: int  # the number of values that were clipped to the range
    scale: float  # below 1 where the model was rescaled
    qpu_access_time: float | None  # seconds; None where the device does not say
    num_copies: int  # of the model, side by side on the chip
    problem_ids: list[str]


class Samples(NamedTuple):
    r"""What a sampler answers."""

    spins: Tensor  # (S, N), no gradient
    weights: Tensor | None = None  # (S,), None for equal ones
    state: Chains | None = None  # resumes the chains
    info: SampleInfo | None = None  # what the sampler did
