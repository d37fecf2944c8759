import pickle

import networkx as nx
import pytest
import torch

from qahm_torch import CouplingGraph


def is_proper(graph):
    color = {s: c for c, block in enumerate(graph.color_classes) for s in block.tolist()}
    return sorted(color) == list(range(graph.num_spins)) and all(
        color[i] != color[j] for i, j in graph.edges.tolist()
    )


@pytest.mark.parametrize(
    ("graph", "num_colors"),
    [
        (CouplingGraph.complete(6), 6),
        (CouplingGraph.bipartite(3, 4), 2),
        (CouplingGraph.chimera(2), 2),
        (CouplingGraph.from_networkx(nx.cycle_graph(7)), 3),
        (CouplingGraph(3, []), 1),
    ],
)
def test_color_classes_are_proper_and_few(graph, num_colors):
    assert is_proper(graph) and len(graph.color_classes) == num_colors


def test_colors_of_a_large_sparse_graph():
    graph = CouplingGraph.zephyr(4)
    assert graph.num_spins > 512 and is_proper(graph)


def test_edges_keep_their_order_and_are_a_copy():
    edges = torch.tensor([[2, 0], [1, 2]])
    graph = CouplingGraph(3, edges)
    edges[0, 0] = 1
    assert graph.edges.tolist() == [[2, 0], [1, 2]]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 3)], r"\(0, 3\) names no spin"),
        ([(-1, 0)], r"\(-1, 0\) names no spin"),
        ([(1, 1)], r"\(1, 1\) joins a spin to itself"),
        ([(0, 1), (1, 0)], r"\(0, 1\) comes more than once"),
        ([(0, 1, 2)], "pairs of integers"),
    ],
)
def test_bad_edges_are_named(edges, message):
    with pytest.raises(ValueError, match=message):
        CouplingGraph(3, edges)


def test_bad_sizes_and_labels_are_named():
    with pytest.raises(ValueError, match="at least 1 spin, not 0"):
        CouplingGraph(0, [])
    with pytest.raises(ValueError, match="2 labels for 3 spins"):
        CouplingGraph(3, [], labels=["a", "b"])
    with pytest.raises(ValueError, match="comes twice"):
        CouplingGraph(2, [], labels=["a", "a"])


def test_equality_sees_edges_and_labels():
    ring = CouplingGraph(3, [(0, 1), (1, 2), (2, 0)])
    assert ring == CouplingGraph(3, [(0, 1), (1, 2), (2, 0)])
    assert ring == pickle.loads(pickle.dumps(ring)) and hash(ring) == hash(ring)
    assert ring != CouplingGraph(3, [(0, 1), (1, 2)])
    assert ring != CouplingGraph(3, ring.edges, labels="abc")


def test_networkx_there_and_back():
    reference = nx.Graph([("a", "b"), ("b", "c")])
    graph = CouplingGraph.from_networkx(reference)
    assert nx.utils.graphs_equal(graph.to_networkx(), reference)


def test_subgraph_renames_spins_and_finds_edges():
    graph = CouplingGraph(4, [(0, 1), (3, 1), (2, 3)], labels="wxyz")
    inner, positions = graph.subgraph([3, 1])
    assert inner.edges.tolist() == [[0, 1]] and positions.tolist() == [1]
    assert inner.labels == ("z", "x")
