r"""Finding a placement of a model on a chip, by whichever search suits its graph.

Each search takes the graph of a model, the working graph of a chip, a seed and a number of
seconds, and returns the strands of one copy, or None if it finds none. All are deterministic, and
what they return is not verified.
"""

from __future__ import annotations

__all__ = ["SEARCHES", "place"]

import math
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import islice
from typing import Any

import networkx as nx

from qahm_torch.annealer.placement import Placement, Strands
from qahm_torch.annealer.settings import PlacementSettings
from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import AnnealerWarning, PlacementError
from qahm_torch.ising import CouplingGraph

Search = Callable[[CouplingGraph, nx.Graph, int, float], Strands | None]

# Beyond these, a search is not worth the wait: for a subgraph; by heuristics for what regular
# strands do not hold; and for as many copies as fit.
MAX_NATIVE_SPINS = 128
MAX_GENERAL_SPINS = 64
AUTO_SECONDS = 5.0
# A placement is repeated over the lattice where it takes less than this part of the chip;
# larger ones pack better when each is searched for on what is left.
SMALL = 1 / 32


def place(
    graph: CouplingGraph,
    chip: Chip,
    settings: PlacementSettings | None = None,
    known: Placement | None = None,
) -> Placement:
    r"""Finds qubits of a chip for a model, and verifies what it has found.

    Arguments:
        graph: The graph of the model.
        chip: The chip.
        settings: The method, the number of copies, the seed and the time.
        known: Where the model was before. It stays there if that is still possible; otherwise a
            warning says why it is not.

    Raises:
        PlacementError: If the model does not fit, or the given embedding is not valid.

    Example:
        >>> from dwave.system.testing import MockDWaveSampler
        >>> chip = Chip.of(MockDWaveSampler(topology_type="pegasus", topology_shape=[3]))
        >>> place(CouplingGraph.complete(6), chip).strand_lengths
        ((2, 2, 2, 2, 2, 2),)
    """
    settings = settings or PlacementSettings()
    if known is not None and all(_is_valid(copy, graph, chip.graph()) for copy in known.strands):
        return known
    if settings.embedding is not None:
        copies = [_given(settings.embedding, graph)]
    else:
        copies = _found(graph, chip, settings)
    placement = Placement(tuple(copies))
    placement.check(graph, chip)
    if known is not None:
        message = f"the model was placed anew on {chip.name}: {known.faults(graph, chip)[0]}"
        warnings.warn(message, AnnealerWarning, stacklevel=2)
    return placement


def _given(embedding: Any, graph: CouplingGraph) -> Strands:
    by_label = all(label in embedding for label in graph.labels)
    keys: Iterable[Hashable] = graph.labels if by_label else range(graph.num_spins)
    missing = [key for key in keys if key not in embedding]
    if missing:
        raise PlacementError(f"embedding has no qubits for spin {missing[0]!r}, but it needs some")
    strands = [embedding[key] for key in keys]
    return tuple((s,) if isinstance(s, int) else tuple(s) for s in strands)


def _found(graph: CouplingGraph, chip: Chip, settings: PlacementSettings) -> list[Strands]:
    r"""Returns the strands of each copy, by the first method that finds some."""
    target, deadline = chip.graph(), time.monotonic() + settings.timeout
    for name in _methods(settings.method, graph, target):
        limit = AUTO_SECONDS if (settings.method, name) == ("auto", "native") else math.inf
        left = max(0.1, min(limit, deadline - time.monotonic()))
        first = SEARCHES[name](graph, target, settings.seed, left)
        if first is not None and _is_valid(first, graph, target):
            break
    else:
        raise PlacementError(_does_not_fit(graph, chip, settings.method))
    if settings.copies == 1:
        return [first]
    how = SEARCHES["native" if name == "as_it_stands" else name]
    left = AUTO_SECONDS if settings.copies == "auto" else max(0.1, deadline - time.monotonic())
    wanted = len(target) if settings.copies == "auto" else settings.copies
    copies = list(islice(_copies(graph, target, how, first, settings.seed, left), wanted))
    if len(copies) < wanted and settings.copies != "auto":
        raise PlacementError(
            f"copies is {wanted}, but {len(copies)} of {graph.num_spins} spins were found on "
            f"{chip!r}; ask for fewer, or for copies='auto', or give a longer timeout"
        )
    return copies or [first]


