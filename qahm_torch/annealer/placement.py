r"""Where a model is on a chip: which strand of qubits stands for which spin."""

from __future__ import annotations

__all__ = ["Part", "Placed", "PlacedModel", "Placement", "Strands"]

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import networkx as nx
import torch
from torch import Tensor

from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import PlacementError
from qahm_torch.ising import CouplingGraph, Ising
from qahm_torch.ising.merging import Sets

# The greatest number of sets of spins whose tensors are kept.
MAX_KEPT = 64
# The qubits of each spin of one copy of a model, in the order of its spins.
Strands = tuple[tuple[int, ...], ...]


class Placed(NamedTuple):
    r"""A model on a chip, in tensors of integers over Q used qubits and C used couplers."""

    qubits: Tensor  # the used qubits in increasing order, of shape (Q,)
    spin_of: Tensor  # copy * N + spin of each used qubit, of shape (Q,)
    couplers: Tensor  # pairs of positions in `qubits`, of shape (C, 2)
    coupling_of: Tensor  # copy * E + edge of each coupler, -1 inside a strand, of shape (C,)
    sizes: Tensor  # the number of qubits of each spin of each copy, of shape (copies * N,)
    multiplicity: Tensor  # couplers of each edge of each copy, of shape (copies * E,)

    @property
    def strands(self) -> Sets:
        r"""The strands as sets of positions in `qubits`."""
        return Sets(self.spin_of, len(self.sizes))


@dataclass(frozen=True)
class Placement:
    r"""A strand of qubits for each spin of each copy of a model, an immutable value.

    In a minor embedding, spin :math:`i` of the model is a connected set of qubits, its strand
    (the "chain" of D-Wave's manuals), and each coupling :math:`J_{ij}` is on the couplers between
    two strands.

    Arguments:
        strands: The qubits of each spin of each copy: copies of spins, in the model's order, of
            qubits.

    Raises:
        ValueError: If a strand is empty, a qubit comes twice or copies differ in their spins.

    References:
        | Minor-Embedding in Adiabatic Quantum Computation: I. The Parameter Setting Problem (Choi,
          2008)
        | https://arxiv.org/abs/0804.4884

    Example:
        >>> placement = Placement((((0, 4), (1,)),))
        >>> placement.num_copies, placement.num_spins, placement.qubits
        (1, 2, (0, 1, 4))
    """

    strands: tuple[Strands, ...]

    def __post_init__(self) -> None:
        strands = tuple(tuple(tuple(map(int, s)) for s in copy) for copy in self.strands)
        object.__setattr__(self, "strands", strands)
        _check_strands(strands)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Placement:
        r"""Returns the placement that `state` was called on."""
        return cls(tuple(state["strands"]))

    def state(self) -> dict[str, Any]:
        r"""Returns plain containers, which load with `weights_only`."""
        return {"strands": [[list(strand) for strand in copy] for copy in self.strands]}

    @property
    def num_copies(self) -> int:
        r"""The number of copies of the model, which do not touch each other."""
        return len(self.strands)

    @property
    def num_spins(self) -> int:
        r"""The number of spins of the model."""
        return len(self.strands[0])

    @property
    def qubits(self) -> tuple[int, ...]:
        r"""All used qubits in increasing order."""
        return tuple(sorted(q for copy in self.strands for strand in copy for q in strand))

    @property
    def strand_lengths(self) -> tuple[tuple[int, ...], ...]:
        r"""The number of qubits of each spin, for each copy."""
        return tuple(tuple(map(len, copy)) for copy in self.strands)

    def of(self, spins: Sequence[int]) -> Placement:
        r"""Returns where some of the spins are, in the order that is given."""
        return Placement(tuple(tuple(copy[i] for i in spins) for copy in self.strands))

    def faults(self, graph: CouplingGraph, chip: Chip) -> list[str]:
        r"""Returns in words what does not hold for a model on a chip; nothing if it is valid."""
        from dwave.embedding import diagnose_embedding

        if graph.num_spins != self.num_spins:
            return [f"the placement is of {self.num_spins} spins, the model has {graph.num_spins}"]
        source, target = graph.to_networkx(labeled=False), chip.graph()
        return [
            _in_words(error.__name__, details) + (f" in copy {k}" if self.num_copies > 1 else "")
            for k, copy in enumerate(self.strands)
            for error, *details in diagnose_embedding(dict(enumerate(copy)), source, target)
        ]

    def check(self, graph: CouplingGraph, chip: Chip) -> None:
        r"""Raises PlacementError if the placement is not valid for the model on the chip."""
        if faults := self.faults(graph, chip):
            more = f" and {len(faults) - 3} more faults" if len(faults) > 3 else ""
            raise PlacementError(f"the placement is not valid: {'; '.join(faults[:3])}{more}")

    def tensors(self, graph: CouplingGraph, chip: Chip) -> Placed:
        r"""Returns the qubits and couplers that are used, with the spins and edges they are of.

        Couplers between strands whose spins are not coupled, or of different copies, are left out.

        Raises:
            PlacementError: If the placement is not valid for the model on the chip.
        """
        placed = _placed(self.strands, graph, chip)
        missing = not set(self.qubits) <= set(chip.qubits.tolist())
        coupled = graph.num_spins == self.num_spins and bool((placed.multiplicity > 0).all())
        if missing or not coupled:
            self.check(graph, chip)
        return placed

    def grown(self, graph: CouplingGraph, chip: Chip, max_qubits: int | None = None) -> Placement:
        r"""Returns it with strands of the first copy lengthened, always the shortest first.

        They grow over unused qubits, as in the experiments on Chimera chips. Of the qubits next to
        a strand it takes the one with the most couplers to strands that the spin is coupled with,
        so that couplings spread over more couplers; among equals, the first.

        Arguments:
            graph: The graph of the model.
            chip: The chip.
            max_qubits: The number of qubits to end with, over all copies; None for all within
                reach.

        Raises:
            PlacementError: If the placement is not valid for the model on the chip.
        """
        self.check(graph, chip)
        first = [list(strand) for strand in self.strands[0]]
        owner = dict.fromkeys(self.qubits, -1) | {q: i for i, s in enumerate(first) for q in s}
        _grow(first, owner, graph.to_networkx(labeled=False), chip.graph(), max_qubits)
        return Placement((tuple(map(tuple, first)), *self.strands[1:]))


