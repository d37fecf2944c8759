r"""Chips with missing qubits, small graphs to place on them, and upstream's check of that."""

import random

import dimod
import networkx as nx
from dwave import graphs
from dwave.embedding import is_valid_embedding

from qahm_torch import CouplingGraph
from qahm_torch.device import Chip

SMALL = {"chimera": (4,), "pegasus": (4,), "zephyr": (3,)}
RING = CouplingGraph(8, [(i, (i + 1) % 8) for i in range(8)])
TRIANGLE = CouplingGraph.complete(3)
REGULAR = CouplingGraph.from_networkx(nx.random_regular_graph(5, 16, seed=1))


def chip_of(topology, *shape, missing=0, seed=0, without=()):
    r"""A chip with some qubits missing, drawn by the seed or named."""
    graph = getattr(graphs, f"{topology}_graph")(*shape)
    graph.remove_nodes_from(random.Random(seed).sample(sorted(graph.nodes), missing))
    graph.remove_nodes_from(without)
    device = dimod.StructureComposite(dimod.ExactSolver(), list(graph.nodes), list(graph.edges))
    device.properties["topology"] = {"type": topology, "shape": list(shape)}
    return Chip.of(device)


def is_valid(placement, graph, chip):
    r"""The oracle: upstream's check of each copy, and no qubit twice."""
    source = graph.to_networkx(labeled=False)
    copies = [dict(enumerate(copy)) for copy in placement.strands]
    disjoint = len(set(placement.qubits)) == sum(map(sum, placement.strand_lengths))
    return disjoint and all(is_valid_embedding(c, source, chip.graph()) for c in copies)
