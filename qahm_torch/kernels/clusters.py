r"""Compiled heat-bath kernels: many chains side by side, spins and clusters of spins in turn.

A chain is a lane: the chains of a block lie along the contiguous axis, so that one instruction
updates many of them. Each chain has its own stream of random numbers, so that what it does
depends neither on the blocks nor on the number of threads.
"""

from __future__ import annotations

__all__ = ["Clusters", "Rows", "anneal", "run_chains"]

from functools import partial
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qahm_torch.kernels.compiler import compiled, in_threads

# With more lanes the scalar work per neighbor is shared by more chains; with too many the spins
# of a block leave the cache.
LANES = 128
# Blocks are filled up to a multiple of this, so that no chain is left to scalar instructions.
WIDTH = 32
# Rows of neighbors are filled up to a multiple of this, which the kernel takes at once.
STRIDE = 4

# Infinite fields are allowed, so the flags that rule them out are left out.
_compiled = partial(compiled, fastmath={"contract", "reassoc", "nsz", "arcp"})
_inlined = njit(inline="always")


class Rows(NamedTuple):
    r"""Linear functions of the spins, :math:`f_r = h_r + \sum_k J_{rk} s_k`.

    The terms of row r are those from `starts[r]` to `starts[r + 1]`, a multiple of `STRIDE`.
    """

    h: NDArray[np.float32]  # (R,)
    starts: NDArray[np.uint64]  # (R + 1,)
    neighbors: NDArray[np.uint64]
    couplings: NDArray[np.float32]


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
    betas: NDArray[np.float32],
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


@_compiled
def anneal(state, fields, clusters, betas, seeds):  # type: ignore[no-untyped-def]
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
    uniform = np.empty(lanes, np.float32)
    for t in range(betas.shape[0]):
        beta = np.float32(2) * betas[t]
        for i in range(state.shape[0]):
            _field(field, state, fields, np.uint64(i))
            _draw(uniform, seeds)
            _heat_bath(state[i], field, uniform, beta)
        for g in range(clusters.starts.shape[0] - 1):
            first, last = clusters.starts[g], clusters.starts[g + 1]
            _cluster_field(total, field, state, clusters, first, last)
            _draw(uniform, seeds)
            _heat_bath(field, total, uniform, beta)
            for p in range(first, last):
                _multiply(state[clusters.sites[p]], field)


@_compiled
def _field(field, state, rows, r):  # type: ignore[no-untyped-def]
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
def _cluster_field(total, field, state, clusters, first, last):  # type: ignore[no-untyped-def]
    # A cluster is one spin that is now +1: its field is the sum of s f over its members.
    for c in range(total.shape[0]):
        total[c] = 0
    for p in range(first, last):
        _field(field, state, clusters.fields, p)
        row = state[clusters.sites[p]]
        for c in range(total.shape[0]):
            total[c] += row[c] * field[c]


@_compiled
def _heat_bath(spin, field, uniform, beta):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    for c in range(spin.shape[0]):
        spin[c] = one if uniform[c] * (one + _exp(beta * field[c])) < one else -one


@_compiled
def _multiply(row, factor):  # type: ignore[no-untyped-def]
    for c in range(row.shape[0]):
        row[c] *= factor[c]


@_compiled
def _draw(uniform, seeds):  # type: ignore[no-untyped-def]
    r"""Draws uniform numbers by xoshiro128+, a generator per lane."""
    r0, r1, r2, r3 = seeds[0], seeds[1], seeds[2], seeds[3]
    for c in range(uniform.shape[0]):
        x0, x1, x2, x3 = r0[c], r1[c], r2[c], r3[c]
        bits = np.int32(np.uint32(x0 + x3) >> np.uint32(8))
        uniform[c] = (np.float32(bits) + np.float32(0.5)) * np.float32(2.0**-24)
        shifted = np.uint32(x1 << np.uint32(9))
        x2, x3 = np.uint32(x2 ^ x0), np.uint32(x3 ^ x1)
        x1, x0 = np.uint32(x1 ^ x2), np.uint32(x0 ^ x3)
        x2 = np.uint32(x2 ^ shifted)
        x3 = np.uint32(np.uint32(x3 << np.uint32(11)) | np.uint32(x3 >> np.uint32(21)))
        r0[c], r1[c], r2[c], r3[c] = x0, x1, x2, x3


@_inlined
def _exp(x):  # type: ignore[no-untyped-def]
    r"""Returns exp x to 1e-5 by 2**n and a polynomial, which unlike exp is done lane by lane."""
    x = min(max(x, np.float32(-80)), np.float32(80)) * np.float32(1.4426950408889634)
    n = np.floor(x + np.float32(0.5))
    r = x - n
    power = np.float32(1.3333558146428443e-3)
    power = power * r + np.float32(9.618129107628477e-3)
    power = power * r + np.float32(5.550410866482158e-2)
    power = power * r + np.float32(2.402265069591007e-1)
    power = power * r + np.float32(6.931471805599453e-1)
    power = power * r + np.float32(1)
    return power * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
