r"""Samplers of one model at a time, at work on many machines with fields of their own."""

from __future__ import annotations

__all__ = ["DigitalFields", "Repeats", "RowSamples", "SideBySide", "annealed_row_log_z"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Ising
from qahm_torch.ising.transforms import refuse_transforms
from qahm_torch.kernels.population import populate
from qahm_torch.priors.field_rows import FieldRows
from qahm_torch.samplers import Sampler

NUM_DIGITS = 16


class Repeats(NamedTuple):
    r"""Which rows of a table are the same."""

    first: Tensor  # where the first row of each kind is, (D,)
    kind: Tensor  # of each row, (R,)
    rank: Tensor  # how many of its kind are before each row, (R,)

    @property
    def most(self) -> int:
        r"""How often the most frequent row is there."""
        return int(self.rank.max()) + 1

    @staticmethod
    def of(table: Tensor) -> Repeats:
        r"""Returns the repeats of the rows of a table, (R, M)."""
        refuse_transforms("tell rows apart by their values: use torch.autograd", table)
        kind = table.unique(dim=0, return_inverse=True)[1]
        order, counts = kind.argsort(stable=True), kind.bincount()
        starts = counts.cumsum(0) - counts
        rank = torch.empty_like(kind)
        rank[order] = torch.arange(len(kind), device=kind.device) - starts[kind[order]]
        return Repeats(order[starts], kind, rank)


class DigitalFields:
    r"""Fields written in binary digits, which are spins that are held row by row.

    .. math::
        h_{ri} \approx c \sum_{d=1}^{D} 2^{-d} a_{rid}, \qquad
        c = \max_{ri} |h_{ri}|, \quad a_{rid} = \pm 1,

    within :math:`c \, 2^{-D}`. Each spin of the machine is coupled to its D digits, so that one
    model of N (1 + D) spins, held in another way in each sample, stands for all rows, and a
    sampler draws from all of them in one call.

    Arguments:
        graph: The graph of the machines.
    """

    def __init__(self, graph: CouplingGraph):
        n, digits = graph.num_spins, NUM_DIGITS
        spin = torch.arange(n).repeat_interleave(digits)
        added = torch.stack([spin, torch.arange(n, n * (1 + digits))], -1)
        self.graph = CouplingGraph(n * (1 + digits), torch.cat([graph.edges, added]))

    def model(self, rows: FieldRows) -> tuple[Ising, Tensor]:
        r"""Returns the one model, and its held spins (R, N (1 + D)), 0 where they are free."""
        scale = rows.fields.abs().max().clamp(min=torch.finfo(rows.J.dtype).tiny)
        levels = 2**NUM_DIGITS
        # The values are odd: level k of 0 to 2^D - 1 stands for (2 k + 1) / 2^D - 1.
        level = ((rows.fields / scale + 1) / 2 * levels).floor().clamp(0, levels - 1).long()
        place = torch.arange(NUM_DIGITS - 1, -1, -1, device=level.device)
        digits = ((level.unsqueeze(-1) >> place) & 1) * 2 - 1
        free = torch.zeros_like(rows.fields)
        clamp = torch.cat([free, digits.flatten(-2).to(free)], -1)
        weights = scale * 2.0 ** (place.to(rows.J) - NUM_DIGITS)
        J = torch.cat([rows.J, weights.repeat(rows.fields.shape[-1])])
        return Ising(self.graph, rows.J.new_zeros(self.graph.num_spins), J), clamp

    def draws(
        self,
        rows: FieldRows,
        sampler: Sampler,
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns samples of each machine, of shape (S, R, N), by one call of a sampler."""
        ising, clamp = self.model(rows)
        count, n = rows.fields.shape
        samples = sampler.sample(
            ising, num_samples * count, clamp=clamp.repeat(num_samples, 1), generator=generator
        )
        return samples.spins.view(num_samples, count, -1)[..., :n]


class RowSamples(NamedTuple):
    r"""Samples of many machines."""

    spins: Tensor  # (S, R, N)
    weights: Tensor | None  # (S, R), None for equal ones


class SideBySide:
    r"""Machines side by side in one model, which a device is programmed with.

    Arguments:
        graph: The graph of one machine.
        number: The number of machines.
    """

    def __init__(self, graph: CouplingGraph, number: int):
        n = graph.num_spins
        offsets = n * torch.arange(number).view(-1, 1, 1)
        self.number = number
        self.graph = CouplingGraph(n * number, (graph.edges + offsets).flatten(0, 1))

    def draws(
        self,
        fields: Tensor,
        J: Tensor,
        sampler: Sampler,
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> RowSamples:
        r"""Returns samples of each machine, a problem for some machines each.

        All problems are submitted before the first answer is waited for.

        Arguments:
            fields: The fields of shape (R, N).
            J: The couplings of shape (R, E).
            sampler: What is asked.
            num_samples: The number of samples S of each machine.
            generator: The source of random numbers.
        """
        pending = []
        for chunk, couplings in zip(fields.split(self.number), J.split(self.number), strict=True):
            # What is left over at the end is filled up, so that the placement stays.
            full = torch.arange(self.number, device=chunk.device) % len(chunk)
            ising = Ising(self.graph, chunk[full].flatten(), couplings[full].flatten())
            pending.append(sampler.submit(ising, num_samples, generator=generator))
        answers = [p.result() for p in pending]
        num_rows, num_spins = fields.shape
        spins = [a.spins.view(len(a.spins), self.number, num_spins) for a in answers]
        weights = [a.weights for a in answers if a.weights is not None]
        of_rows = torch.stack(weights, 1).repeat_interleave(self.number, 1) if weights else None
        return RowSamples(
            torch.cat(spins, 1)[:, :num_rows], None if of_rows is None else of_rows[:, :num_rows]
        )


@torch.no_grad()
def annealed_row_log_z(
    rows: FieldRows,
    digital: DigitalFields,
    num_chains: int,
    num_temperatures: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns estimates of log Z of each machine, (R,), by annealed importance sampling.

    Chains are annealed from uniform spins; the estimates are below log Z on average.

    Arguments:
        rows: The machines.
        digital: The digits of their fields.
        num_chains: The number of chains of each machine.
        num_temperatures: The number of inverse temperatures between 0 and 1, a sweep at each.
        generator: The source of random numbers.

    References:
        | Annealed importance sampling (Neal, 1998)
        | https://arxiv.org/abs/physics/9803008
    """
    ising, clamp = digital.model(rows.detach())
    count, n = rows.fields.shape
    chains = populate(
        ising, num_chains * count, clamp=clamp.repeat(num_chains, 1), generator=generator
    )
    betas = torch.linspace(0, 1, num_temperatures, dtype=torch.float64)
    log_weights = chains.anneal(betas).view(num_chains, count)
    return log_weights.logsumexp(0) - math.log(num_chains) + n * math.log(2)
