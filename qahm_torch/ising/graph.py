r"""The coupling graph: which spins there are, and which pairs interact."""

from __future__ import annotations

__all__ = ["CouplingGraph"]

from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from numbers import Integral
from typing import Any

import networkx as nx
import torch
from torch import Tensor


class CouplingGraph:
    r"""An undirected simple graph whose nodes are spins and whose edges are couplings.

    The value is immutable. Spin :math:`i` is column :math:`i` of every tensor of spins; its label
    is what a device or a `dimod` sampler calls it.

    Arguments:
        num_spins: The number of spins :math:`N`.
        edges: The pairs of spins that interact, of shape (E, 2), in the order of the couplings.
        labels: The names of the spins in spin order; 0 to N - 1 by default.

    Raises:
        ValueError: If an edge names no spin, joins a spin to itself or comes twice, or if the
            labels are not N distinct ones.

    Example:
        >>> CouplingGraph(3, [(0, 1), (1, 2)])
        CouplingGraph(num_spins=3, num_edges=2)
    """

    def __init__(
        self,
        num_spins: int,
        edges: Iterable[Sequence[int]] | Tensor,
        labels: Sequence[Hashable] | None = None,
    ):
        self.num_spins = int(num_spins)
        self.edges = _edge_tensor(edges)
        self.labels = tuple(range(self.num_spins)) if labels is None else tuple(labels)
        _check_edges(self.num_spins, self.edges)
        _check_labels(self.num_spins, self.labels)

    @classmethod
    def complete(cls, num_spins: int) -> CouplingGraph:
        r"""Returns the graph in which every pair of spins interacts."""
        return cls(num_spins, torch.triu_indices(num_spins, num_spins, 1).T)

    @classmethod
    def bipartite(cls, a: int, b: int) -> CouplingGraph:
        r"""Returns the graph of a restricted Boltzmann machine.

        The first `a` spins interact with the last `b` spins, and no others do.
        """
        return cls(a + b, torch.cartesian_prod(torch.arange(a), torch.arange(a, a + b)))

    @classmethod
    def chimera(cls, m: int, n: int | None = None, t: int | None = None) -> CouplingGraph:
        r"""Returns a Chimera graph of m x n cells of t + t qubits (`dwave.graphs`)."""
        from dwave import graphs  # type: ignore[attr-defined]

        return cls.from_networkx(graphs.chimera_graph(m, n, t))

    @classmethod
    def pegasus(cls, m: int) -> CouplingGraph:
        r"""Returns a Pegasus graph (`dwave.graphs`)."""
        from dwave import graphs  # type: ignore[attr-defined]

        return cls.from_networkx(graphs.pegasus_graph(m))

    @classmethod
    def zephyr(cls, m: int, t: int = 4) -> CouplingGraph:
        r"""Returns a Zephyr graph of grid parameter m and tile parameter t (`dwave.graphs`)."""
        from dwave import graphs  # type: ignore[attr-defined]

        return cls.from_networkx(graphs.zephyr_graph(m, t))

    @classmethod
    def from_networkx(cls, graph: nx.Graph) -> CouplingGraph:
        r"""Returns the graph of a networkx graph, whose nodes become the labels."""
        labels = list(graph.nodes)
        index = {label: i for i, label in enumerate(labels)}
        return cls(len(labels), [(index[u], index[v]) for u, v in graph.edges], labels)

    @classmethod
    def of(cls, graph_or_n: CouplingGraph | int | nx.Graph) -> CouplingGraph:
        r"""Returns a graph as it is, a networkx graph by its labels, or a complete one of n spins.

        Raises:
            TypeError: If it is something else.

        Example:
            >>> CouplingGraph.of(nx.path_graph(["a", "b", "c"])).labels
            ('a', 'b', 'c')
        """
        if isinstance(graph_or_n, CouplingGraph):
            return graph_or_n
        if isinstance(graph_or_n, nx.Graph):
            return cls.from_networkx(graph_or_n)
        # Numbers of numpy are as good, a bool is a slip.
        if isinstance(graph_or_n, Integral) and not isinstance(graph_or_n, bool):
            return cls.complete(int(graph_or_n))
        raise TypeError(
            f"{graph_or_n!r} is no graph, but a CouplingGraph, one of networkx or a number is"
        )

    @property
    def num_edges(self) -> int:
        return len(self.edges)

    def index(self, label: Hashable) -> int:
        r"""Returns the spin of a label.

        Raises:
            ValueError: If there is no such label.
        """
        if label not in self._index:
            shown = ", ".join(map(repr, self.labels[:5])) + (", ..." if self.num_spins > 5 else "")
            raise ValueError(f"no spin has the label {label!r}; there are {shown}")
        return self._index[label]

    @cached_property
    def _index(self) -> dict[Hashable, int]:
        return {label: i for i, label in enumerate(self.labels)}

    @property
    def color_classes(self) -> list[Tensor]:
        r"""Sets of spins that do not interact within a set: they can be updated at once.

        Two sets for a bipartite graph, otherwise a greedy coloring (DSATUR on small graphs).
        """
        # Tensors that torch.export makes stand for others, and are not to be kept.
        return self._as_tensors() if torch.compiler.is_compiling() else self._color_classes

    @cached_property
    def _color_classes(self) -> list[Tensor]:
        return self._as_tensors()

    def _as_tensors(self) -> list[Tensor]:
        return [torch.tensor(spins) for spins in self._colors]

    @cached_property
    def _colors(self) -> list[list[int]]:
        coloring = self._coloring()
        colors: list[list[int]] = [[] for _ in range(max(coloring.values()) + 1)]
        for spin in range(self.num_spins):
            colors[coloring[spin]].append(spin)
        return colors

    def to_networkx(self, labeled: bool = True) -> nx.Graph:
        r"""Returns the networkx graph on the labels, or on 0 to N - 1 if not `labeled`."""
        names: Sequence[Hashable] = self.labels if labeled else range(self.num_spins)
        graph: nx.Graph = nx.Graph()
        graph.add_nodes_from(names)
        graph.add_edges_from((names[i], names[j]) for i, j in self.edges.tolist())
        return graph

    def subgraph(self, spins: Sequence[int]) -> tuple[CouplingGraph, Tensor]:
        r"""Returns the graph induced on some spins, and the positions of its edges in this one."""
        position = torch.full((self.num_spins,), -1)
        position[torch.as_tensor(spins)] = torch.arange(len(spins))
        inside = (position[self.edges] >= 0).all(-1).nonzero().squeeze(-1)
        labels = [self.labels[i] for i in spins]
        return CouplingGraph(len(spins), position[self.edges[inside]], labels), inside

    def _coloring(self) -> dict[int, int]:
        num_pairs = self.num_spins * (self.num_spins - 1) // 2
        if self.num_edges == num_pairs:
            return {i: i for i in range(self.num_spins)}
        graph = self.to_networkx(labeled=False)
        if nx.is_bipartite(graph):
            return dict(nx.bipartite.color(graph))
        # DSATUR finds fewer colors, but its cost grows with the square of the number of spins.
        strategy = "DSATUR" if self.num_spins <= 512 else "smallest_last"
        return dict(nx.greedy_color(graph, strategy=strategy))

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, CouplingGraph):
            return NotImplemented
        return self is other or (
            self.num_spins == other.num_spins
            and self.labels == other.labels
            and torch.equal(self.edges, other.edges)
        )

    def __hash__(self) -> int:
        return hash((self.num_spins, self.num_edges, self.labels))

    def __repr__(self) -> str:
        return f"CouplingGraph(num_spins={self.num_spins}, num_edges={self.num_edges})"


