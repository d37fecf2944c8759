r"""Finding chains of qubits for a model: one function per kind of graph, all deterministic.

Each takes the graph of a model, the working graph of a chip, a seed and a number of seconds, and
returns the chains in spin order, or None if it finds none. What they return is not verified.
"""

from __future__ import annotations

__all__ = ["SEARCHES", "Chains", "as_it_stands", "largest_clique", "more_copies", "shores"]

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import networkx as nx

from qahm_torch.ising import CouplingGraph

Chains = tuple[tuple[int, ...], ...]
Search = Callable[[CouplingGraph, nx.Graph, int, float], Chains | None]

# A placement is repeated over the lattice where it takes less than this part of the chip;
# larger ones pack better when each is searched for on what is left.
SMALL = 1 / 32


def as_it_stands(
    graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float
) -> Chains | None:
    r"""Places each spin on the qubit that it is named after."""
    names: tuple[Any, ...] = graph.labels
    if any(name not in target for name in names):
        return None
    if not all(target.has_edge(names[i], names[j]) for i, j in graph.edges.tolist()):
        return None
    return tuple((name,) for name in names)


def native(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Chains | None:
    r"""Places each spin on one qubit, by a subgraph that has the couplings of the model."""
    from minorminer.subgraph import find_subgraph
    from minorminer.utils.feasibility import embedding_feasibility_filter

    found = as_it_stands(graph, target, seed, timeout)
    source = graph.to_networkx(labeled=False)
    if found or not embedding_feasibility_filter(source, target, one_to_one=True):
        return found
    seconds = max(1, math.ceil(timeout))
    return _in_order(find_subgraph(source, target, timeout=seconds, seed=seed, as_embedding=True))


def clique(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Chains | None:
    r"""Places a complete graph on crossing lines of qubits."""
    from minorminer.busclique import find_clique_embedding

    if graph.num_spins <= _one_cell(target):
        found = native(graph, target, seed, min(timeout, 2))
        return found or general(graph, target, seed, timeout)
    return _in_order(find_clique_embedding(graph.num_spins, target, seed=seed, use_cache=False))


def biclique(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Chains | None:
    r"""Places a complete bipartite graph, in the smallest part of the lattice that holds it."""
    sides = shores(graph)
    if sides is None or target.graph.get("family") is None:
        return None
    deadline = time.monotonic() + timeout
    for window, image in _windows(target, max(map(len, sides))):
        if time.monotonic() > deadline:
            return None
        chains = _biclique_in(window, sides)
        if chains is not None:
            return tuple(tuple(image(q) for q in chain) for chain in chains)
    return None


def general(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Chains | None:
    r"""Places any graph by the heuristic search of minorminer."""
    from minorminer import find_embedding
    from minorminer.utils.feasibility import embedding_feasibility_filter

    source = graph.to_networkx(labeled=False)
    if not embedding_feasibility_filter(source, target):
        return None
    return _in_order(find_embedding(source, target, random_seed=seed, timeout=timeout))


SEARCHES: dict[str, Search] = {
    "as_it_stands": as_it_stands,
    "native": native,
    "clique": clique,
    "biclique": biclique,
    "general": general,
}


def shores(graph: CouplingGraph) -> tuple[list[int], list[int]] | None:
    r"""Returns the two sides of a complete bipartite graph, None for any other."""
    source = graph.to_networkx(labeled=False)
    if graph.num_edges == 0 or not nx.is_connected(source) or not nx.is_bipartite(source):
        return None
    left = {i for i, color in nx.bipartite.color(source).items() if color == 0}
    right = [i for i in range(graph.num_spins) if i not in left]
    return (sorted(left), right) if graph.num_edges == len(left) * len(right) else None


def largest_clique(target: nx.Graph, below: int) -> int | None:
    r"""Returns the size of the largest complete graph on a chip, None if it fits in a cell."""
    from minorminer.busclique import find_clique_embedding

    if target.graph.get("family") is None:
        return None
    smallest = _one_cell(target)
    low, high = smallest, below
    while high - low > 1:
        middle = (low + high) // 2
        fits = find_clique_embedding(middle, target, seed=0, use_cache=False)
        low, high = (middle, high) if fits else (low, middle)
    return low if low > smallest else None


def more_copies(
    graph: CouplingGraph,
    target: nx.Graph,
    search: Search,
    first: Chains,
    seed: int,
    timeout: float,
) -> Iterator[Chains]:
    r"""Yields disjoint placements until the chip is full or the time is over."""
    deadline = time.monotonic() + timeout
    rest = target.copy()
    templates: list[Chains] = []
    if sum(map(len, first)) < SMALL * len(target) and target.graph.get("family"):
        tile, templates = _templates(graph, target, search, seed, timeout / 3)
    if templates:
        yield from _repeated(tile, templates, rest)
    else:
        _remove(rest, first)
        yield first
    while len(rest) >= graph.num_spins and time.monotonic() < deadline:
        chains = search(graph, rest, seed, deadline - time.monotonic())
        if chains is None:
            return
        _remove(rest, chains)
        yield chains


def _templates(
    graph: CouplingGraph, target: nx.Graph, search: Search, seed: int, timeout: float
) -> tuple[nx.Graph, list[Chains]]:
    r"""Returns the smallest tile of the lattice that holds the model, and copies that fill it."""
    deadline = time.monotonic() + timeout
    templates: list[Chains] = []
    for tile in _tiles(target):
        left = tile.copy()
        while (chains := search(graph, left, seed, 1.0)) is not None:
            templates.append(chains)
            _remove(left, chains)
            if len(left) < graph.num_spins:
                break
        if templates or time.monotonic() > deadline:
            break
    return tile, templates


def _repeated(tile: nx.Graph, templates: list[Chains], rest: nx.Graph) -> Iterator[Chains]:
    r"""Yields the copies on a tile, wherever the tile can be laid, and takes them off the rest."""
    couplers = [list(tile.subgraph(q for c in chains for q in c).edges) for chains in templates]
    for image in list(_mappings(tile, rest)):
        for chains, pairs in zip(templates, couplers, strict=True):
            moved = tuple(tuple(image(q) for q in chain) for chain in chains)
            whole = all(rest.has_edge(image(a), image(b)) for a, b in pairs)
            if whole and all(q in rest for chain in moved for q in chain):
                _remove(rest, moved)
                yield moved


def _one_cell(target: nx.Graph) -> int:
    # For cliques that fit in one cell, busclique runs out of memory where no such cell is whole.
    tile = target.graph["tile"]
    return {"chimera": tile, "zephyr": 2 * tile, "pegasus": 4}[target.graph["family"]]


def _family(family: str) -> tuple[Callable[..., nx.Graph], Callable[..., Any]]:
    from dwave import graphs  # type: ignore[attr-defined]

    return getattr(graphs, f"{family}_graph"), getattr(graphs, f"{family}_sublattice_mappings")


def _tiles(target: nx.Graph) -> Iterator[nx.Graph]:
    r"""Yields whole lattices of the chip's family, from the smallest to that of the chip."""
    family, tile = target.graph["family"], target.graph["tile"]
    for m in range(2 if family == "pegasus" else 1, target.graph["rows"] + 1):
        yield _lattice(family, m, tile)


def _lattice(family: str, m: int, tile: int, **parts: Any) -> nx.Graph:
    build = _family(family)[0]
    if family == "pegasus":
        return build(m, **parts)
    return build(m, t=tile, **parts) if family == "zephyr" else build(m, m, tile, **parts)


def _mappings(tile: nx.Graph, target: nx.Graph) -> Iterator[Callable[[int], int]]:
    return _family(target.graph["family"])[1](tile, target)


def _windows(target: nx.Graph, num_lines: int) -> Iterator[tuple[nx.Graph, Callable[[int], int]]]:
    r"""Yields working parts of the chip of growing size, with what their qubits are called on it.

    They have `num_lines` lines of qubits in each direction, or more.
    """
    for tile in _tiles(target):
        if num_lines > _lines(tile):
            continue
        family, rows = target.graph["family"], tile.graph["rows"]
        mappings = list(_mappings(tile, target))
        # The most whole places first, since a search on a damaged one may fail.
        working = [sum(image(q) in target for q in tile) for image in mappings]
        best = sorted(range(len(mappings)), key=lambda k: -working[k])[:3]
        for image in (mappings[k] for k in best):
            nodes = [q for q in tile if image(q) in target]
            edges = [(a, b) for a, b in tile.edges if target.has_edge(image(a), image(b))]
            yield (
                _lattice(family, rows, tile.graph["tile"], node_list=nodes, edge_list=edges),
                image,
            )


def _lines(tile: nx.Graph) -> int:
    m, t = tile.graph["rows"], tile.graph["tile"]
    return t * (2 * m + 1) if tile.graph["family"] == "zephyr" else t * m


def _biclique_in(window: nx.Graph, sides: tuple[list[int], list[int]]) -> Chains | None:
    from dwave import embedding

    left, right = sides
    if len(window) < len(left) + len(right) or window.number_of_edges() < len(left) * len(right):
        return None
    family = getattr(embedding, window.graph["family"])
    try:
        found = family.find_biclique_embedding(left, right, target_graph=window)
    except (ValueError, OSError):
        # There is none, or upstream's file cache, without which it does not search, is read-only.
        return None
    return _in_order({**found[0], **found[1]})


def _remove(target: nx.Graph, chains: Chains) -> None:
    target.remove_nodes_from([q for chain in chains for q in chain])


def _in_order(embedding: dict[int, Any]) -> Chains | None:
    if not embedding:
        return None
    return tuple(tuple(sorted(embedding[i])) for i in range(len(embedding)))
