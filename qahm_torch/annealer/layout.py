r"""A placement in tensors: what each used qubit and coupler of a chip is for."""

from __future__ import annotations

__all__ = ["Layout", "lay_out"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.annealer.search import Chains
from qahm_torch.device.chip import Chip
from qahm_torch.ising import CouplingGraph


class Layout(NamedTuple):
    r"""A placement in tensors of integers, over Q used qubits and C used couplers."""

    qubits: Tensor  # the used qubits in increasing order, of shape (Q,)
    spin_of: Tensor  # copy * N + spin of each used qubit, of shape (Q,)
    couplers: Tensor  # pairs of positions in `qubits`, of shape (C, 2)
    coupling_of: Tensor  # copy * E + edge of each coupler, -1 inside a chain, of shape (C,)
    chain_length: Tensor  # qubits of each spin of each copy, of shape (copies * N,)
    multiplicity: Tensor  # couplers of each edge of each copy, of shape (copies * E,)


def lay_out(chains: tuple[Chains, ...], graph: CouplingGraph, chip: Chip) -> Layout:
    r"""Returns the layout of chains, whether or not they are valid on the chip.

    Couplers between chains whose spins are not coupled, or of different copies, are left out.
    """
    flat = [chain for copy in chains for chain in copy]
    length = torch.tensor([len(chain) for chain in flat], dtype=torch.int64)
    qubits, order = torch.tensor([q for chain in flat for q in chain]).sort()
    spin_of = torch.arange(len(flat)).repeat_interleave(length)[order]
    ends = _positions(qubits, chip.couplers)
    ends = ends[(ends >= 0).all(-1)]
    edge, used = _edge_of(spin_of[ends], graph, len(chains[0]))
    multiplicity = torch.bincount(edge[edge >= 0], minlength=len(chains) * graph.num_edges)
    return Layout(qubits, spin_of, ends[used], edge[used], length, multiplicity)


def _positions(sorted_values: Tensor, values: Tensor) -> Tensor:
    r"""Returns where values are in a sorted tensor, -1 for those that are not."""
    index = torch.searchsorted(sorted_values, values).clamp(max=len(sorted_values) - 1)
    return torch.where(sorted_values[index] == values, index, -1)


def _edge_of(spins: Tensor, graph: CouplingGraph, num_spins: int) -> tuple[Tensor, Tensor]:
    r"""Returns copy * E + edge of pairs copy * N + spin, -1 in a chain, and which are used."""
    copy, spin = spins // num_spins, spins % num_spins
    inside = spins[:, 0] == spins[:, 1]
    key = spin.min(-1).values * num_spins + spin.max(-1).values
    known, order = (graph.edges.min(-1).values * num_spins + graph.edges.max(-1).values).sort()
    if len(known) == 0:
        return torch.full_like(key, -1), inside
    position = _positions(known, key)
    coupled = (position >= 0) & (copy[:, 0] == copy[:, 1]) & ~inside
    edge = torch.where(coupled, copy[:, 0] * graph.num_edges + order[position], -1)
    return edge, inside | coupled
