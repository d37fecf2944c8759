r"""The table of neighbors of a graph, which every form of the kernels lays out in its own way."""

from __future__ import annotations

__all__ = ["Neighbors", "neighbor_table", "neighbors_of"]

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import pad

from qahm_torch.ising import CouplingGraph


class Neighbors(NamedTuple):
    r"""The neighbors of each spin in ascending order, one spin after the other.

    Entry k says that spin `spins[k]` interacts with spin `others[k]` by the coupling
    `J[edges[k]]`. The entries of spin i are those from `starts[i]` to `starts[i + 1]`.
    """

    starts: Tensor  # (N + 1,)
    spins: Tensor  # (2E,)
    others: Tensor  # (2E,)
    edges: Tensor  # (2E,)

    @property
    def degrees(self) -> Tensor:
        r"""The number of neighbors of each spin, of shape (N,)."""
        return self.starts.diff()

    @property
    def slots(self) -> Tensor:
        r"""The place of each entry among those of its spin, of shape (2E,)."""
        index = torch.arange(len(self.spins), device=self.spins.device)
        return index - self.starts[self.spins]

    def to(self, device: torch.device) -> Neighbors:
        return Neighbors(*(values.to(device) for values in self))


_tables: WeakKeyDictionary[CouplingGraph, dict[torch.device, Neighbors]] = WeakKeyDictionary()


def neighbors_of(graph: CouplingGraph, device: torch.device | str = "cpu") -> Neighbors:
    r"""Returns the table of neighbors of a graph on a device, made once for each of both."""
    tables, device = _tables.setdefault(graph, {}), torch.device(device)
    if device not in tables:
        tables[device] = neighbor_table(graph.num_spins, graph.edges).to(device)
    return tables[device]


def neighbor_table(num_spins: int, edges: Tensor) -> Neighbors:
    r"""Returns the table of neighbors of the edges, of shape (E, 2), each of which comes once."""
    spins, others = torch.cat([edges, edges.flip(-1)]).T
    order = (spins * num_spins + others).argsort()
    degrees = torch.bincount(spins, minlength=num_spins)
    return Neighbors(
        pad(degrees.cumsum(0), (1, 0)), spins[order], others[order], order % max(1, len(edges))
    )
