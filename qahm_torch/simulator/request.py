r"""What a call of the simulated annealer asks for, beside the problem."""

from __future__ import annotations

__all__ = ["Request", "schedule_points"]

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Request(NamedTuple):
    r"""The settings of a run, by the names that QPUs give them."""

    num_reads: int
    answer_mode: str
    annealing_time: float | None
    anneal_schedule: tuple[tuple[float, float], ...] | None
    initial_state: Mapping[int, int] | None
    reinitialize_state: bool
    fast_anneal: bool
    programming_thermalization: float | None
    readout_thermalization: float | None

    @property
    def is_reverse(self) -> bool:
        return self.anneal_schedule is not None and self.anneal_schedule[0][1] == 1

    def duration(self, properties: Mapping[str, Any]) -> float:
        r"""Returns the time of an anneal in microseconds."""
        if self.anneal_schedule is not None:
            return self.anneal_schedule[-1][0]
        if self.annealing_time is not None:
            return float(self.annealing_time)
        return float(properties["default_annealing_time"])

    def check(self, properties: Mapping[str, Any]) -> None:
        r"""Checks the settings against the properties of the device.

        Raises:
            ValueError: If one of them is out of its range or they do not fit together.
        """
        if self.answer_mode not in ("histogram", "raw"):
            raise ValueError(
                f"answer_mode is {self.answer_mode!r}, but 'histogram' or 'raw' is needed"
            )
        _check_schedule(self, properties)
        times = "fast_anneal_time_range" if self.fast_anneal else "annealing_time_range"
        _check_range("num_reads", self.num_reads, properties["num_reads_range"])
        _check_range("annealing_time", self.duration(properties), properties[times])
        for name in ("programming_thermalization", "readout_thermalization"):
            if getattr(self, name) is not None:
                _check_range(name, getattr(self, name), properties[f"{name}_range"])
        run = self._run_duration(properties)
        _check_range("problem_run_duration", run, properties["problem_run_duration_range"])

    def path(self, num_sweeps: int) -> NDArray[np.float32]:
        r"""Returns the inverse temperature of each sweep in units of the last one."""
        times, values = np.array(self.anneal_schedule or ((0.0, 0.0), (1.0, 1.0))).T
        num_held = 0 if self.is_reverse else -(-num_sweeps // 2)
        steps = np.arange(1, num_sweeps - num_held + 1) / max(1, num_sweeps - num_held)
        ramp = np.interp(steps * times[-1], times, values)
        return np.concatenate([ramp, np.ones(num_held)]).astype(np.float32)

    def start(self, qubits: NDArray[np.int64]) -> NDArray[np.int8]:
        r"""Returns the initial state in the order of the qubits.

        Raises:
            ValueError: If it leaves out a qubit, or holds anything but spins or bits.
        """
        state = self.initial_state or {}
        for q in qubits.tolist():
            if state.get(q) not in (-1, 0, 1):
                raise ValueError(
                    f"initial_state of qubit {q} is {state.get(q)}, but 1, 0 or -1 is needed"
                )
        return np.array([1 if state[q] == 1 else -1 for q in qubits.tolist()], np.int8)

    def thermalizations(self, properties: Mapping[str, Any]) -> tuple[float, float]:
        r"""Returns the times to cool down after programming and after a read, in microseconds."""
        programming, readout = self.programming_thermalization, self.readout_thermalization
        if programming is None:
            programming = properties["default_programming_thermalization"]
        if readout is None:
            readout = properties["default_readout_thermalization"]
        return float(programming), float(readout)

    def _run_duration(self, properties: Mapping[str, Any]) -> float:
        programming, readout = self.thermalizations(properties)
        return programming + self.num_reads * (self.duration(properties) + readout)


def schedule_points(
    schedule: Sequence[Sequence[float]] | None,
) -> tuple[tuple[float, float], ...] | None:
    r"""Returns a schedule as pairs (time, s)."""
    if schedule is None:
        return None
    return tuple((float(t), float(s)) for t, s in schedule)


def _check_range(name: str, value: float, span: Sequence[float]) -> None:
    if not span[0] <= value <= span[1]:
        raise ValueError(f"{name} is {value:g}, but the device takes {span[0]:g} to {span[1]:g}")


def _check_schedule(request: Request, properties: Mapping[str, Any]) -> None:
    points = request.anneal_schedule
    if points is not None:
        _check_points(points, properties["max_anneal_schedule_points"])
        if request.annealing_time is not None or request.fast_anneal:
            raise ValueError(
                f"anneal_schedule is {points}, but it excludes annealing_time and fast_anneal"
            )
    if request.is_reverse and request.initial_state is None:
        raise ValueError(
            "initial_state is None, but an anneal_schedule that starts at s = 1 needs one"
        )
    if request.initial_state is not None and not request.is_reverse:
        raise ValueError(
            f"initial_state is of {len(request.initial_state)} qubits, but it needs an "
            "anneal_schedule that starts at s = 1"
        )


def _check_points(points: Sequence[Sequence[float]], limit: int) -> None:
    if not 2 <= len(points) <= limit:
        raise ValueError(f"anneal_schedule has {len(points)} points, but it takes 2 to {limit}")
    times, values = zip(*points, strict=True)
    if times[0] != 0 or any(b <= a for a, b in itertools.pairwise(times)):
        raise ValueError(f"times of anneal_schedule are {times}, but they rise from 0")
    if min(values) < 0 or max(values) > 1 or values[0] not in (0, 1) or values[-1] != 1:
        raise ValueError(
            f"s of anneal_schedule is {values}, but it goes from 0 or 1 to 1 within these"
        )
