r"""Arbitrary small models, for properties that hold for all of them."""

from itertools import combinations

import torch
from hypothesis import settings, strategies as st
from models import F64

from qahm_torch import CouplingGraph, Ising

# The same examples in every run: a failure is one of the code, and can be run again.
SOME = settings(derandomize=True, deadline=None, max_examples=100)

SEEDS = st.integers(0, 2**31)
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)
# The command line lets the CPU flush subnormal numbers, for the whole process.
NUMBERS = st.floats(-2, 2, allow_subnormal=False)


@st.composite
def graphs(draw, min_spins=1, max_spins=6):
    r"""Any edges among few spins, in any order and either direction."""
    num_spins = draw(st.integers(min_spins, max_spins))
    pairs = list(combinations(range(num_spins), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return CouplingGraph(num_spins, [edge[:: draw(st.sampled_from([1, -1]))] for edge in edges])


@st.composite
def isings(draw, quantum=None, **sizes):
    r"""Any model of few spins; with a transverse field, without one, or (None) either."""
    graph = draw(graphs(**sizes))
    quantum = draw(st.booleans()) if quantum is None else quantum
    gamma = vectors(draw, graph.num_spins).abs() + 0.1 if quantum else None
    return Ising(graph, vectors(draw, graph.num_spins), vectors(draw, graph.num_edges), gamma)


def vectors(draw, size):
    return torch.tensor(draw(st.lists(NUMBERS, min_size=size, max_size=size)), dtype=F64)


def random_spins(seed, *shape):
    bits = torch.randint(2, shape, generator=torch.Generator().manual_seed(seed))
    return 2 * bits.to(F64) - 1


def permutation(seed, size):
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))