def _methods(method: str, graph: CouplingGraph, target: nx.Graph) -> list[str]:
    r"""Returns the searches to try, one after the other."""
    lattice = target.graph.get("family") is not None
    if method != "auto":
        _check_kind(method, graph, lattice)
        return [method]
    names = ["as_it_stands"]
    if lattice and _is_complete(graph):
        names.append("clique")
    elif lattice and _shores(graph) is not None:
        names.append("biclique")
    if graph.num_spins <= MAX_NATIVE_SPINS:
        names.append("native")
    special = {"clique", "biclique"} & set(names)
    return names if special and graph.num_spins > MAX_GENERAL_SPINS else [*names, "general"]


def _check_kind(method: str, graph: CouplingGraph, lattice: bool) -> None:
    if method == "clique" and not _is_complete(graph):
        raise PlacementError("method is 'clique', but that is for complete graphs only")
    if method == "biclique" and _shores(graph) is None:
        raise PlacementError("method is 'biclique', but that is for complete bipartite ones only")
    if method in ("clique", "biclique") and not lattice:
        raise PlacementError(f"method is {method!r}, but that is for lattices that D-Wave makes")


def _is_valid(strands: Strands, graph: CouplingGraph, target: nx.Graph) -> bool:
    from dwave.embedding import is_valid_embedding

    source = graph.to_networkx(labeled=False)
    return bool(is_valid_embedding(dict(enumerate(strands)), source, target))


def _is_complete(graph: CouplingGraph) -> bool:
    return 2 * graph.num_edges == graph.num_spins * (graph.num_spins - 1)


def _does_not_fit(graph: CouplingGraph, chip: Chip, method: str) -> str:
    text = f"no place for {graph.num_spins} spins and {graph.num_edges} couplings on {chip!r}"
    if _is_complete(graph) and (largest := _largest_clique(chip.graph(), graph.num_spins)):
        text += f", where the largest complete graph has {largest} spins"
    other = "" if method == "auto" else f", method='auto' in place of {method!r}"
    return f"{text}; fewer spins or couplings would help{other}, or a longer timeout"


def as_it_stands(
    graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float
) -> Strands | None:
    r"""Places each spin on the qubit that it is named after."""
    names: tuple[Any, ...] = graph.labels
    if any(name not in target for name in names):
        return None
    if not all(target.has_edge(names[i], names[j]) for i, j in graph.edges.tolist()):
        return None
    return tuple((name,) for name in names)


