r"""Compiled heat-bath sweeps of an Ising model: the couplings in panels, the chains in lanes.

The couplings of a few spins in a row form a panel, whose columns are all of their neighbors.
Where the graph is dense a panel has `ROWS` spins, and one where it is sparse. Each chain has its
own stream of random numbers, so that what it does depends neither on the chains beside it nor on
the number of threads.
"""

from __future__ import annotations

__all__ = ["Lanes", "Panels", "arrange_panels", "fill_lanes", "spins_of_lanes", "sweep_lanes"]

import math
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Ising
from qahm_torch.kernels.adjacency import Neighbors, neighbors_of
from qahm_torch.kernels.compiler import compiled, in_threads, worthwhile_threads
from qahm_torch.kernels.vectors import (
    LANES,
    ROWS,
    field_of_row,
    field_of_rows,
    update_in_rows,
    update_of_row,
)

# A coupling of a panel of one row costs as much as this many of a wide one, zeros included.
NARROW_COST = 2.0
# With less work than this, in updates of spins, a second thread costs more than it gains.
WORK_OF_THREAD = 200_000
# What makes a spin certain, in units of log 2.
CERTAIN = 1e4

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.uint64]
Words = NDArray[np.uint32]
Flags = NDArray[np.bool_]


class Layout(NamedTuple):
    r"""Where the couplings of a graph are in its panels."""

    num_rows: int  # in a panel
    starts: Indices  # (P + 1,), the first column of each panel
    columns: Indices  # (C,), the neighbors
    place: NDArray[np.int64]  # (2, E), of both directions of each edge in the couplings
    size: int  # the number of couplings, filled up with zeros, those within panels last


class Panels(NamedTuple):
    r"""A model arranged for `sweep_lanes`, with the fields of independent spins.

    The field on spin i at inverse temperature :math:`\beta` is
    :math:`\beta (h_i - b_i + \sum_j J_{ij} s_j) + b_i`.
    """

    offset: Floats  # (M,), h - b, where M is N filled up to whole panels
    base: Floats  # (M,), b in units of log(2) / 2
    starts: Indices
    columns: Indices
    values: Floats  # (C * num_rows,), the couplings, column by column
    own: Floats  # (M, num_rows), couplings within panels
    frozen: Flags  # (M,), spins that no chain may flip


class Lanes(NamedTuple):
    r"""Chains in blocks of `LANES`, changed in place."""

    spins: Floats  # (B, M, LANES)
    seeds: Words  # (B, 4, LANES)
    hold: Floats  # (B, M, LANES), large where a spin is held; (1, 1, LANES) for nowhere
    energies: Doubles  # (B, LANES), of the model less those of the independent spins
    log_weights: Doubles  # (B, LANES)


_layouts: WeakKeyDictionary[CouplingGraph, Layout] = WeakKeyDictionary()


def arrange_panels(
    ising: Ising, base: Tensor | None = None, frozen: Tensor | None = None
) -> Panels:
    r"""Returns a model in panels.

    Arguments:
        ising: The model, on the CPU.
        base: The fields of the independent spins, of shape (N,); None for zero.
        frozen: The spins that stay as they are, of shape (N,); None for none.
    """
    layout = _layouts.get(ising.graph)
    if layout is None:
        layout = _layouts[ising.graph] = _layout(ising.graph)
    num_spins, size = ising.num_spins, (len(layout.starts) - 1) * layout.num_rows
    offset, base_fields = np.zeros((2, size), np.float32)
    offset[:num_spins] = (ising.h if base is None else ising.h - base).detach().float().numpy()
    if base is not None:
        base_fields[:num_spins] = base.numpy() * (2 / math.log(2))
    still = np.ones(size, np.bool_)
    still[:num_spins] = False if frozen is None else frozen.numpy()
    couplings = np.zeros(layout.size, np.float32)
    one_way, other_way = layout.place
    couplings[one_way] = couplings[other_way] = ising.J.detach().float().numpy()
    values, own = np.split(couplings, [layout.size - size * layout.num_rows])
    own = own.reshape(size, layout.num_rows)
    return Panels(offset, base_fields, layout.starts, layout.columns, values, own, still)


