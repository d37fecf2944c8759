r"""From a model to what is programmed on a chip, and from readouts back to spins."""

from __future__ import annotations

__all__ = ["Decoded", "Program", "RangePolicy", "decode", "draw_gauge", "program"]

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from qahm_torch.annealer.placement import Layout
from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import RangeError
from qahm_torch.ising import Ising

RangePolicy = Literal["error", "clip", "rescale"]
ChainBreaks = Literal["majority", "discard"]

# Chains of this coupling times beta break in about 3 of 10 000 places by thermal flips alone.
MIN_CHAIN_STRENGTH = 4.0
TORQUE = 2**0.5

# Biases of a model that just fits may be beyond a range by their rounding, which devices refuse.
ROUNDING = 1e-6
MARGIN = 1e-9
MAX_PASSES = 100


class Program(NamedTuple):
    r"""A problem in the units of a chip.

    Physical fields and couplings are :math:`h_q = g_i h_i / (\beta n_i)` and
    :math:`J_{qr} = g_i g_j J_{ij} / (\beta m_{ij})` for a chain of :math:`n_i` qubits and
    :math:`m_{ij}` couplers between chains i and j, with the gauge :math:`g_i = \pm 1`; couplers
    inside a chain are ferromagnetic.
    """

    h: Tensor  # of shape (Q,), float64, in the order of the layout's qubits
    J: Tensor  # of shape (C,)
    gauge: Tensor  # of shape (copies * N,), +-1
    beta: float  # what the model was divided by
    scale: float  # less than 1 where the policy has rescaled
    num_clipped: int  # the number of values that the policy has clipped
    chain_strength: float  # as programmed


class Decoded(NamedTuple):
    r"""Spins read off a chip."""

    spins: Tensor  # of shape (R * copies, N), int8
    num_broken: Tensor  # of each spin, in how many rows its chain was broken, of shape (N,)


def draw_gauge(layout: Layout, generator: torch.Generator | None = None) -> Tensor:
    r"""Returns a random sign for each spin of each copy, of shape (copies * N,)."""
    size = (len(layout.chain_length),)
    return torch.randint(2, size, generator=generator, dtype=torch.int64).double() * 2 - 1


def program(
    ising: Ising,
    layout: Layout,
    chip: Chip,
    *,
    beta: float,
    gauge: Tensor | None = None,
    chain_strength: float | None = None,
    policy: RangePolicy = "error",
) -> Program:
    r"""Returns the problem that makes a chip at inverse temperature beta sample a model.

    Arguments:
        ising: The model, of N spins.
        layout: Where its spins are on the chip.
        chip: The chip, whose ranges hold.
        beta: The effective inverse temperature of the chip.
        gauge: Signs of shape (copies * N,), which `decode` undoes; None for +1. Chips take
            stronger negative couplings than positive ones; spins joined by a coupling that would
            be out of range as a positive one get the same sign.
        chain_strength: The ferromagnetic coupling inside chains, in the units of the model (that
            is, times beta); None for the greater of 4, at which thermal flips break few chains,
            and :math:`\sqrt{2}` times the typical field on a spin (uniform torque compensation).
        policy: What is done with values out of range: raise "error", "clip" them, or "rescale"
            the problem, which is then at a higher temperature than the model.

    Raises:
        RangeError: If a value is out of range and the policy is "error".
    """
    model_h = ising.h.detach().cpu().double() / beta
    model_J = ising.J.detach().cpu().double() / beta
    gauge = torch.ones(len(layout.chain_length), dtype=torch.float64) if gauge is None else gauge
    copies = len(layout.chain_length) // ising.num_spins
    gauge = _joined(gauge, ising, layout, model_J, chip)
    strength = _chain_strength(ising, chain_strength) / beta
    h = (gauge * model_h.repeat(copies) / layout.chain_length)[layout.spin_of]
    J = _couplings(ising, layout, model_J, gauge, copies)
    inside = layout.coupling_of < 0
    low, _ = chip.extended_j_range or (-torch.inf, torch.inf)
    strength = min(strength, -low)
    J[inside] = -strength
    fitted = _fit(h, J, layout, chip, policy)
    strength = strength * fitted[2] if bool(inside.any()) else 0.0
    return Program(fitted[0], fitted[1], gauge, beta, fitted[2], fitted[3], strength)


def decode(
    readout: Tensor,
    spin_of: Tensor,
    chain_length: Tensor,
    gauge: Tensor,
    num_spins: int,
    breaks: ChainBreaks = "majority",
    generator: torch.Generator | None = None,
) -> Decoded:
    r"""Returns the spins of the model that qubits stand for.

    Arguments:
        readout: Qubits of shape (R, Q), +-1.
        spin_of: The spin of each qubit, counted through the copies, of shape (Q,).
        chain_length: The qubits of each spin of each copy, of shape (copies * N,).
        gauge: The gauge of the program, of shape (copies * N,).
        num_spins: The number of spins N of the model.
        breaks: What is done with broken chains. "majority" lets the qubits vote, with a coin for a
            tie; "discard" leaves out rows with a broken chain, so that there may be few, or none.
        generator: The source of the coins.
    """
    votes = torch.zeros(len(readout), len(gauge), dtype=torch.int16)
    votes.index_add_(1, spin_of, readout.to(torch.int16))
    broken = votes.abs() != chain_length.to(torch.int16)
    if bool((votes == 0).any()):
        coins = torch.randint(2, votes.shape, generator=generator, dtype=torch.int16) * 2 - 1
        votes = torch.where(votes == 0, coins, votes)
    spins = votes.sign().to(torch.int8) * gauge.to(torch.int8)
    spins, broken = spins.view(-1, num_spins), broken.view(-1, num_spins)
    if breaks == "discard":
        spins = spins[~broken.any(-1)]
    return Decoded(spins, broken.sum(0))


