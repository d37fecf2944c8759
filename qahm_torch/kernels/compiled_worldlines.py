r"""World lines of spins in a transverse field: the compiled form, one chain after the other.

Each chain has its own stream of random numbers, so that what it does depends neither on the other
chains nor on the number of threads.
"""

from __future__ import annotations

__all__ = ["run_lines"]

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from qahm_torch.kernels.compiler import Function, compiled, in_threads, worthwhile_threads
from qahm_torch.kernels.heat_bath import next_words, spin_in_field, uniform
from qahm_torch.kernels.worldlines import Fields, join_lines

# With less work than this, in updates of lines, a second thread costs more than it gains.
WORK_OF_THREAD = 20_000

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Words = NDArray[np.uint32]


def run_lines(
    lines: Tensor,
    fields: Fields,
    clamp: Tensor,
    num_sweeps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns the world lines after some sweeps (see `worldlines.run_lines`)."""
    num_chains, num_spins = clamp.shape
    work = num_chains * num_spins * num_sweeps
    num_threads = worthwhile_threads(work, WORK_OF_THREAD, num_chains)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    seeds = np.random.default_rng(seed).integers(2**32, size=(num_chains, 4), dtype=np.uint32)
    h, gamma, starts, neighbors, couplings = (part.numpy() for part in fields)
    degree = int(fields.starts.diff().max())
    held = clamp.float().contiguous().numpy()

    def run(rows: Indices) -> Tensor:
        # A line ends with at least one 1, so that the loops over kinks need no other bound.
        table = pad(lines[rows].flatten(0, 1), (0, 2), value=1.0).numpy()
        answer = _run(
            table, h, gamma, starts, neighbors, couplings, degree, held[rows], num_sweeps,
            seeds[rows],
        )  # fmt: skip
        return torch.from_numpy(answer).view(len(rows), num_spins, -1)

    rows = np.array_split(np.arange(num_chains), num_threads)
    return join_lines(in_threads(run, rows, num_threads))


def _vectorized(function: Function) -> Function:
    # Sums may be taken in any order, which lets the compiler take many terms at once.
    return compiled(function, fastmath={"contract", "reassoc", "nsz"})


@compiled
def _run(
    lines: Floats, h: Floats, gamma: Floats, starts: Indices, neighbors: Indices,
    couplings: Floats, degree: int, clamp: Floats, num_sweeps: int, seeds: Words,
) -> Floats:  # fmt: skip
    r"""Returns the lines of shape (S N, 1 + K) after the sweeps, as wide as it took."""
    # The cuts of a line and the field integrated between them; when the field jumps and how.
    table = np.ones((2, 16), np.float32)
    events = np.ones((2, degree * lines.shape[1]), np.float32)
    num_spins = h.shape[0]
    for chain in range(clamp.shape[0]):
        seed, first = seeds[chain], chain * num_spins
        for _ in range(num_sweeps):
            for i in range(num_spins):
                table, number = _draw_cuts(table, lines[first + i], gamma[i], seed)
                field, num_events = _gather(
                    events, lines, first, h[i], neighbors, couplings, starts[i], starts[i + 1]
                )
                _integrate(table, number, events, field, num_events)
                if lines.shape[1] < number + 2:
                    lines = _widened(lines, number + 2)
                    events = np.ones((2, degree * lines.shape[1]), np.float32)
                _draw_line(lines[first + i], table, number, clamp[chain, i], seed)
    return lines


@compiled
def _widened(table: Floats, least: int) -> Floats:
    height, width = table.shape
    wider = np.ones((height, max(least, 2 * width)), np.float32)
    for row in range(height):
        for k in range(width):
            wider[row, k] = table[row, k]
    return wider


@compiled
def _draw_cuts(table: Floats, line: Floats, gamma: np.float32, seed: Words) -> tuple[Floats, int]:
    r"""Writes the kinks of a line and a Poisson process of further cuts, sorted."""
    one = np.float32(1)
    number, k = 0, 1
    time = _exponential(gamma, seed)
    while True:
        further = np.float32(time)
        cut = min(line[k], further)
        if number + 1 == table.shape[1]:
            table = _widened(table, number + 2)
        # What ends the last segment is the end of time.
        table[0, number] = min(cut, one)
        if not cut < one:
            return table, number
        number += 1
        if line[k] <= further:
            k += 1
        else:
            time += _exponential(gamma, seed)


@compiled
def _gather(
    events: Floats, lines: Floats, first: int, h: np.float32, neighbors: Indices,
    couplings: Floats, begin: int, end: int,
) -> tuple[np.float32, int]:  # fmt: skip
    r"""Writes when and by how much the field jumps; returns it at time 0, and their number."""
    times, jumps = events[0], events[1]
    two = np.float32(2)
    field, number = h, 0
    for n in range(begin, end):
        line = lines[first + neighbors[n]]
        contribution = couplings[n] * line[0]
        field += contribution
        k = 1
        # Time is periodic, so kinks come in pairs.
        while line[k] < 1:
            times[number], times[number + 1] = line[k], line[k + 1]
            jumps[number], jumps[number + 1] = -two * contribution, two * contribution
            number += 2
            k += 2
    return field, number


@_vectorized
def _integrate(
    table: Floats, number: int, events: Floats, field: np.float32, num_events: int
) -> None:
    r"""Writes the integrals of the field from one cut to the next."""
    cuts, integrals = table[0], table[1]
    times, jumps = events[0], events[1]
    before = np.float32(0)
    for c in range(number + 1):
        time, integral = cuts[c], np.float32(0)
        for e in range(num_events):
            integral += jumps[e] * max(time - times[e], np.float32(0))
        integral += field * time
        integrals[c] = integral - before
        before = integral


@compiled
def _draw_line(line: Floats, table: Floats, number: int, held: np.float32, seed: Words) -> None:
    cuts, integrals = table[0], table[1]
    # Time is periodic: what is after the last cut is the beginning of the first segment.
    if number > 0:
        integrals[0] += integrals[number]
    first = _spin(integrals[0], seed)
    if held != 0:
        first = held
    line[0] = first
    spin, k = first, 1
    for c in range(1, number + 1):
        after = _spin(integrals[c], seed) if c < number else first
        if after != spin:
            line[k] = cuts[c - 1]
            k += 1
        spin = after
    while line[k] < 1:
        line[k] = 1
        k += 1


@compiled
def _spin(energy: np.float32, seed: Words) -> np.float32:
    return spin_in_field(np.float32(2) * energy, _uniform(seed))


@compiled
def _exponential(rate: np.float32, seed: Words) -> float:
    return -math.log(float(_uniform(seed))) / float(rate) if rate > 0 else math.inf


@compiled
def _uniform(seed: Words) -> np.float32:
    r"""Returns a number between 0 and 1, by a generator per chain."""
    bits, seed[0], seed[1], seed[2], seed[3] = next_words(seed[0], seed[1], seed[2], seed[3])
    return uniform(bits)
