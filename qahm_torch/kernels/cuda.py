r"""Heat-bath sweeps as Triton kernels for CUDA: one launch runs many sweeps of many chains.

A program owns a block of chains and walks through all spins, so that the programs never wait for
each other. The spins of a block are contiguous bytes, one row per spin, and small enough to stay
in the cache. Random numbers are a function of seed, sweep, spin and chain, so that what a chain
does depends neither on the blocks nor on how many chains there are.

The module needs triton, so it is imported where it is used. Triton looks annotations up among its
own names, unless they are quoted.
"""

# ruff: noqa: UP037
# The bodies of kernels are Triton, whose types and loops pyright takes for those of Python.
# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

__all__ = ["matrix_kernel", "sweep_chains", "table_kernel"]

import os
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.kernels.tiles import (
    MATRIX_COLUMNS,
    TABLE_COLUMNS,
    Matrix,
    Table,
    arrange_chains,
    rounded_up,
)

# Chains per program: 32 bytes are what the memory moves at once.
MAX_LANES, MIN_LANES = 32, 8
# Chains of a matrix for each warp, and the warps of a program with a table.
MATRIX_LANES, TABLE_WARPS = 8, 4
# How tiles are multiplied: "tf32" would round the couplings, "tf32x3" is single precision as well.
PRECISION = "ieee"


@torch.no_grad()
def sweep_chains(
    model: Ising | Matrix | Table,
    state: Tensor,
    num_sweeps: int,
    seed: int | Tensor,
    hold: Tensor | None = None,
    betas: Tensor | None = None,
    *,
    num_lanes: int | None = None,
    num_warps: int | None = None,
) -> Tensor:
    r"""Returns the chains after sweeps, in which every spin is drawn given the others.

    At the inverse temperature :math:`\beta` the energy is :math:`(1 - \beta) E_0 + \beta E`, where
    :math:`E_0 = \sum_i b_i s_i` is that of the base. Fields are summed in single precision.

    Arguments:
        model: The model, or what `arrange_chains` made of it, which saves time in later calls.
        state: The chains of shape (S, N).
        num_sweeps: The number of sweeps T, all in one launch.
        seed: The seed, a number below 2**63, or a tensor of one, which may be on the device.
        hold: Spins to hold, of shape (N,) or (S, N): +-1, or 0 for free.
        betas: Inverse temperatures that can be expanded to (T, S); None for 1.
        num_lanes: The chains per program, a power of two of at least 4; None for a choice by S.
        num_warps: The warps per program. Neither this nor `num_lanes` changes what is drawn.

    Returns:
        The chains of shape (S, N), in the dtype of `state`, which is left as it is.

    Raises:
        ValueError: If an argument does not fit the model, or the chains are not on a CUDA device.
    """
    _check_arguments(model, state, num_sweeps, hold, num_lanes)
    tiles = arrange_chains(model) if isinstance(model, Ising) else model
    num_chains, device = len(state), state.device
    lanes = num_lanes or _choose_lanes(num_chains, device)
    spins = state.to(torch.int8)
    if hold is not None:
        hold = hold.to(spins)
        spins = torch.where(hold == 0, spins, hold)
    blocks = _to_lanes(spins, tiles, lanes)
    held, strides = _held(hold, blocks, tiles)
    betas = torch.ones((), device=device) if betas is None else betas.to(device).float()
    betas = betas.expand(num_sweeps, num_chains)
    common = (num_sweeps, num_chains, *betas.stride(), *strides, hold is not None, lanes)
    seed = torch.as_tensor(seed, dtype=torch.int64).to(device, non_blocking=True)
    with torch.cuda.device(blocks.get_device()):
        _launch(tiles, (blocks, held, betas, seed), common, num_warps)
    return _from_lanes(blocks, tiles, num_chains).to(state.dtype)


def _kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    r"""Returns `triton.jit` with options, as a decorator whose answer has no type of its own."""
    decorator: Callable[[Callable[..., Any]], Any] = triton.jit(**options)
    return decorator


