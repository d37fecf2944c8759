r"""Placing a model on a chip, by whichever search suits its graph."""

from __future__ import annotations

__all__ = ["Layout", "Method", "Placement", "grow", "place"]

import time
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

from qahm_torch.annealer import search
from qahm_torch.annealer.chains import Placement, listed
from qahm_torch.annealer.growth import grow
from qahm_torch.annealer.layout import Layout
from qahm_torch.annealer.search import Chains
from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import PlacementError
from qahm_torch.ising import CouplingGraph

Method = Literal["auto", "native", "clique", "biclique", "general", "given"]

# Beyond these, a search is not worth the wait: for a subgraph; by heuristics for what regular
# chains do not hold; and for as many copies as fit.
MAX_NATIVE_SPINS = 128
MAX_GENERAL_SPINS = 64
AUTO_SECONDS = 5.0


def place(
    graph: CouplingGraph,
    chip: Chip,
    method: Method = "auto",
    *,
    embedding: Mapping[Any, int | Iterable[int]] | None = None,
    copies: int | Literal["auto"] | None = 1,
    seed: int = 0,
    timeout: float = 60.0,
) -> Placement:
    r"""Finds qubits of a chip for a model, and verifies what it has found.

    "native" puts each spin on one qubit: the one it is named after where that works, otherwise
    wherever a subgraph fits. "clique" is for complete graphs and "biclique" for complete bipartite
    ones, on regular chains; "general" is a heuristic search for any graph. "auto" takes the first
    of these that applies and succeeds. Searches depend on the seed only, unless the time runs out.

    Arguments:
        graph: The graph of the model.
        chip: The chip.
        method: The method; "given" takes `embedding` as it is.
        embedding: The qubits of each spin, by label or else by index.
        copies: The number of disjoint copies of the model, sampled at once; "auto" or None for as
            many as are found within 5 s, which may be a few more or less from call to call.
        seed: The seed of the searches.
        timeout: The time for the search, in seconds; a step of it that runs is not interrupted,
            which matters for large models that fit barely or not.

    Raises:
        PlacementError: If the model does not fit, or the given embedding is not valid.
        ValueError: If the method is unknown or there are no copies.

    Example:
        >>> from dwave.system.testing import MockDWaveSampler
        >>> chip = Chip.of(MockDWaveSampler(topology_type="pegasus", topology_shape=[3]))
        >>> place(CouplingGraph.complete(6), chip).chain_lengths
        ((2, 2, 2, 2, 2, 2),)
    """
    _check_request(method, embedding, copies)
    if embedding is not None:
        return _given(embedding, graph, chip)
    deadline = time.monotonic() + timeout
    for name in _methods(method, graph, chip):
        limit = AUTO_SECONDS if (method, name) == ("auto", "native") else timeout
        left = max(0.1, min(limit, deadline - time.monotonic()))
        first = search.SEARCHES[name](graph, chip.graph(), seed, left)
        if first is not None and not (found := Placement((first,))).faults(graph, chip):
            break
    else:
        raise PlacementError(_does_not_fit(graph, chip, method))
    if copies == 1:
        return found
    left = AUTO_SECONDS if copies in ("auto", None) else max(0.1, deadline - time.monotonic())
    return _copies(graph, chip, name, found, copies, seed, left)


def _methods(method: Method, graph: CouplingGraph, chip: Chip) -> list[str]:
    if method != "auto":
        _check_kind(method, graph, chip)
        return [method]
    lattice = chip.graph().graph.get("family") is not None
    names = ["as_it_stands"]
    if lattice and _is_complete(graph):
        names.append("clique")
    elif lattice and search.shores(graph) is not None:
        names.append("biclique")
    if graph.num_spins <= MAX_NATIVE_SPINS:
        names.append("native")
    special = {"clique", "biclique"} & set(names)
    return names if special and graph.num_spins > MAX_GENERAL_SPINS else [*names, "general"]


def _copies(
    graph: CouplingGraph,
    chip: Chip,
    name: str,
    found: Placement,
    copies: int | Literal["auto"] | None,
    seed: int,
    timeout: float,
) -> Placement:
    how = search.SEARCHES["native" if name == "as_it_stands" else name]
    wanted = len(chip.qubits) if copies in ("auto", None) else int(copies)  # type: ignore[arg-type]
    chains: list[Chains] = []
    for copy in search.more_copies(graph, chip.graph(), how, found.chains[0], seed, timeout):
        chains.append(copy)
        if len(chains) == wanted:
            break
    if copies not in ("auto", None) and len(chains) < wanted:
        raise PlacementError(
            f"{len(chains)} copies of {graph.num_spins} spins were found on {chip!r}, not "
            f"{copies}; ask for fewer, or for copies='auto', or give a longer timeout"
        )
    placement = Placement(tuple(chains)) if chains else found
    if faults := placement.faults(graph, chip):
        raise PlacementError(listed(faults))
    return placement


def _given(
    embedding: Mapping[Any, int | Iterable[int]], graph: CouplingGraph, chip: Chip
) -> Placement:
    by_label = all(label in embedding for label in graph.labels)
    keys: Iterable[Hashable] = graph.labels if by_label else range(graph.num_spins)
    missing = [key for key in keys if key not in embedding]
    if missing:
        raise PlacementError(f"the embedding has no chain for spin {missing[0]!r}")
    chains = [embedding[key] for key in keys]
    placement = Placement((tuple((c,) if isinstance(c, int) else tuple(c) for c in chains),))
    if faults := placement.faults(graph, chip):
        raise PlacementError(listed(faults))
    return placement


def _is_complete(graph: CouplingGraph) -> bool:
    return 2 * graph.num_edges == graph.num_spins * (graph.num_spins - 1)


def _does_not_fit(graph: CouplingGraph, chip: Chip, method: str) -> str:
    text = f"no place for {graph.num_spins} spins and {graph.num_edges} couplings on {chip!r}"
    if _is_complete(graph) and (largest := search.largest_clique(chip.graph(), graph.num_spins)):
        text += f", where the largest complete graph has {largest} spins"
    other = "" if method == "auto" else f", method='auto' in place of {method!r}"
    return f"{text}; fewer spins or couplings would help{other}, or a longer timeout"


def _check_request(method: str, embedding: Any, copies: int | str | None) -> None:
    known = ("auto", "native", "clique", "biclique", "general", "given")
    if method not in known:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(known)}")
    if (method == "given") != (embedding is not None) and method != "auto":
        raise ValueError(f"an embedding is for method 'given' and needed there, not {method!r}")
    if embedding is not None and copies not in (1, "auto", None):
        raise ValueError(f"an embedding is of one copy, not {copies}")
    if copies not in ("auto", None) and not (isinstance(copies, int) and copies >= 1):
        raise ValueError(f"copies is {copies!r}; it is a positive number or 'auto'")


def _check_kind(method: str, graph: CouplingGraph, chip: Chip) -> None:
    if method == "clique" and not _is_complete(graph):
        raise PlacementError("method 'clique' is for complete graphs, and this one is not")
    if method == "biclique" and search.shores(graph) is None:
        raise PlacementError("method 'biclique' is for complete bipartite graphs only")
    if method in ("clique", "biclique") and chip.graph().graph.get("family") is None:
        raise PlacementError(f"method {method!r} needs a Chimera, Pegasus or Zephyr chip")
