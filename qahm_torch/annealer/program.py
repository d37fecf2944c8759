r"""From a model to what is programmed on a chip."""

from __future__ import annotations

__all__ = [
    "Problem",
    "Program",
    "draw_gauges",
    "prepare",
    "program",
    "shares",
]

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.annealer.placement import Part, Placed
from qahm_torch.annealer.settings import ProgramSettings, RangePolicy
from qahm_torch.device.chip import Chip, Range
from qahm_torch.device.errors import RangeError
from qahm_torch.ising import Ising
from qahm_torch.ising.merging import tied_sets

# Strands of this coupling times beta break in about 3 of 10 000 places by thermal flips alone.
MIN_CHAIN_STRENGTH = 4.0
TORQUE = 2**0.5

# Biases of a model that just fits may be beyond a range by their rounding, which devices refuse.
ROUNDING = 1e-6
MARGIN = 1e-9
MAX_PASSES = 100


class Program(NamedTuple):
    r"""A model in the units of a chip, once for each of G gauges.

    Physical fields and couplings are :math:`h_q = g_i h_i / (\beta n_i)` and
    :math:`J_{qr} = g_i g_j J_{ij} / (\beta m_{ij})` for a strand of :math:`n_i` qubits and
    :math:`m_{ij}` couplers between strands i and j, with the gauge :math:`g_i = \pm 1`; couplers
    inside a strand are ferromagnetic. All gauges have one scale, so that what is drawn under them
    is at one temperature.
    """

    h: Tensor  # of shape (G, Q), float64, in the order of the placed qubits
    J: Tensor  # of shape (G, C)
    gauges: Tensor  # of shape (G, copies * N), +-1
    beta: float  # what the model was divided by
    scale: float  # less than 1 where the policy has rescaled
    num_clipped: int  # the number of values that the policy has clipped
    chain_strength: float  # as programmed


class Problem(NamedTuple):
    r"""What is to be run for samples in which the same spins are held."""

    part: Part
    program: Program
    shares: tuple[Tensor, ...]  # which samples each of the G gauges is for


def prepare(
    parts: Sequence[Part],
    chip: Chip,
    beta: float,
    settings: ProgramSettings,
    generator: torch.Generator | None = None,
) -> list[Problem]:
    r"""Returns what is to be run, a problem for each part of the samples.

    Arguments:
        parts: The parts with their models.
        chip: The chip.
        beta: Its effective inverse temperature.
        settings: How models are programmed.
        generator: The source of gauges.

    Raises:
        RangeError: If a value is out of range and the policy is "error".
    """
    problems = []
    for part in parts:
        split = shares(part.rows, part.num_copies, chip, settings)
        gauges = torch.ones(len(split), len(part.placed.sizes), dtype=torch.float64)
        if settings.num_gauges:
            gauges = draw_gauges(part.placed, len(split), generator)
        made = program(part.ising, part.placed, chip, beta=beta, gauges=gauges, settings=settings)
        problems.append(Problem(part, made, split))
    return problems


def shares(
    rows: Tensor, num_copies: int, chip: Chip, settings: ProgramSettings
) -> tuple[Tensor, ...]:
    r"""Splits samples, (S,), by gauges, and by what a problem may have of reads."""
    limits = chip.num_reads_range
    most = math.inf if limits is None else int(limits[1]) * num_copies
    number = max(1, settings.num_gauges, math.ceil(len(rows) / most))
    return tuple(part for part in rows.tensor_split(number) if len(part))