def _chain_strength(ising: Ising, requested: float | None) -> float:
    if requested is not None:
        return requested
    if ising.graph.num_edges == 0:
        return MIN_CHAIN_STRENGTH
    mean_degree = 2 * ising.graph.num_edges / ising.num_spins
    torque = float(ising.J.detach().double().square().mean().sqrt()) * mean_degree**0.5
    return max(MIN_CHAIN_STRENGTH, TORQUE * torque)


def _joined(gauge: Tensor, ising: Ising, layout: Layout, model_J: Tensor, chip: Chip) -> Tensor:
    r"""Returns a gauge that leaves couplings negative which would be out of range if positive."""
    if chip.extended_j_range is None or len(model_J) == 0:
        return gauge
    copies = len(gauge) // ising.num_spins
    strong = model_J.repeat(copies) / layout.multiplicity < -chip.extended_j_range[1]
    offsets = torch.arange(copies).repeat_interleave(len(model_J)) * ising.num_spins
    a, b = (ising.graph.edges.repeat(copies, 1) + offsets[:, None])[strong].unbind(-1)
    first, before = torch.arange(len(gauge)), None
    while before is None or not torch.equal(first, before):
        before, least = first, torch.minimum(first[a], first[b])
        first = first.scatter_reduce(0, a, least, "amin").scatter_reduce(0, b, least, "amin")
    return gauge[first]


def _couplings(
    ising: Ising, layout: Layout, model_J: Tensor, gauge: Tensor, copies: int
) -> Tensor:
    i, j = ising.graph.edges.unbind(-1)
    signs = gauge.view(copies, -1)
    logical = (model_J * signs[:, i] * signs[:, j]).flatten() / layout.multiplicity
    # Couplers inside chains have no edge; their value is set afterwards.
    padded = torch.cat([logical, logical.new_zeros(1)])
    return padded[layout.coupling_of]


def _fit(
    h: Tensor, J: Tensor, layout: Layout, chip: Chip, policy: RangePolicy
) -> tuple[Tensor, Tensor, float, int]:
    r"""Returns fields and couplings within range, the scale and the number of clipped values."""
    excess = _excess(h, J, layout, chip)
    worst = max(excess, key=lambda e: e[0], default=(1.0, ""))
    if worst[0] <= 1:
        return h, J, 1.0, 0
    if worst[0] <= 1 + ROUNDING:
        return (*_clip(h, J, layout, chip), 1.0, 0)
    if policy == "error":
        raise RangeError(
            f"{worst[1]} on {chip.name}: the model is {worst[0]:.3g} times too strong for it. "
            "Weaker weights (weight decay) or chains fit, or set policy='clip', which changes the "
            "values that do not, or policy='rescale', which samples at a higher temperature"
        )
    if policy == "rescale":
        scale = 1 / (worst[0] * (1 + MARGIN))
        return h * scale, J * scale, scale, 0
    return (*_clip(h, J, layout, chip), 1.0, sum(e[2] for e in excess))


def _excess(h: Tensor, J: Tensor, layout: Layout, chip: Chip) -> list[tuple[float, str, int]]:
    r"""Returns by what factor each kind of value is out of range, in words, and how many are."""
    values = (
        ("the field", h, chip.h_range),
        ("the coupling", J, chip.extended_j_range),
        ("the sum of couplings at a qubit", _totals(J, layout), chip.per_qubit_coupling_range),
    )
    return [
        (*_worst(name, tensor, limits), int((_ratio(tensor, limits) > 1 + ROUNDING).sum()))
        for name, tensor, limits in values
        if limits is not None and len(tensor)
    ]


def _worst(name: str, values: Tensor, limits: tuple[float, float]) -> tuple[float, str]:
    ratio, index = _ratio(values, limits).max(0)
    low, high = limits
    return float(ratio), f"{name} {float(values[index]):.4g} is beyond [{low:g}, {high:g}]"


def _ratio(values: Tensor, limits: tuple[float, float]) -> Tensor:
    low, high = limits
    return torch.where(values < 0, values / low, values / high)


def _totals(J: Tensor, layout: Layout) -> Tensor:
    totals = torch.zeros(len(layout.qubits), dtype=J.dtype)
    for end in layout.couplers.unbind(-1):
        totals.index_add_(0, end, J)
    return totals


def _clip(h: Tensor, J: Tensor, layout: Layout, chip: Chip) -> tuple[Tensor, Tensor]:
    if chip.h_range is not None:
        h = h.clamp(*chip.h_range)
    if chip.extended_j_range is not None:
        J = J.clamp(*chip.extended_j_range)
    if chip.per_qubit_coupling_range is not None:
        J = _within_totals(J, layout, chip.per_qubit_coupling_range)
    return h, J


def _within_totals(J: Tensor, layout: Layout, limits: tuple[float, float]) -> Tensor:
    r"""Returns couplings that are shrunk at the qubits whose sums are out of range."""
    a, b = layout.couplers.unbind(-1)
    for _ in range(MAX_PASSES):
        excess = _ratio(_totals(J, layout), limits)
        if bool((excess <= 1).all()):
            return J
        # A coupling that one end shrinks may have balanced others at its other end, hence passes.
        shrink = torch.where(excess > 1, excess * (1 + MARGIN), 1.0)
        J = J / torch.maximum(shrink[a], shrink[b])
    return J / max(1.0, float(_ratio(_totals(J, layout), limits).max()) * (1 + MARGIN))