def _edge_tensor(edges: Iterable[Sequence[int]] | Tensor) -> Tensor:
    tensor = edges if isinstance(edges, Tensor) else torch.tensor([tuple(e) for e in edges])
    if tensor.numel() == 0:
        return torch.empty(0, 2, dtype=torch.int64)
    if tensor.ndim != 2 or tensor.shape[1] != 2 or tensor.is_floating_point():
        raise ValueError(f"edges are pairs of integers of shape (E, 2), not {tuple(tensor.shape)}")
    return tensor.detach().to("cpu", torch.int64).clone()


def _check_edges(num_spins: int, edges: Tensor) -> None:
    if num_spins < 1:
        raise ValueError(f"a graph has at least 1 spin, not {num_spins}")
    outside = ((edges < 0) | (edges >= num_spins)).any(-1)
    if outside.any():
        edge = tuple(edges[outside][0].tolist())
        raise ValueError(f"edge {edge} names no spin: spins are 0 to {num_spins - 1}")
    loops = edges[:, 0] == edges[:, 1]
    if loops.any():
        edge = tuple(edges[loops][0].tolist())
        raise ValueError(f"edge {edge} joins a spin to itself; a field belongs in h")
    key = edges.min(-1).values * num_spins + edges.max(-1).values
    unique, counts = key.unique(return_counts=True)
    if len(unique) < len(key):
        twice = int(unique[counts > 1][0])
        pair = (twice // num_spins, twice % num_spins)
        raise ValueError(f"edge {pair} comes more than once; add its couplings up into one")


def _check_labels(num_spins: int, labels: tuple[Hashable, ...]) -> None:
    if len(labels) != num_spins:
        raise ValueError(f"{len(labels)} labels for {num_spins} spins")
    if len(set(labels)) != num_spins:
        raise ValueError("labels name each spin once, but some label comes twice")
