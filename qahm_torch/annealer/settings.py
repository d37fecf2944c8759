r"""Settings of anneals, checked when they are made and against a chip."""

from __future__ import annotations

__all__ = ["AnnealSettings"]

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from qahm_torch.device.chip import Chip


@dataclass(frozen=True)
class AnnealSettings:
    r"""How the device anneals. All times are in microseconds; None is the device's default.

    Arguments:
        annealing_time: The time of one anneal.
        anneal_schedule: Points (time, anneal fraction s), instead of an annealing time. One that
            starts at s = 1 is a reverse anneal; it starts from samples of the answer before.
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
                f"annealing_time is {self.annealing_time} and there is an anneal_schedule; a "
                "schedule has its own time, so give one of the two"
            )
        if self.annealing_time is not None and not self.annealing_time > 0:
            raise ValueError(f"annealing_time is {self.annealing_time}, but a time is positive")
        if self.anneal_schedule is not None:
            _check_schedule([tuple(point) for point in self.anneal_schedule])
        if self.reinitialize_state is not None and not self.is_reverse:
            raise ValueError("reinitialize_state is for reverse anneals (a schedule from s = 1)")

    @property
    def is_reverse(self) -> bool:
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
        unknown = [name for name in self.parameters() if name not in chip.parameters]
        if unknown:
            raise ValueError(f"{chip.name} has no parameter {unknown[0]!r}")
        limits = chip.annealing_time_range
        if self.duration is not None and limits is not None and not self.fast_anneal:
            low, high = limits
            if not low <= self.duration <= high:
                raise ValueError(
                    f"an anneal of {self.duration:g} microseconds is not within {low:g} to "
                    f"{high:g}, what {chip.name} takes"
                )
        points = chip.max_anneal_schedule_points
        if self.anneal_schedule is not None and points and len(self.anneal_schedule) > points:
            raise ValueError(
                f"the schedule has {len(self.anneal_schedule)} points; {chip.name} takes {points}"
            )


def _check_schedule(points: list[tuple[float, ...]]) -> None:
    if len(points) < 2 or any(len(point) != 2 for point in points):
        raise ValueError(f"anneal_schedule is {points}; it is two or more points (time, s)")
    times, fractions = zip(*points, strict=True)
    if any(b <= a for a, b in pairwise(times)):
        raise ValueError(f"the times {times} of the anneal_schedule do not increase")
    if fractions[-1] != 1 or fractions[0] not in (0, 1):
        raise ValueError(
            f"the anneal_schedule goes from s = {fractions[0]} to {fractions[-1]}; it ends at 1 "
            "and starts at 0, or at 1 for a reverse anneal"
        )
    if any(not 0 <= s <= 1 for s in fractions):
        raise ValueError(f"anneal fractions {fractions} are not all within 0 to 1")
    if fractions[0] == 0 and list(fractions) != sorted(fractions):
        raise ValueError(f"a forward anneal's fractions {fractions} do not fall")
