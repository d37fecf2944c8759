r"""Sweeps of many chains that stand for the anneals of a device."""

from __future__ import annotations

__all__ = ["anneal"]

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from qahm_torch.simulator.arrangement import arrange_program
from qahm_torch.simulator.problem import Problem
from qahm_torch.simulator.request import Request

Spins = NDArray[np.int8]


def anneal(
    problem: Problem,
    gamma: float,
    num_slices: int,
    num_sweeps: int,
    request: Request,
    rng: np.random.Generator,
) -> Spins:
    r"""Returns the reads of a problem, of shape (R, N).

    Arguments:
        problem: The problem in units of the temperature.
        gamma: The transverse field in units of the temperature.
        num_slices: The number of Trotter slices with a transverse field.
        num_sweeps: The number of sweeps.
        request: The settings of the run.
        rng: The source of random numbers.
    """
    from qahm_torch.kernels.clusters import run_chains

    program = arrange_program(problem.h, problem.edges, problem.J, gamma, num_slices)
    path, threads = request.path(num_sweeps), torch.get_num_threads()
    copies, num_spins = num_slices if gamma > 0 else 1, len(problem.h)

    def run(start: Spins) -> Spins:
        chains = run_chains(np.tile(start, copies), *program, path, rng, threads)
        return chains[:, :num_spins]

    if not request.is_reverse:
        bits = rng.integers(0, 2, (request.num_reads, num_spins), dtype=np.int8)
        return run(bits * 2 - 1)
    start = request.start(problem.qubits)[None]
    if request.reinitialize_state:
        return run(start.repeat(request.num_reads, 0))
    return _in_turn(run, start, request.num_reads)


def _in_turn(run: Callable[[Spins], Spins], state: Spins, num_reads: int) -> Spins:
    r"""Returns reads each of which starts where the one before it ended."""
    reads = []
    for _ in range(num_reads):
        state = run(state)
        reads.append(state)
    return np.concatenate(reads)
