r"""Longer chains over unused qubits, as in the experiments on Chimera chips."""

from __future__ import annotations

__all__ = ["grow"]

import heapq

import networkx as nx

from qahm_torch.annealer.chains import Placement, listed
from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import PlacementError
from qahm_torch.ising import CouplingGraph


def grow(
    placement: Placement, chip: Chip, graph: CouplingGraph, max_qubits: int | None = None
) -> Placement:
    r"""Lengthens the chains of the first copy over unused qubits, always the shortest first.

    Of the qubits next to a chain it takes the one with the most couplers to chains that the spin
    is coupled with, so that couplings spread over more couplers; among equals, the first.

    Arguments:
        placement: The placement.
        chip: The chip.
        graph: The graph of the model.
        max_qubits: The number of qubits to end with, over all copies; None for all within reach.

    Raises:
        PlacementError: If the placement is not valid for the model on the chip.
    """
    if faults := placement.faults(graph, chip):
        raise PlacementError(listed(faults))
    target = chip.graph()
    chains = [list(chain) for chain in placement.chains[0]]
    owner = dict.fromkeys(placement.qubits, -1) | {q: i for i, c in enumerate(chains) for q in c}
    friends = graph.to_networkx(labeled=False)
    queue = [(len(chain), i) for i, chain in enumerate(chains)]
    heapq.heapify(queue)
    limit = len(target) if max_qubits is None else max_qubits
    while queue and len(owner) < limit:
        _, i = heapq.heappop(queue)
        q = _best_neighbor(chains[i], set(friends[i]), owner, target)
        if q is not None:
            chains[i].append(q)
            owner[q] = i
            heapq.heappush(queue, (len(chains[i]), i))
    return Placement((tuple(map(tuple, chains)), *placement.chains[1:]))


def _best_neighbor(
    chain: list[int], friends: set[int], owner: dict[int, int], target: nx.Graph
) -> int | None:
    free = {q for end in chain for q in target[end] if q not in owner}
    gain = lambda q: sum(owner.get(r) in friends for r in target[q])
    return min(free, key=lambda q: (-gain(q), q), default=None)