def draw_gauges(
    placed: Placed, num_gauges: int, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns random signs for each spin of each copy, of shape (G, copies * N)."""
    size = (num_gauges, len(placed.sizes))
    return torch.randint(2, size, generator=generator, dtype=torch.int64).double() * 2 - 1


def program(
    ising: Ising,
    placed: Placed,
    chip: Chip,
    *,
    beta: float,
    gauges: Tensor | None = None,
    settings: ProgramSettings | None = None,
) -> Program:
    r"""Returns the problems that make a chip at inverse temperature beta sample a model.

    Arguments:
        ising: The model, of N spins.
        placed: Where its spins are on the chip.
        chip: The chip, whose ranges hold.
        beta: The effective inverse temperature of the chip.
        gauges: Signs of shape (G, copies * N), which `decode` undoes; None for one gauge of +1.
            Chips take stronger negative couplings than positive ones; spins joined by a coupling
            that would be out of range as a positive one get the same sign.
        settings: The strength of strands, and what is done with values out of range.

    Raises:
        RangeError: If a value is out of range and the policy is "error".
    """
    settings = settings or ProgramSettings()
    model_h = ising.h.detach().cpu().double() / beta
    model_J = ising.J.detach().cpu().double() / beta
    if gauges is None:
        gauges = torch.ones(1, len(placed.sizes), dtype=torch.float64)
    gauges = _possible(gauges, ising, placed, model_J, chip)
    copies = gauges.shape[1] // ising.num_spins
    h = (gauges * model_h.repeat(copies) / placed.sizes)[:, placed.spin_of]
    J = _couplings(ising, placed, model_J, gauges)
    inside = placed.coupling_of < 0
    strength = _strength(ising, settings.chain_strength, chip, beta)
    J[:, inside] = -strength
    h, J, scale, num_clipped = _fitted(h, J, placed, chip, settings.range_policy)
    strength = strength * scale if bool(inside.any()) else 0.0
    return Program(h, J, gauges, beta, scale, num_clipped, strength)


def _strength(ising: Ising, requested: float | None, chip: Chip, beta: float) -> float:
    r"""Returns the strength of the couplings within strands, in the units of the chip."""
    low, _ = chip.extended_j_range or (-math.inf, math.inf)
    if requested is None or (math.isinf(requested) and math.isinf(low)):
        requested = _chosen_strength(ising)
    return min(requested / beta, -low)


def _chosen_strength(ising: Ising) -> float:
    if ising.graph.num_edges == 0:
        return MIN_CHAIN_STRENGTH
    mean_degree = 2 * ising.graph.num_edges / ising.num_spins
    torque = float(ising.J.detach().double().square().mean().sqrt()) * math.sqrt(mean_degree)
    return max(MIN_CHAIN_STRENGTH, TORQUE * torque)


def _possible(gauges: Tensor, ising: Ising, placed: Placed, model_J: Tensor, chip: Chip) -> Tensor:
    r"""Returns gauges that leave couplings negative which would be out of range if positive."""
    if chip.extended_j_range is None:
        return gauges
    copies = gauges.shape[1] // ising.num_spins
    strong = model_J.repeat(copies) / placed.multiplicity < -chip.extended_j_range[1]
    if not bool(strong.any()):
        return gauges
    offsets = torch.arange(copies).repeat_interleave(len(model_J)) * ising.num_spins
    pairs = ising.graph.edges.repeat(copies, 1) + offsets[:, None]
    sets = tied_sets(pairs[strong], gauges.shape[1])
    return gauges[:, sets.leaders[sets.set_of]]


def _couplings(ising: Ising, placed: Placed, model_J: Tensor, gauges: Tensor) -> Tensor:
    i, j = ising.graph.edges.unbind(-1)
    signs = gauges.view(len(gauges), -1, ising.num_spins)
    logical = (model_J * signs[..., i] * signs[..., j]).flatten(1) / placed.multiplicity
    # Couplers inside strands have no edge; their value is set afterwards.
    padded = torch.cat([logical, logical.new_zeros(len(gauges), 1)], 1)
    return padded[:, placed.coupling_of]


def _fitted(
    h: Tensor, J: Tensor, placed: Placed, chip: Chip, policy: RangePolicy
) -> tuple[Tensor, Tensor, float, int]:
    r"""Returns fields and couplings within range, the scale and the number of clipped values."""
    excess = _excess(h, J, placed, chip)
    worst, what = max((e[:2] for e in excess), default=(1.0, ""))
    if worst <= 1:
        return h, J, 1.0, 0
    if worst <= 1 + ROUNDING:
        return (*_clipped(h, J, placed, chip), 1.0, 0)
    if policy == "error":
        raise RangeError(
            f"{what} on {chip.name}: the model is {worst:.3g} times too strong for it. Weaker "
            "weights (weight decay) or strands fit, or set range_policy='clip', which changes the "
            "values that do not, or range_policy='rescale', which samples at a higher temperature"
        )
    if policy == "rescale":
        scale = 1 / (worst * (1 + MARGIN))
        return h * scale, J * scale, scale, 0
    return (*_clipped(h, J, placed, chip), 1.0, sum(e[2] for e in excess))


def _excess(h: Tensor, J: Tensor, placed: Placed, chip: Chip) -> list[tuple[float, str, int]]:
    r"""Returns by what factor each kind of value is out of range, in words, and how many are."""
    values = (
        ("the field", h, chip.h_range),
        ("the coupling", J, chip.extended_j_range),
        ("the sum of couplings at a qubit", _totals(J, placed), chip.per_qubit_coupling_range),
    )
    return [
        (*_worst(name, tensor, limits), int((_ratio(tensor, limits) > 1 + ROUNDING).sum()))
        for name, tensor, limits in values
        if limits is not None and tensor.numel()
    ]


def _worst(name: str, values: Tensor, limits: Range) -> tuple[float, str]:
    ratio, index = _ratio(values, limits).flatten().max(0)
    low, high = limits
    value = float(values.flatten()[index])
    return float(ratio), f"{name} {value:.4g} is beyond [{low:g}, {high:g}]"


def _ratio(values: Tensor, limits: Range) -> Tensor:
    low, high = limits
    return torch.where(values < 0, values / low, values / high)


def _totals(J: Tensor, placed: Placed) -> Tensor:
    r"""Returns the sums of the couplings at each qubit, of shape (G, Q)."""
    totals = J.new_zeros(len(J), len(placed.qubits))
    for end in placed.couplers.unbind(-1):
        totals.index_add_(1, end, J)
    return totals


def _clipped(h: Tensor, J: Tensor, placed: Placed, chip: Chip) -> tuple[Tensor, Tensor]:
    if chip.h_range is not None:
        h = h.clamp(*chip.h_range)
    if chip.extended_j_range is not None:
        J = J.clamp(*chip.extended_j_range)
    if chip.per_qubit_coupling_range is not None:
        J = _within_totals(J, placed, chip.per_qubit_coupling_range)
    return h, J


def _within_totals(J: Tensor, placed: Placed, limits: Range) -> Tensor:
    r"""Returns couplings that are shrunk at the qubits whose sums are out of range."""
    a, b = placed.couplers.unbind(-1)
    for _ in range(MAX_PASSES):
        excess = _ratio(_totals(J, placed), limits)
        if bool((excess <= 1).all()):
            return J
        # A coupling that one end shrinks may have balanced others at its other end, hence passes.
        shrink = torch.where(excess > 1, excess * (1 + MARGIN), 1.0)
        J = J / torch.maximum(shrink[:, a], shrink[:, b])
    excess = _ratio(_totals(J, placed), limits).amax(1, keepdim=True)
    return J / (excess * (1 + MARGIN)).clamp(min=1.0)
