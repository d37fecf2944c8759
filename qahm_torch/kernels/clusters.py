r"""Compiled heat-bath kernels: many chains side by side, spins and clusters of spins in turn.

A chain is a lane: the chains of a block lie along the contiguous axis, so that one instruction
updates many of them. Each chain has its own stream of random numbers, so that what it does
depends neither on the blocks nor on the number of threads.
"""

from __future__ import annotations

__all__ = ["Clusters", "Rows", "anneal", "run_chains"]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qahm_torch.kernels.compiler import Function, compiled, in_threads
from qahm_torch.kernels.heat_bath import next_words, spin_in_field, uniform

# With more lanes the scalar work per neighbor is shared by more chains; with too many the spins
# of a block leave the cache.
LANES = 128
# Blocks are filled up to a multiple of this, so that no chain is left to scalar instructions.
WIDTH = 32
# Rows of neighbors are filled up to a multiple of this, which the kernel takes at once.
STRIDE = 4

Floats = NDArray[np.float32]
Words = NDArray[np.uint32]


class Rows(NamedTuple):
    r"""Linear functions of the spins, :math:`f_r = h_r + \sum_k J_{rk} s_k`.

    The terms of row r are those from `starts[r]` to `starts[r + 1]`, a multiple of `STRIDE`.
    """

    h: Floats  # (R,)
    starts: NDArray[np.uint64]  # (R + 1,)
    neighbors: NDArray[np.uint64]
    couplings: Floats


class Clusters(NamedTuple):
    r"""Sets of spins to flip together: set g has the members from `starts[g]` on.

    Row p of `fields` is the field on member p from the spins outside of its set.
    """

    starts: NDArray[np.uint64]  # (G + 1,)
    sites: NDArray[np.uint64]  # (P,)
    fields: Rows  # of P rows


def run_chains(
    spins: NDArray[np.int8],
    fields: Rows,
    clusters: Clusters,
    betas: Floats,
    rng: np.random.Generator,
    num_threads: int = 1,
) -> NDArray[np.int8]:
    r"""Returns the chains after one sweep at each inverse temperature.

    Arguments:
        spins: Where the chains start, of shape (S, N).
        fields: The field on each spin, of N rows.
        clusters: Sets of spins that a sweep tries to flip after the single spins.
        betas: The inverse temperatures, of shape (T,).
        rng: Seeds the chains.
        num_threads: The number of threads, which does not change the answer.
    """
    num_chains = len(spins)
    seeds = rng.integers(0, 2**32, size=(4, num_chains), dtype=np.uint32)

    def run(block: NDArray[np.int64]) -> NDArray[np.int8]:
        state = np.ascontiguousarray(spins[block].T, dtype=np.float32)
        anneal(state, fields, clusters, betas, np.ascontiguousarray(seeds[:, block]))
        return state.T.astype(np.int8)

    answers = in_threads(run, _blocks(num_chains, num_threads), num_threads)
    return np.concatenate(answers)[:num_chains]


def _blocks(num_chains: int, num_threads: int) -> list[NDArray[np.int64]]:
    num_vectors = -(-num_chains // WIDTH)
    num_blocks = max(-(-num_chains // LANES), min(num_threads, num_vectors))
    vectors = np.array_split(np.arange(num_vectors * WIDTH).reshape(-1, WIDTH), num_blocks)
    return [vector.ravel() % num_chains for vector in vectors]


def _compiled(function: Function) -> Function:
    # Infinite fields are allowed, so the flags that rule them out are left out.
    return compiled(function, fastmath={"contract", "reassoc", "nsz", "arcp"})


@_compiled
def anneal(state: Floats, fields: Rows, clusters: Clusters, betas: Floats, seeds: Words) -> None:
    r"""Runs the chains in place, one sweep at each inverse temperature.

    Arguments:
        state: The spins of shape (N, L), as float32.
        fields: The field on each spin, of N rows.
        clusters: Sets of spins to flip together.
        betas: The inverse temperatures of shape (T,), as float32.
        seeds: The random number generators of shape (4, L), as uint32; changed in place.
    """
    lanes = state.shape[1]
    total = np.empty(lanes, np.float32)
    field = np.empty(lanes, np.float32)
    random = np.empty(lanes, np.float32)
    for t in range(betas.shape[0]):
        beta = np.float32(2) * betas[t]
        for i in range(state.shape[0]):
            _field(field, state, fields, np.uint64(i))
            _draw(random, seeds)
            _heat_bath(state[i], field, random, beta)
        for g in range(clusters.starts.shape[0] - 1):
            first, last = clusters.starts[g], clusters.starts[g + 1]
            _cluster_field(total, field, state, clusters, first, last)
            _draw(random, seeds)
            _heat_bath(field, total, random, beta)
            for p in range(first, last):
                _multiply(state[clusters.sites[p]], field)


@_compiled
def _field(field: Floats, state: Floats, rows: Rows, r: np.uint64 | int) -> None:
    # Unsigned indices spare the test for negative ones, which costs as much as the arithmetic.
    neighbors, couplings = rows.neighbors, rows.couplings
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    h = rows.h[r]
    for c in range(field.shape[0]):
        field[c] = h
    for q in range(rows.starts[r] >> two, rows.starts[r + one] >> two):
        k = q << two
        i0, i1 = neighbors[k], neighbors[k + one]
        i2, i3 = neighbors[k + two], neighbors[k + three]
        J0, J1 = couplings[k], couplings[k + one]
        J2, J3 = couplings[k + two], couplings[k + three]
        for c in range(field.shape[0]):
            field[c] += (
                J0 * state[i0, c] + J1 * state[i1, c] + J2 * state[i2, c] + J3 * state[i3, c]
            )


@_compiled
def _cluster_field(
    total: Floats, field: Floats, state: Floats, clusters: Clusters, first: int, last: int
) -> None:
    # A cluster is one spin that is now +1: its field is the sum of s f over its members.
    for c in range(total.shape[0]):
        total[c] = 0
    for p in range(first, last):
        _field(field, state, clusters.fields, p)
        row = state[clusters.sites[p]]
        for c in range(total.shape[0]):
            total[c] += row[c] * field[c]


@_compiled
def _heat_bath(spins: Floats, field: Floats, random: Floats, beta: np.float32) -> None:
    for c in range(spins.shape[0]):
        spins[c] = spin_in_field(beta * field[c], random[c])


@_compiled
def _multiply(row: Floats, factor: Floats) -> None:
    for c in range(row.shape[0]):
        row[c] *= factor[c]


@_compiled
def _draw(random: Floats, seeds: Words) -> None:
    r"""Draws uniform numbers, by a generator per lane."""
    x0, x1, x2, x3 = seeds[0], seeds[1], seeds[2], seeds[3]
    for c in range(random.shape[0]):
        bits, x0[c], x1[c], x2[c], x3[c] = next_words(x0[c], x1[c], x2[c], x3[c])
        random[c] = uniform(bits)