class Part(NamedTuple):
    r"""What samples have in common in which the same spins are held."""

    ising: Ising  # the model of the free spins
    free: Tensor  # which spins those are
    placed: Placed  # where they are
    rows: Tensor  # the samples, of shape (S',)

    @property
    def num_copies(self) -> int:
        r"""The number of samples that each read gives."""
        return len(self.placed.sizes) // self.ising.num_spins


class PlacedModel:
    r"""The graph of a model on a chip, whole or without what is held of it.

    Arguments:
        graph: The graph of the model.
        placement: Where it is.
        chip: The chip.
    """

    def __init__(self, graph: CouplingGraph, placement: Placement, chip: Chip):
        self.graph = graph
        self.placement = placement
        self.chip = chip
        self._known: dict[tuple[int, ...], tuple[CouplingGraph, Tensor, Placed]] = {}

    def parts(self, ising: Ising, held: Tensor) -> list[Part]:
        r"""Returns the model of the free spins for each way in which spins are held.

        Samples without a free spin are in no part.

        Arguments:
            ising: The model.
            held: The held spins of each sample, 0 for free ones, of shape (S, N).
        """
        parts = []
        for row, rows in _distinct(held):
            free = (row == 0).nonzero().squeeze(-1)
            if len(free):
                graph, edges, placed = self._of(tuple(free.tolist()))
                model = _conditional(ising, row, free, graph, edges)
                parts.append(Part(model, free, placed, rows))
        return parts

    def _of(self, free: tuple[int, ...]) -> tuple[CouplingGraph, Tensor, Placed]:
        r"""Returns the graph of some spins, the positions of its edges, and where it is."""
        if free not in self._known:
            graph, edges = self.graph, torch.arange(self.graph.num_edges)
            if len(free) < self.graph.num_spins:
                graph, edges = self.graph.subgraph(free)
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            self._known[free] = graph, edges, self.placement.of(free).tensors(graph, self.chip)
        return self._known[free]


