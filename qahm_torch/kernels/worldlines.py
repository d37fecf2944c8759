r"""World lines of spins in a transverse field, in continuous imaginary time: the form in torch.

The path integral of :math:`e^{-H}` sums over periodic paths of the spins in the time from 0 to 1,
which flip at kinks. A table `lines` of shape (S, N, 1 + K) holds the spins of S chains at time 0,
and after each the times of its kinks in ascending order, filled up with 1.

A line is redrawn given the others. Since :math:`\Gamma X = \Gamma (1 + X) - \Gamma`, and all
entries of 1 + X are 1, the line may be cut at the times of a Poisson process of rate
:math:`\Gamma` in addition to its kinks, and each segment between cuts is then a spin of its own,
in the field of the other lines integrated over the segment. So there are no slices of time, and no
error of a discretization.

`compiled_worldlines` does the same for one chain after the other, on the CPU. It shares the model,
the tables and the joining, but no loop: here each step is taken by all chains at once, as a GPU
wants it, with tables as wide as the longest line, and there each chain stops at its own end.
"""

from __future__ import annotations

__all__ = ["Fields", "arrange_fields", "join_lines", "run_lines"]

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from qahm_torch.ising import Ising
from qahm_torch.kernels.adjacency import neighbors_of


class Fields(NamedTuple):
    r"""A model as rows of neighbors: those of spin i are from `starts[i]` to `starts[i + 1]`."""

    h: Tensor  # (N,)
    gamma: Tensor  # (N,)
    starts: Tensor  # (N + 1,)
    neighbors: Tensor  # (2E,)
    couplings: Tensor  # (2E,)


def arrange_fields(ising: Ising) -> Fields:
    r"""Returns the model as rows of neighbors, in single precision."""
    h, J = ising.h.detach().float(), ising.J.detach().float()
    gamma = torch.zeros_like(h) if ising.gamma is None else ising.gamma.detach().float()
    near = neighbors_of(ising.graph, h.device)
    return Fields(h, gamma, near.starts, near.others, J[near.edges])


def run_lines(
    lines: Tensor,
    fields: Fields,
    clamp: Tensor,
    num_sweeps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns the world lines after some sweeps, each of which redraws every line once.

    Arguments:
        lines: The world lines of shape (S, N, 1 + K).
        fields: The model.
        clamp: The spins to hold at time 0, of shape (S, N): +-1, or 0 for free.
        num_sweeps: The number of sweeps.
        generator: The source of random numbers.
    """
    lines = lines.clone()
    gamma, starts = fields.gamma.tolist(), fields.starts.tolist()
    for _ in range(num_sweeps):
        for i in range(lines.shape[1]):
            row = slice(starts[i], starts[i + 1])
            cuts = _cuts(lines[:, i, 1:], gamma[i], generator)
            others = lines[:, fields.neighbors[row]]
            energies = _energies(cuts, others, fields.h[i], fields.couplings[row])
            spins = _segment_spins(energies, cuts, clamp[:, i], generator)
            lines = _written(lines, i, spins, cuts)
    return join_lines([lines])


def join_lines(blocks: list[Tensor]) -> Tensor:
    r"""Returns the lines of blocks of chains as one table, no wider than it needs to be."""
    width = 1 + max(int((block[..., 1:] < 1).sum(-1).max()) for block in blocks)
    blocks = [block[..., :width] for block in blocks]
    return torch.cat([pad(block, (0, width - block.shape[-1]), value=1.0) for block in blocks])


def _cuts(kinks: Tensor, gamma: float, generator: torch.Generator | None) -> Tensor:
    r"""Returns the kinks and a Poisson process of further cuts, sorted and filled up with 1."""
    rates = kinks.new_full((len(kinks), 1), gamma)
    numbers = torch.poisson(rates, generator=generator)
    size = (len(kinks), int(numbers.max()))
    times = torch.rand(size, device=kinks.device, generator=generator)
    index = torch.arange(size[1], device=kinks.device)
    return torch.cat([kinks, times.where(index < numbers, 1.0)], -1).sort(-1).values


def _energies(cuts: Tensor, others: Tensor, h: Tensor, couplings: Tensor) -> Tensor:
    r"""Returns the integrals of the field from one cut to the next, of shape (S, C + 1)."""
    initial = others[..., 0] * couplings
    signs = 1 - 2 * (torch.arange(others.shape[-1] - 1, device=cuts.device) % 2)
    jumps = (-2 * initial.unsqueeze(-1) * signs).flatten(1)
    kinks = others[..., 1:].flatten(1)
    slope = h + initial.sum(-1)
    # One cut at a time, since a table of all cuts times all kinks would be large.
    integrals = [torch.zeros_like(slope)]
    integrals += [
        slope * t + (jumps * (t.unsqueeze(-1) - kinks).relu()).sum(-1)
        for t in pad(cuts, (0, 1), value=1.0).unbind(-1)
    ]
    return torch.stack(integrals, -1).diff(dim=-1)


def _segment_spins(
    energies: Tensor, cuts: Tensor, clamp: Tensor, generator: torch.Generator | None
) -> Tensor:
    r"""Returns the spins before and after each cut, of shape (S, C + 1)."""
    number = (cuts < 1).sum(-1, keepdim=True)
    # Time is periodic: what is after the last cut is the beginning of the first segment.
    last = energies.gather(-1, number).where(number > 0, 0.0)
    energies = torch.cat([energies[:, :1] + last, energies[:, 1:]], -1)
    uniform = torch.rand(energies.shape, device=cuts.device, generator=generator)
    spins = 1 - 2 * (uniform * (1 + (2 * energies).exp()) >= 1).float()
    first = torch.where(clamp == 0, spins[:, 0], clamp).unsqueeze(-1)
    index = torch.arange(spins.shape[-1], device=cuts.device)
    return spins.where((index > 0) & (index < number), first)


def _written(lines: Tensor, i: int, spins: Tensor, cuts: Tensor) -> Tensor:
    r"""Returns the lines, or a wider copy, with line i written into them."""
    kinks = cuts.where(spins.diff(dim=-1) != 0, 1.0).sort(-1).values
    kinks = kinks[:, : int((kinks < 1).sum(-1).max())]
    width = 1 + kinks.shape[-1]
    if width > lines.shape[-1]:
        lines = pad(lines, (0, width - lines.shape[-1]), value=1.0)
    lines[:, i, 0] = spins[:, 0]
    lines[:, i, 1:width] = kinks
    lines[:, i, width:] = 1
    return lines
