import pytest

from qahm_torch import CouplingGraph
from qahm_torch.kernels.adjacency import neighbor_table, neighbors_of

GRAPHS = {
    "complete": lambda: CouplingGraph.complete(6),
    "sparse": lambda: CouplingGraph.zephyr(1),
    "in any order": lambda: CouplingGraph(5, [(3, 1), (0, 3), (4, 0), (1, 0)]),
    "without edges": lambda: CouplingGraph(3, []),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_entries_are_the_edges_of_each_spin_in_ascending_order(name):
    graph = GRAPHS[name]()
    near = neighbors_of(graph)
    edges = graph.edges.tolist()
    for i in range(graph.num_spins):
        row = slice(int(near.starts[i]), int(near.starts[i + 1]))
        expected = sorted((a + b - i, k) for k, (a, b) in enumerate(edges) if i in (a, b))
        found = list(zip(near.others[row].tolist(), near.edges[row].tolist()))
        assert found == expected and int(near.degrees[i]) == len(expected)
        assert near.spins[row].tolist() == [i] * len(expected)
        assert near.slots[row].tolist() == list(range(len(expected)))
    assert int(near.starts[-1]) == len(near.spins) == 2 * len(edges)


def test_the_table_of_a_graph_is_made_once():
    graph = CouplingGraph.complete(4)
    assert neighbors_of(graph) is neighbors_of(graph)
    assert neighbors_of(CouplingGraph.complete(4)) is neighbors_of(graph)
    assert neighbors_of(CouplingGraph.complete(5)) is not neighbors_of(graph)
    assert neighbor_table(4, graph.edges) is not neighbors_of(graph)


def test_tables_go_with_their_graphs():
    import gc
    import weakref

    graph = CouplingGraph.complete(7)
    table = weakref.ref(neighbors_of(graph).starts)
    del graph
    gc.collect()
    assert table() is None