@_kernel()
def _excess(
    field: "Any", base: "Any", beta: "Any", hold: "Any", key: "Any",
    sweep: "Any", spin: "Any", block: "Any",
    HELD: tl.constexpr, LANES: tl.constexpr,
) -> "Any":  # fmt: skip
    r"""Returns fields of shape (rows, LANES) less noise: the spins are +1 where it is negative."""
    four = block * (LANES // 4) + tl.arange(0, LANES // 4)
    a, b, c, d = tl.philox(key, four[None, :], spin[:, None], sweep, 0)
    bits = tl.reshape(tl.join(tl.join(a, b), tl.join(c, d)), (field.shape[0], LANES))
    bits = bits.to(tl.int32, bitcast=True)
    # One bit for the sign and the others for the size resolve both tails of the noise alike.
    uniform = tl.uint_to_uniform_float(bits) + 1.1641532182693481e-10
    noise = 0.5 * tl.log((2.0 - uniform) / uniform)
    excess = beta[None, :] * field + base[:, None] + tl.where(bits < 0, noise, -noise)
    if HELD:
        # No field is as large, and unlike infinity it may be multiplied by zero.
        excess = tl.where(hold == 0, excess, hold.to(tl.float32) * -1e30)
    return excess


@_kernel(do_not_specialize=["num_sweeps", "num_chains", "num_spins"])
def matrix_kernel(
    state: "Any", hold: "Any", betas: "Any", seed: "Any",
    num_sweeps: "Any", num_chains: "Any", beta_t: "Any", beta_s: "Any",
    hold_b: "Any", hold_r: "Any", hold_s: "Any",
    HELD: tl.constexpr, LANES: tl.constexpr,
    h: "Any", base: "Any", weights: "Any", own: "Any",
    num_spins: "Any", num_rows: "Any",
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    r"""Sweeps chains of a dense model, ROWS spins of it at a time."""
    block = tl.program_id(0)
    lane = tl.arange(0, LANES)
    row = tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    chain = block * LANES + lane
    state += block.to(tl.int64) * num_rows * LANES
    hold += block.to(tl.int64) * hold_b
    key = tl.load(seed)
    for t in range(num_sweeps):
        beta = tl.load(betas + t * beta_t + chain * beta_s, mask=chain < num_chains, other=1.0)
        for start in range(0, num_spins, ROWS):
            at = start + row
            field = tl.zeros((ROWS, LANES), tl.float32) + tl.load(h + at)[:, None]
            for first in range(0, num_rows, COLUMNS):
                other = first + column
                w = tl.load(weights + at[:, None] * num_rows + other[None, :])
                s = tl.load(state + other[:, None] * LANES + lane[None, :]).to(tl.float32)
                field = tl.dot(w, s, field, input_precision=PRECISION)
            held = tl.load(hold + at[:, None] * hold_r + lane[None, :] * hold_s) if HELD else 0
            excess = _excess(field, tl.load(base + at), beta, held, key, t, at, block, HELD, LANES)
            for k in range(ROWS - 1):
                drawn = tl.sum(tl.where(row[:, None] == k, excess, 0.0), 0)
                change = tl.where(drawn < 0, beta, -beta)
                excess += tl.load(own + at * ROWS + k)[:, None] * change[None, :]
            # All threads have read the old spins, and will read the new ones.
            tl.debug_barrier()
            spins = tl.where(excess < 0, 1, -1).to(tl.int8)
            tl.store(state + at[:, None] * LANES + lane[None, :], spins)
            tl.debug_barrier()


@_kernel(do_not_specialize=["num_sweeps", "num_chains", "num_colors"])
def table_kernel(
    state: "Any", hold: "Any", betas: "Any", seed: "Any",
    num_sweeps: "Any", num_chains: "Any", beta_t: "Any", beta_s: "Any",
    hold_b: "Any", hold_r: "Any", hold_s: "Any",
    HELD: tl.constexpr, LANES: tl.constexpr,
    h: "Any", base: "Any", order: "Any", bounds: "Any",
    starts: "Any", neighbors: "Any", weights: "Any",
    num_rows: "Any", num_colors: "Any", ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    r"""Sweeps chains of a sparse model, spins of one color at a time."""
    block = tl.program_id(0)
    lane = tl.arange(0, LANES)
    row = tl.arange(0, ROWS)
    chain = block * LANES + lane
    state += block.to(tl.int64) * num_rows * LANES
    hold += block.to(tl.int64) * hold_b
    key = tl.load(seed)
    for t in range(num_sweeps):
        beta = tl.load(betas + t * beta_t + chain * beta_s, mask=chain < num_chains, other=1.0)
        for color in range(num_colors):
            for tile in range(tl.load(bounds + color), tl.load(bounds + color + 1)):
                at = tile * ROWS + row
                field = tl.zeros((ROWS, LANES), tl.float32) + tl.load(h + at)[:, None]
                for first in range(tl.load(starts + tile), tl.load(starts + tile + 1), COLUMNS):
                    for k in tl.static_range(COLUMNS):
                        entry = (first + k) * ROWS + row
                        other = tl.load(neighbors + entry)
                        w = tl.load(weights + entry)
                        s = tl.load(state + other[:, None] * LANES + lane[None, :])
                        field += w[:, None] * s.to(tl.float32)
                held = tl.load(hold + at[:, None] * hold_r + lane[None, :] * hold_s) if HELD else 0
                spin = tl.load(order + at)
                excess = _excess(
                    field, tl.load(base + at), beta, held, key, t, spin, block, HELD, LANES
                )
                spins = tl.where(excess < 0, 1, -1).to(tl.int8)
                tl.store(state + at[:, None] * LANES + lane[None, :], spins)
            # Spins of one color do not read each other, but the next color reads them.
            tl.debug_barrier()


def _launch(
    tiles: Matrix | Table,
    chains: tuple[Tensor, ...],
    common: tuple[Any, ...],
    num_warps: int | None,
) -> None:
    num_programs, num_rows, lanes = chains[0].shape
    dense = isinstance(tiles, Matrix)
    num_warps = num_warps or (max(lanes // MATRIX_LANES, 1) if dense else TABLE_WARPS)
    options = {"num_warps": num_warps, "enable_fp_fusion": True}
    if isinstance(tiles, Matrix):
        matrix_kernel[(num_programs,)](
            *chains, *common, *tiles[1:], tiles.num_spins, num_rows,
            tiles.own.shape[1], MATRIX_COLUMNS, PRECISION, **options,
        )  # fmt: skip
    else:
        table_kernel[(num_programs,)](
            *chains, *common, tiles.h, tiles.base, tiles.order, *tiles[5:],
            num_rows, len(tiles.bounds) - 1, tiles.weights.shape[1], TABLE_COLUMNS, **options,
        )  # fmt: skip


def _check_arguments(
    model: Ising | Matrix | Table,
    state: Tensor,
    num_sweeps: int,
    hold: Tensor | None,
    num_lanes: int | None,
) -> None:
    if num_sweeps < 1:
        raise ValueError(f"num_sweeps is {num_sweeps}, but at least 1 sweep is needed")
    shape, n = tuple(state.shape), model.num_spins
    if len(shape) != 2 or shape[1] != n:
        raise ValueError(f"state has shape {shape}, but chains of {n} spins have shape (S, {n})")
    if hold is not None and tuple(hold.shape) not in (shape, shape[1:]):
        raise ValueError(
            f"hold has shape {tuple(hold.shape)}, but it needs {shape[1:]} or {shape}"
        )
    if num_lanes is not None and (num_lanes < 4 or num_lanes & (num_lanes - 1)):
        raise ValueError(f"num_lanes is {num_lanes}, but a power of two of at least 4 is needed")
    if isinstance(model, Ising) and not model.is_classical:
        raise ValueError("gamma is not 0, but these sweeps need a classical model")
    if model.h.device != state.device:
        raise ValueError(f"state is on {state.device}, but the model is on {model.h.device}")
    if state.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"state is on {state.device}, but these sweeps run on a CUDA device")


def _choose_lanes(num_chains: int, device: torch.device) -> int:
    r"""Returns the most chains per program that leave no multiprocessor without a program."""
    if device.type != "cuda":
        return MAX_LANES
    share = num_chains // torch.cuda.get_device_properties(device).multi_processor_count
    lanes = MAX_LANES
    while lanes > max(share, MIN_LANES):
        lanes //= 2
    return lanes


def _to_lanes(values: Tensor, tiles: Matrix | Table, lanes: int) -> Tensor:
    r"""Returns values of chains (S, N) in blocks (B, rows, lanes), filled up by ones."""
    size = (rounded_up(len(values), lanes), len(tiles.h))
    rows = values.new_ones(size)
    place = tiles.place if isinstance(tiles, Table) else slice(tiles.num_spins)
    rows[: len(values), place] = values
    return rows.view(-1, lanes, size[1]).transpose(1, 2).contiguous()


def _held(
    hold: Tensor | None, blocks: Tensor, tiles: Matrix | Table
) -> tuple[Tensor, tuple[int, ...]]:
    r"""Returns the held spins in blocks, and their strides; the kernels read neither if None."""
    if hold is None:
        return blocks, (0, 0, 0)
    if hold.ndim == 1:
        return _to_lanes(hold.expand(1, -1), tiles, 1), (0, 1, 0)
    held = _to_lanes(hold, tiles, blocks.shape[2])
    return held, held.stride()


def _from_lanes(blocks: Tensor, tiles: Matrix | Table, num_chains: int) -> Tensor:
    place = tiles.place if isinstance(tiles, Table) else slice(tiles.num_spins)
    return blocks.transpose(1, 2).reshape(-1, len(tiles.h))[:num_chains, place]