def _grow(
    strands: list[list[int]],
    owner: dict[int, int],
    friends: nx.Graph,
    target: nx.Graph,
    max_qubits: int | None,
) -> None:
    r"""Lengthens strands in place; `owner` has the spin of each used qubit, or -1."""
    queue = [(len(strand), i) for i, strand in enumerate(strands)]
    heapq.heapify(queue)
    limit = len(target) if max_qubits is None else max_qubits
    while queue and len(owner) < limit:
        _, i = heapq.heappop(queue)
        q = _best_neighbor(strands[i], set(friends[i]), owner, target)
        if q is not None:
            strands[i].append(q)
            owner[q] = i
            heapq.heappush(queue, (len(strands[i]), i))


def _best_neighbor(
    strand: list[int], friends: set[int], owner: dict[int, int], target: nx.Graph
) -> int | None:
    free = {q for end in strand for q in target[end] if q not in owner}
    gain = {q: sum(owner.get(r) in friends for r in target[q]) for q in free}
    return min(free, key=lambda q: (-gain[q], q), default=None)


def _distinct(held: Tensor) -> list[tuple[Tensor, Tensor]]:
    r"""Returns each distinct row of (S, N), and the samples that it is for."""
    if bool((held == held[0]).all()):
        distinct, member = held[:1], torch.zeros(len(held), dtype=torch.int64)
    else:
        distinct, member = torch.unique(held, dim=0, return_inverse=True)
    return [(row, (member == k).nonzero().squeeze(-1)) for k, row in enumerate(distinct)]


def _conditional(
    ising: Ising, row: Tensor, free: Tensor, graph: CouplingGraph, edges: Tensor
) -> Ising:
    r"""Returns the model of the free spins, on their graph, given those that a row (N,) holds."""
    held = row.to(ising.h)
    fields = ising.h
    if bool(held.any()):
        i, j = ising.graph.edges.to(held.device).unbind(-1)
        fields = fields.index_add(0, i, ising.J * held[j]).index_add(0, j, ising.J * held[i])
    return Ising(graph, fields[free], ising.J[edges])


def _placed(strands: tuple[Strands, ...], graph: CouplingGraph, chip: Chip) -> Placed:
    r"""Returns strands in tensors, whether or not they are valid on the chip."""
    flat = [strand for copy in strands for strand in copy]
    sizes = torch.tensor([len(strand) for strand in flat], dtype=torch.int64)
    qubits, order = torch.tensor([q for strand in flat for q in strand]).sort()
    spin_of = torch.arange(len(flat)).repeat_interleave(sizes)[order]
    ends = _positions(qubits, chip.couplers)
    ends = ends[(ends >= 0).all(-1)]
    edge, used = _edge_of(spin_of[ends], graph, len(strands[0]))
    multiplicity = torch.bincount(edge[edge >= 0], minlength=len(strands) * graph.num_edges)
    return Placed(qubits, spin_of, ends[used], edge[used], sizes, multiplicity)


def _positions(sorted_values: Tensor, values: Tensor) -> Tensor:
    r"""Returns where values are in a sorted tensor, -1 for those that are not."""
    index = torch.searchsorted(sorted_values, values).clamp(max=len(sorted_values) - 1)
    return torch.where(sorted_values[index] == values, index, -1)


def _edge_of(spins: Tensor, graph: CouplingGraph, num_spins: int) -> tuple[Tensor, Tensor]:
    r"""Returns copy * E + edge of pairs copy * N + spin, -1 in a strand, and which are used."""
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


def _in_words(error: str, details: list[int]) -> str:
    if error == "InvalidNodeError":
        return f"qubit {details[1]} of spin {details[0]} is missing"
    if error == "DisconnectedChainError":
        return f"the strand of spin {details[0]} is broken apart"
    i, j = sorted(details[-2:])
    return f"there is no coupler between the strands of spins {i} and {j}"


def _check_strands(strands: tuple[Strands, ...]) -> None:
    if not strands or not strands[0] or any(len(c) != len(strands[0]) for c in strands):
        raise ValueError(
            f"strands are of {[len(copy) for copy in strands]} spins, but a placement is of one "
            "or more copies of the same number of spins"
        )
    seen: set[int] = set()
    for copy in strands:
        for spin, strand in enumerate(copy):
            if not strand:
                raise ValueError(f"spin {spin} has no qubit, but it needs at least 1")
            if seen.intersection(strand) or len(set(strand)) < len(strand):
                raise ValueError(
                    f"spin {spin} has the strand {strand}, but a qubit of it is taken"
                )
            seen.update(strand)