def fill_lanes(
    spins: Tensor,
    panels: Panels,
    clamp: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Lanes:
    r"""Returns chains in lanes.

    Arguments:
        spins: The spins of shape (S, N).
        panels: The model.
        clamp: Spins to hold, of shape (S, N), besides those frozen; None for none.
        generator: Seeds the random numbers of each chain.
    """
    size = len(panels.offset)
    seeds = torch.randint(-(2**31), 2**31, (len(spins), 4), generator=generator)
    nothing = np.zeros((1, 1, LANES), np.float32)
    hold = nothing if clamp is None else _in_lanes(-CERTAIN * clamp, size)
    return Lanes(
        _in_lanes(spins, size),
        _in_lanes(seeds, 4, torch.int32).view(np.uint32),
        _aligned(hold),
        *np.zeros((2, -(-len(spins) // LANES), LANES)),
    )


def spins_of_lanes(lanes: Lanes, num_chains: int, num_spins: int) -> Tensor:
    r"""Returns the spins of shape (S, N), as int8."""
    spins = torch.from_numpy(lanes.spins)[:, :num_spins].to(torch.int8)
    return spins.transpose(1, 2).reshape(-1, num_spins)[:num_chains].contiguous()


def sweep_lanes(lanes: Lanes, panels: Panels, betas: Tensor, weigh: bool = False) -> None:
    r"""Runs the chains in place, one sweep at each inverse temperature.

    Arguments:
        lanes: The chains.
        panels: The model.
        betas: The inverse temperatures: of shape (T, S) for each chain, or (T,) for all.
        weigh: Whether `betas` are those of annealed importance sampling, of shape (T,): there is
            no sweep at the first, and each change from one to the next adds to the log-weights.
    """
    steps = np.zeros(len(betas))
    if weigh:
        steps = betas.double().diff().numpy()
        betas = betas[1:]
    table = _table(betas)
    num_blocks = len(lanes.spins)
    work = num_blocks * LANES * len(panels.offset) * len(betas)
    num_threads = worthwhile_threads(work, WORK_OF_THREAD, num_blocks)
    stops = [k * num_blocks // num_threads for k in range(num_threads + 1)]
    arrays: Any = (*lanes, *panels)

    def run(k: int) -> None:
        scratch = _aligned(np.zeros((ROWS + 1, LANES), np.float32))
        _sweep_blocks(table, steps, scratch, stops[k], stops[k + 1], *arrays)

    in_threads(run, range(num_threads), num_threads)


def _table(betas: Tensor) -> Floats:
    r"""Returns what the fields are multiplied by, of shape (T, B, LANES), or with 1 for B."""
    scaled = (betas * (2 / math.log(2))).float()
    if betas.ndim == 1:
        return _aligned(np.repeat(scaled.numpy(), LANES).reshape(-1, 1, LANES))
    return _aligned(_in_lanes(scaled.T, len(betas)).transpose(1, 0, 2))


# One by one, arrays take a microsecond each to hand over; in a tuple they take ten times that.
@compiled
def _sweep_blocks(
    betas: Floats, steps: Doubles, scratch: Floats, first: int, last: int,
    spins: Floats, seeds: Words, hold: Floats, energies: Doubles, log_weights: Doubles,
    offset: Floats, base: Floats, starts: Indices, columns: Indices, values: Floats, own: Floats,
    frozen: Flags,
) -> None:  # fmt: skip
    panels = Panels(offset, base, starts, columns, values, own, frozen)
    gap = scratch[ROWS]
    for b in range(first, last):
        held = hold[b if len(hold) > 1 else 0]
        for t in range(len(betas)):
            beta = betas[t, b if betas.shape[1] > 1 else 0]
            for c in range(LANES):
                log_weights[b, c] -= steps[t] * energies[b, c]
                gap[c] = 0
            if own.shape[1] == 1:
                _sweep_narrow(spins[b], seeds[b], held, panels, beta, scratch, gap)
            else:
                _sweep_wide(spins[b], seeds[b], held, panels, beta, scratch, gap)
            # What changes in one sweep is small enough for single precision.
            for c in range(LANES):
                energies[b, c] += gap[c]


@compiled
def _sweep_narrow(
    state: Floats, seeds: Words, hold: Floats, panels: Panels, beta: Floats, field: Floats,
    gap: Floats,
) -> None:  # fmt: skip
    _, base, starts, columns, values, own, frozen = panels
    stride, one = np.uint64(len(hold) > 1), np.uint64(1)
    for row in range(len(frozen)):
        i = np.uint64(row)
        if not frozen[i]:
            field_of_row(
                field, panels.offset, state, columns, values, i, starts[i], starts[i + one]
            )
            update_of_row(state, field, own, base, beta, seeds, hold, gap, i, i * stride)


@compiled
def _sweep_wide(
    state: Floats, seeds: Words, hold: Floats, panels: Panels, beta: Floats, field: Floats,
    gap: Floats,
) -> None:  # fmt: skip
    _, base, starts, columns, values, own, frozen = panels
    stride, one = np.uint64(len(hold) > 1), np.uint64(1)
    for panel in range(len(starts) - 1):
        p = np.uint64(panel)
        row = p * np.uint64(ROWS)
        stop = row + np.uint64(ROWS)
        if frozen[row:stop].all():
            continue
        field_of_rows(
            field, panels.offset, state, columns, values, row, starts[p], starts[p + one]
        )
        for k in range(ROWS):
            i = row + np.uint64(k)
            if not frozen[i]:
                update_in_rows(state, field, own, base, beta, seeds, hold, gap, i, i * stride)


def _layout(graph: CouplingGraph) -> Layout:
    near = neighbors_of(graph)
    wide = _layout_of_width(near, ROWS)
    narrow_size = len(near.edges) * NARROW_COST
    return wide if len(wide.columns) * ROWS <= narrow_size else _layout_of_width(near, 1)


def _layout_of_width(near: Neighbors, num_rows: int) -> Layout:
    num_spins, row, column = len(near.degrees), near.spins.numpy(), near.others.numpy()
    num_panels = -(-num_spins // num_rows)
    panel, inside = row // num_rows, row // num_rows == column // num_rows
    # The columns of all panels in order, and where the one of each coupling is.
    keys, where = np.unique((panel * num_spins + column)[~inside], return_inverse=True)
    starts = np.searchsorted(keys, np.arange(num_panels + 1) * num_spins)
    place = np.empty(len(row), np.int64)
    place[~inside] = where * num_rows + row[~inside] % num_rows
    place[inside] = len(keys) * num_rows + row[inside] * num_rows + column[inside] % num_rows
    up, edges = row < column, near.edges.numpy()
    both = np.empty((2, len(edges) // 2), np.int64)
    both[0, edges[up]], both[1, edges[~up]] = place[up], place[~up]
    size = (len(keys) + num_panels * num_rows) * num_rows
    columns = (keys % num_spins).astype(np.uint64)
    return Layout(num_rows, starts.astype(np.uint64), columns, both, size)


def _in_lanes(values: Tensor, size: int, dtype: torch.dtype = torch.float32) -> NDArray[Any]:
    r"""Returns values of chains (S, K) as (B, size, LANES), filled up by the first chain."""
    num_chains, width = values.shape
    num_blocks = -(-num_chains // LANES)
    blocks = torch.zeros(num_blocks, size, LANES, dtype=dtype)
    whole = num_chains // LANES
    blocks[:whole, :width] = values[: whole * LANES].reshape(whole, LANES, width).transpose(1, 2)
    if whole < num_blocks:
        rest = values[whole * LANES :].T
        blocks[whole, :width] = values[:1].T
        blocks[whole, :width, : rest.shape[1]] = rest
    return _aligned(blocks.numpy())


def _aligned(values: NDArray[Any]) -> NDArray[Any]:
    r"""Returns the values in memory that vectors may be loaded from: each in one cache line."""
    if values.ctypes.data % 64 == 0 and values.flags.c_contiguous:
        return values
    space = np.empty(values.nbytes + 64, np.uint8)
    start = -space.ctypes.data % 64
    answer = space[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    answer[...] = values
    return answer
