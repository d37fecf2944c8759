r"""Settings of the annealer, checked when they are made, and what a chip says to them."""

from __future__ import annotations

__all__ = [
    "AnnealSettings",
    "ChainBreaks",
    "Method",
    "PlacementSettings",
    "ProgramSettings",
    "RangePolicy",
    "TrackingSettings",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, get_args

from qahm_torch.device.chip import Chip

Method = Literal["auto", "native", "clique", "biclique", "general", "given"]
RangePolicy = Literal["error", "clip", "rescale"]
ChainBreaks = Literal["majority", "discard"]


@dataclass(frozen=True)
class PlacementSettings:
    r"""How models are placed on a chip.

    "native" puts each spin on one qubit: the one it is named after where that works, otherwise
    wherever a subgraph fits. "clique" is for complete graphs and "biclique" for complete bipartite
    ones, on regular strands of qubits; "general" is a heuristic search for any graph. "auto" takes
    the first of these that applies and succeeds. Searches depend on the seed only, unless the time
    runs out.

    Arguments:
        method: The method; "given" takes `embedding` as it is.
        embedding: The qubits of each spin, by label or else by index, for "given".
        copies: The number of disjoint copies of the model, sampled at once, so that each read
            gives so many samples; "auto" for as many as are found within 5 s, which may be a few
            more or less from time to time.
        seed: The seed of the searches.
        timeout: The time for the search, in seconds; a step of it that runs is not interrupted,
            which matters for large models that fit barely or not.

    Raises:
        ValueError: If the method is unknown, there are no copies or no time, or an embedding is
            there without need or missing.
    """

    method: Method = "auto"
    embedding: Mapping[Any, int | Sequence[int]] | None = None
    copies: int | Literal["auto"] = 1
    seed: int = 0
    timeout: float = 60.0

    def __post_init__(self) -> None:
        _check_choice("method", self.method, get_args(Method))
        if (self.method == "given") != (self.embedding is not None) and self.method != "auto":
            there = "None" if self.embedding is None else "there"
            raise ValueError(
                f"embedding is {there} and method {self.method!r}, but an embedding goes with "
                "method 'given', and that one needs it"
            )
        if self.copies != "auto" and not (isinstance(self.copies, int) and self.copies >= 1):
            raise ValueError(f"copies is {self.copies!r}, but it is a positive number or 'auto'")
        if self.embedding is not None and self.copies not in (1, "auto"):
            raise ValueError(f"copies is {self.copies}, but an embedding is of 1 copy")
        _check_positive("timeout", self.timeout)


@dataclass(frozen=True)
class ProgramSettings:
    r"""How models are programmed on a chip.

    Arguments:
        range_policy: What is done with values out of range: raise an "error", "clip" them, or
            "rescale" the problem, which is then at a higher temperature than the model.
        chain_strength: The ferromagnetic coupling within the strand of qubits of a spin, in the
            units of the model (that is, times beta); None for the greater of 4, at which thermal
            flips break few strands, and :math:`\sqrt{2}` times the typical field on a spin
            (uniform torque compensation). It is at most what the chip can.
        chain_breaks: What is done with strands whose qubits disagree: "majority" lets them vote,
            with a coin for a tie; "discard" leaves out samples with a broken strand, so that there
            may be few. Where spins are held row by row, each row needs its sample: only "majority"
            is possible.
        num_gauges: The number of random gauges per call, each of which is a problem of its own; 0
            for no gauge.

    Raises:
        ValueError: If a choice is unknown, the strength is not positive or a number negative.
    """

    range_policy: RangePolicy = "error"
    chain_strength: float | None = None
    chain_breaks: ChainBreaks = "majority"
    num_gauges: int = 1

    def __post_init__(self) -> None:
        _check_choice("range_policy", self.range_policy, get_args(RangePolicy))
        _check_choice("chain_breaks", self.chain_breaks, get_args(ChainBreaks))
        if self.chain_strength is not None:
            _check_positive("chain_strength", self.chain_strength, ", or None for a choice")
        _check_not_negative("num_gauges", self.num_gauges)


@dataclass(frozen=True)
class TrackingSettings:
    r"""What is assumed of the temperature of a device, and what is expected of its samples.

    Arguments:
        initial_beta: The first guess at the effective inverse temperature. The default is about
            what published schedules give for present machines, and weak enough for all ranges.
        drift: The relative standard deviation of beta from call to call.
        misfit_tolerance: The thermal misfit (see `thermal_misfit`) from which on there is a
            warning.

    Raises:
        ValueError: If the guess is not positive, or another value negative.
    """

    initial_beta: float = 6.0
    drift: float = 0.02
    misfit_tolerance: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.initial_beta < math.inf:
            raise ValueError(f"initial_beta is {self.initial_beta}, but it is positive and finite")
        _check_not_negative("drift", self.drift)
        _check_not_negative("misfit_tolerance", self.misfit_tolerance)


@dataclass(frozen=True)
class AnnealSettings:
    r"""How the device anneals. All times are in microseconds; None is the device's default.

    Arguments:
        annealing_time: The time of one anneal.
        anneal_schedule: Points (time, anneal fraction s), instead of an annealing time. One that
            starts at s = 1 is a reverse anneal; it starts from the samples that are passed as
            `state`, or from random spins where there are none.
        fast_anneal: Whether to use the fast-anneal protocol.
        reinitialize_state: For reverse anneals, whether each read starts from the same state.
        programming_thermalization: The wait after programming.
        readout_thermalization: The wait after each read.
        reduce_intersample_correlation: Whether to wait longer between reads.

    Raises:
        ValueError: If settings contradict each other or a schedule is not one; in `check` if they
            are not the chip's.
    """

    annealing_time: float | None = None
    anneal_schedule: Sequence[Sequence[float]] | None = None
    fast_anneal: bool | None = None
    reinitialize_state: bool | None = None
    programming_thermalization: float | None = None
    readout_thermalization: float | None = None
    reduce_intersample_correlation: bool | None = None

    def __post_init__(self) -> None:
        if self.annealing_time is not None and self.anneal_schedule is not None:
            raise ValueError(
                f"annealing_time is {self.annealing_time} and there is an anneal_schedule, but a "
                "schedule has its own time: give one of the two"
            )
        if self.annealing_time is not None:
            _check_positive("annealing_time", self.annealing_time)
        if self.anneal_schedule is not None:
            _check_schedule([tuple(point) for point in self.anneal_schedule])
        if self.reinitialize_state is not None and not self.is_reverse:
            raise ValueError(
                f"reinitialize_state is {self.reinitialize_state}, but it is for reverse anneals "
                "(a schedule from s = 1)"
            )

    @property
    def is_reverse(self) -> bool:
        r"""Whether anneals start from a state."""
        return self.anneal_schedule is not None and self.anneal_schedule[0][1] == 1

    @property
    def duration(self) -> float | None:
        r"""The time of one anneal; None for the device's default."""
        if self.anneal_schedule is not None:
            return float(self.anneal_schedule[-1][0])
        return self.annealing_time

    def parameters(self) -> dict[str, Any]:
        r"""Returns what is sent to the device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.anneal_schedule is not None:
            values["anneal_schedule"] = [[float(t), float(s)] for t, s in self.anneal_schedule]
        return {name: value for name, value in values.items() if value is not None}

    def check(self, chip: Chip) -> None:
        r"""Raises ValueError if the chip does not take these settings."""
        for name, value in self.parameters().items():
            if name not in chip.parameters:
                raise ValueError(f"{name} is {value}, but {chip.name} has no such parameter")
        limits = chip.annealing_time_range
        if self.duration is not None and limits is not None and not self.fast_anneal:
            low, high = limits
            if not low <= self.duration <= high:
                raise ValueError(
                    f"the time of an anneal is {self.duration:g} microseconds, but {chip.name} "
                    f"takes {low:g} to {high:g}"
                )
        points = chip.max_anneal_schedule_points
        if self.anneal_schedule is not None and points and len(self.anneal_schedule) > points:
            raise ValueError(
                f"anneal_schedule has {len(self.anneal_schedule)} points, but {chip.name} takes "
                f"{points}"
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, but it is one of {', '.join(choices)}")


def _check_positive(name: str, value: float, other: str = "") -> None:
    if not value > 0:
        raise ValueError(f"{name} is {value}, but it is positive{other}")


def _check_not_negative(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} is {value}, but 0 is the least")


def _check_schedule(points: list[tuple[float, ...]]) -> None:
    if len(points) < 2 or any(len(point) != 2 for point in points):
        raise ValueError(f"anneal_schedule is {points}, but it is two or more points (time, s)")
    times, fractions = zip(*points, strict=True)
    if any(b <= a for a, b in pairwise(times)):
        raise ValueError(f"anneal_schedule has the times {times}, but times increase")
    if fractions[-1] != 1 or fractions[0] not in (0, 1):
        raise ValueError(
            f"anneal_schedule goes from s = {fractions[0]} to {fractions[-1]}, but it ends at 1 "
            "and starts at 0, or at 1 for a reverse anneal"
        )
    if any(not 0 <= s <= 1 for s in fractions):
        raise ValueError(f"anneal_schedule has s = {fractions}, but s is within 0 to 1")
    if fractions[0] == 0 and list(fractions) != sorted(fractions):
        raise ValueError(
            f"anneal_schedule has s = {fractions}, but the s of a forward anneal do not fall"
        )
