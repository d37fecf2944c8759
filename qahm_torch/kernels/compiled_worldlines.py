r"""World lines of spins in a transverse field: the compiled form, one chain after the other.

Each chain has its own stream of random numbers, so that what it does depends neither on the other
chains nor on the number of threads.
"""

from __future__ import annotations

__all__ = ["run_lines"]

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from qahm_torch.kernels.compiler import compiled, in_threads
from qahm_torch.kernels.worldlines import Fields, join_lines

# With less work than this, in updates of lines, a second thread costs more than it gains.
WORK_OF_THREAD = 20_000


def run_lines(
    lines: Tensor,
    fields: Fields,
    clamp: Tensor,
    num_sweeps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns the world lines after some sweeps (see `worldlines.run_lines`)."""
    num_chains, num_spins = clamp.shape
    num_threads = min(
        torch.get_num_threads(),
        num_chains,
        1 + num_chains * num_spins * num_sweeps // WORK_OF_THREAD,
    )
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    seeds = np.random.default_rng(seed).integers(2**64, size=(num_chains, 2), dtype=np.uint64)
    model = tuple(part.numpy() for part in fields)
    degree = int(fields.starts.diff().max())
    held = clamp.float().contiguous().numpy()

    def run(rows: Any) -> Tensor:
        # A line ends with at least one 1, so that the loops over kinks need no other bound.
        table = pad(lines[rows].flatten(0, 1), (0, 2), value=1.0).numpy()
        answer = torch.from_numpy(_run(table, *model, degree, held[rows], num_sweeps, seeds[rows]))
        return answer.unflatten(0, (len(rows), num_spins))

    rows = np.array_split(np.arange(num_chains), num_threads)
    return join_lines(in_threads(run, rows, num_threads))


# Sums may be taken in any order, which lets the compiler take many terms at once.
_vectorized = partial(compiled, fastmath={"contract", "reassoc", "nsz"})


@compiled
def _run(  # type: ignore[no-untyped-def]
    lines, h, gamma, starts, neighbors, couplings, degree, clamp, num_sweeps, seeds
):
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
def _widened(table, least):  # type: ignore[no-untyped-def]
    height, width = table.shape
    wider = np.ones((height, max(least, 2 * width)), np.float32)
    for row in range(height):
        for k in range(width):
            wider[row, k] = table[row, k]
    return wider


@compiled
def _draw_cuts(table, line, gamma, seed):  # type: ignore[no-untyped-def]
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
def _gather(  # type: ignore[no-untyped-def]
    events, lines, first, h, neighbors, couplings, begin, end
):
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
def _integrate(table, number, events, field, num_events):  # type: ignore[no-untyped-def]
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
def _draw_line(line, table, number, held, seed):  # type: ignore[no-untyped-def]
    cuts, integrals = table[0], table[1]
    # Time is periodic: what is after the last cut is the beginning of the first segment.
    if number > 0:
        integrals[0] += integrals[number]
    first = _heat_bath(integrals[0], seed)
    if held != 0:
        first = held
    line[0] = first
    spin, k = first, 1
    for c in range(1, number + 1):
        after = _heat_bath(integrals[c], seed) if c < number else first
        if after != spin:
            line[k] = cuts[c - 1]
            k += 1
        spin = after
    while line[k] < 1:
        line[k] = 1
        k += 1


@compiled
def _heat_bath(energy, seed):  # type: ignore[no-untyped-def]
    above = _uniform(seed) * (1 + math.exp(2 * energy)) < 1
    return np.float32(1) if above else np.float32(-1)


@compiled
def _exponential(rate, seed):  # type: ignore[no-untyped-def]
    return -math.log(_uniform(seed)) / rate if rate > 0 else math.inf


@compiled
def _uniform(seed):  # type: ignore[no-untyped-def]
    r"""Returns a number between 0 and 1 by xoroshiro128+."""
    x, y = seed[0], seed[1]
    bits = (x + y) >> np.uint64(12)
    y ^= x
    seed[0] = _rotated(x, np.uint64(24)) ^ y ^ (y << np.uint64(16))
    seed[1] = _rotated(y, np.uint64(37))
    return (np.float64(bits) + 0.5) * 2.0**-52


@compiled
def _rotated(x, count):  # type: ignore[no-untyped-def]
    return (x << count) | (x >> (np.uint64(64) - count))