def native(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Strands | None:
    r"""Places each spin on one qubit, by a subgraph that has the couplings of the model."""
    from minorminer.subgraph import find_subgraph
    from minorminer.utils.feasibility import embedding_feasibility_filter

    found = as_it_stands(graph, target, seed, timeout)
    source = graph.to_networkx(labeled=False)
    if found or not embedding_feasibility_filter(source, target, one_to_one=True):
        return found
    seconds = max(1, math.ceil(timeout))
    return _in_order(find_subgraph(source, target, timeout=seconds, seed=seed, as_embedding=True))


def clique(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Strands | None:
    r"""Places a complete graph on crossing lines of qubits."""
    from minorminer.busclique import find_clique_embedding

    if graph.num_spins <= _one_cell(target):
        found = native(graph, target, seed, min(timeout, 2))
        return found or general(graph, target, seed, timeout)
    return _in_order(find_clique_embedding(graph.num_spins, target, seed=seed, use_cache=False))


def biclique(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Strands | None:
    r"""Places a complete bipartite graph, in the smallest part of the lattice that holds it."""
    sides = _shores(graph)
    if sides is None or target.graph.get("family") is None:
        return None
    deadline = time.monotonic() + timeout
    for window, image in _windows(target, max(map(len, sides))):
        if time.monotonic() > deadline:
            return None
        strands = _biclique_in(window, sides)
        if strands is not None:
            return tuple(tuple(image(q) for q in strand) for strand in strands)
    return None


def general(graph: CouplingGraph, target: nx.Graph, seed: int, timeout: float) -> Strands | None:
    r"""Places any graph by the heuristic search of minorminer."""
    from minorminer import find_embedding
    from minorminer.utils.feasibility import embedding_feasibility_filter

    source = graph.to_networkx(labeled=False)
    if not embedding_feasibility_filter(source, target):
        return None
    settings: dict[str, Any] = {"random_seed": seed, "timeout": timeout}
    return _in_order(find_embedding(source, target, **settings))


SEARCHES: dict[str, Search] = {
    "as_it_stands": as_it_stands,
    "native": native,
    "clique": clique,
    "biclique": biclique,
    "general": general,
}


def _shores(graph: CouplingGraph) -> tuple[list[int], list[int]] | None:
    r"""Returns the two sides of a complete bipartite graph, None for any other."""
    source = graph.to_networkx(labeled=False)
    if graph.num_edges == 0 or not nx.is_connected(source) or not nx.is_bipartite(source):
        return None
    left = {i for i, color in nx.bipartite.color(source).items() if color == 0}
    right = [i for i in range(graph.num_spins) if i not in left]
    return (sorted(left), right) if graph.num_edges == len(left) * len(right) else None


def _largest_clique(target: nx.Graph, below: int) -> int | None:
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


def _copies(
    graph: CouplingGraph,
    target: nx.Graph,
    search: Search,
    first: Strands,
    seed: int,
    timeout: float,
) -> Iterator[Strands]:
    r"""Yields disjoint placements until the chip is full or the time is over."""
    deadline = time.monotonic() + timeout
    rest = target.copy()
    tile, templates = target, list[Strands]()
    if sum(map(len, first)) < SMALL * len(target) and target.graph.get("family"):
        tile, templates = _templates(graph, target, search, seed, timeout / 3)
    if templates:
        yield from _repeated(tile, templates, rest)
    else:
        _remove(rest, first)
        yield first
    while len(rest) >= graph.num_spins and time.monotonic() < deadline:
        strands = search(graph, rest, seed, deadline - time.monotonic())
        if strands is None:
            return
        _remove(rest, strands)
        yield strands


def _templates(
    graph: CouplingGraph, target: nx.Graph, search: Search, seed: int, timeout: float
) -> tuple[nx.Graph, list[Strands]]:
    r"""Returns the smallest tile of the lattice that holds the model, and copies that fill it."""
    deadline = time.monotonic() + timeout
    tile, templates = target, list[Strands]()
    for tile in _tiles(target):
        left = tile.copy()
        while (strands := search(graph, left, seed, 1.0)) is not None:
            templates.append(strands)
            _remove(left, strands)
            if len(left) < graph.num_spins:
                break
        if templates or time.monotonic() > deadline:
            break
    return tile, templates


def _repeated(tile: nx.Graph, templates: list[Strands], rest: nx.Graph) -> Iterator[Strands]:
    r"""Yields the copies on a tile, wherever the tile can be laid, and takes them off the rest."""
    couplers = [list(tile.subgraph(q for c in strands for q in c).edges) for strands in templates]
    for image in list(_mappings(tile, rest)):
        for strands, pairs in zip(templates, couplers, strict=True):
            moved = tuple(tuple(image(q) for q in strand) for strand in strands)
            whole = all(rest.has_edge(image(a), image(b)) for a, b in pairs)
            if whole and all(q in rest for strand in moved for q in strand):
                _remove(rest, moved)
                yield moved


def _one_cell(target: nx.Graph) -> int:
    # For cliques that fit in one cell, busclique runs out of memory where no such cell is whole.
    tile = int(target.graph["tile"])
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
    mappings: Iterator[Callable[[int], int]] = _family(target.graph["family"])[1](tile, target)
    return mappings


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
    m, t = int(tile.graph["rows"]), int(tile.graph["tile"])
    return t * (2 * m + 1) if tile.graph["family"] == "zephyr" else t * m


def _biclique_in(window: nx.Graph, sides: tuple[list[int], list[int]]) -> Strands | None:
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


def _remove(target: nx.Graph, strands: Strands) -> None:
    target.remove_nodes_from([q for strand in strands for q in strand])


def _in_order(embedding: dict[int, Any]) -> Strands | None:
    if not embedding:
        return None
    return tuple(tuple(sorted(embedding[i])) for i in range(len(embedding)))
