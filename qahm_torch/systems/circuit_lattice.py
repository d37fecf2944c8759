r"""A circuit of commuting gates on a lattice of qubits, trained classically."""

from __future__ import annotations

__all__ = ["Lattice", "fit_lattice"]

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Ising
from qahm_torch.priors import (
    IQPCircuit,
    ParityMMD,
    ParityMoments,
    draw_subsets,
    parity_moments,
    product_moments,
)
from qahm_torch.samplers import GibbsSampler

NUM_SWEEPS = 1000  # from random spins to a sample of the lattice
NUM_TEST_SUBSETS, NUM_TEST_DRAWS = 4000, 2000


class Lattice(NamedTuple):
    r"""A square lattice without borders, and its gates."""

    side: int
    blocks: tuple[int, ...]  # the sides of square blocks, each of which is flipped by a gate

    def graph(self) -> CouplingGraph:
        r"""Returns the graph of neighbors."""
        index = torch.arange(self.side**2).view(self.side, self.side)
        edges = [torch.stack([index, index.roll(-1, axis)], -1).view(-1, 2) for axis in (0, 1)]
        return CouplingGraph(self.side**2, torch.cat(edges).sort(-1).values)

    def generators(self) -> list[list[int]]:
        r"""Returns the qubits of each gate: one, two neighbors, a block, and all of them."""
        index = torch.arange(self.side**2).view(self.side, self.side)
        ones = [[qubit] for qubit in range(self.side**2)]
        shapes = [(1, 2), (2, 1), *((block, block) for block in self.blocks)]
        for height, width in shapes:
            for qubit in range(self.side**2):
                row, column = divmod(qubit, self.side)
                rolled = index.roll((-row, -column), (0, 1))
                ones.append(rolled[:height, :width].flatten().tolist())
        return [*ones, list(range(self.side**2))]

    def along_axes(self, distance: int) -> Tensor:
        r"""Returns the subsets of two qubits at a distance along an axis, (2 N, N)."""
        eye = torch.eye(self.side**2)
        grid = eye.view(self.side, self.side, -1)
        return torch.cat([eye + grid.roll(distance, axis).flatten(0, 1) for axis in (0, 1)])


def fit_lattice(
    lattice: Lattice,
    coupling: float,
    num_rows: int,
    bandwidths: Sequence[float],
    num_updates: int,
    lr: float,
) -> dict[str, Any]:
    r"""Returns the discrepancies from held-out samples of an Ising model, and correlations."""
    graph = lattice.graph()
    ising = Ising(graph, torch.zeros(graph.num_spins), torch.full((graph.num_edges,), -coupling))
    rows = GibbsSampler(NUM_SWEEPS).sample(ising, 2 * num_rows).spins
    train, test = rows.split(num_rows)
    circuit = IQPCircuit(graph.num_spins, lattice.generators())
    _start(circuit, lattice)
    subsets = draw_subsets(NUM_TEST_SUBSETS, graph.num_spins, bandwidths)
    held_out = parity_moments(test, subsets)

    def gap(moments: ParityMoments) -> float:
        return moments.squared_gaps(held_out).mean().item()

    before = gap(_moments(circuit, subsets))
    _train(circuit, ParityMMD(bandwidths, 256, 256), train, num_updates, lr)
    pairs = [lattice.along_axes(k) for k in range(1, lattice.side // 2 + 1)]
    return {
        "num_parameters": circuit.num_parameters,
        "mmd": {
            "before": before,
            "after": gap(_moments(circuit, subsets)),
            "independent spins": gap(product_moments(train.mean(0), subsets)),
            "training rows": gap(parity_moments(train, subsets)),
        },
        "correlations": {
            "data": [parity_moments(test, pair).mean.mean().item() for pair in pairs],
            "circuit": [_moments(circuit, pair).mean.mean().item() for pair in pairs],
        },
    }


def _start(circuit: IQPCircuit, lattice: Lattice) -> None:
    r"""Starts where all qubits are 0 or all are 1, nearly.

    From the law of independent random qubits, no parity has a gradient.
    """
    with torch.no_grad():
        circuit.angles.uniform_(0, 0.1)
        circuit.angles[: lattice.side**2].fill_(0)
        circuit.angles[-1] = math.pi / 4


def _train(
    circuit: IQPCircuit, loss: ParityMMD, rows: Tensor, num_updates: int, lr: float
) -> None:
    optimizer = torch.optim.Adam(circuit.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    for _ in range(num_updates):
        optimizer.zero_grad()
        loss(circuit, rows).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _moments(circuit: IQPCircuit, subsets: Tensor) -> ParityMoments:
    return circuit.moments(subsets, NUM_TEST_DRAWS)
