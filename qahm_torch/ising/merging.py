r"""Sets of spins, each of which stands for one: sums over them, votes of them, and their model."""

from __future__ import annotations

__all__ = ["Joined", "Sets", "merge_tied", "tied_sets"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising.graph import CouplingGraph
from qahm_torch.ising.model import Ising


class Joined(NamedTuple):
    r"""The graph of sets of spins, and which of its edges each coupling belongs to."""

    graph: CouplingGraph  # of K sets, with an edge for each pair of them that is coupled
    place_of: Tensor  # its edge, or the number of edges plus the set it is in, of shape (E,)


class Sets(NamedTuple):
    r"""A partition of N spins into K sets, each of which stands for one spin.

    With :math:`s(u)` the state in which all spins of set k are :math:`u_k`,

    .. math::
        E(s(u)) = \sum_k u_k \sum_{i \in k} h_i
        + \sum_{k < l} u_k u_l \sum_{i \in k, j \in l} J_{ij}
        + \sum_k u_k^2 \sum_{i < j \in k} J_{ij},

    which is the energy of a model of K spins and, where u is +-1, a constant.

    Example:
        >>> sets = Sets(torch.tensor([0, 1, 0]), 2)
        >>> votes = sets.sums(torch.tensor([[1.0, 1.0, -1.0]]))
        >>> sets.is_split(votes), sets.majority(votes, ties=torch.tensor([-1.0, -1.0]))
        (tensor([[ True, False]]), tensor([[-1.,  1.]]))
    """

    set_of: Tensor  # the set of each spin, of shape (N,)
    num_sets: int

    @property
    def sizes(self) -> Tensor:
        r"""The number of spins of each set, of shape (K,)."""
        return torch.bincount(self.set_of, minlength=self.num_sets)

    @property
    def leaders(self) -> Tensor:
        r"""The first spin of each set, of shape (K,)."""
        spins = torch.arange(len(self.set_of), device=self.set_of.device)
        last = spins.new_full((self.num_sets,), len(spins))
        return last.scatter_reduce(0, self.set_of, spins, "amin")

    def sums(self, values: Tensor) -> Tensor:
        r"""Returns sums over the sets: (*, N) -> (*, K); of spins, these are votes."""
        zeros = values.new_zeros(*values.shape[:-1], self.num_sets)
        return zeros.index_add(-1, self.set_of.to(values.device), values)

    def is_split(self, votes: Tensor) -> Tensor:
        r"""Returns of votes (*, K) in which sets spins differ."""
        return votes.abs() < self.sizes.to(votes.device)

    def majority(self, votes: Tensor, ties: Tensor) -> Tensor:
        r"""Returns the values that votes (*, K) decide for, and where they are equal, `ties`."""
        # Votes of a set differ by whole numbers, so that half a vote decides ties alone.
        return (2 * votes + ties).sign()

    def joined(self, graph: CouplingGraph) -> Joined:
        r"""Returns what couples the sets, where `graph` is that of the spins."""
        ends = self.set_of.cpu()[graph.edges].sort(-1).values
        between = ends[:, 0] != ends[:, 1]
        pairs, index = torch.unique(ends[between], dim=0, return_inverse=True)
        place_of = len(pairs) + ends[:, 0]
        place_of[between] = index
        return Joined(CouplingGraph(self.num_sets, pairs), place_of)

    def merged(self, ising: Ising, joined: Joined | None = None) -> tuple[Ising, Tensor]:
        r"""Returns the model of the sets, and the sum of couplings inside of each, (K,).

        Differentiable in h and J.

        Arguments:
            ising: The model of the spins.
            joined: What couples the sets, where it is known already.
        """
        graph, place_of = self.joined(ising.graph) if joined is None else joined
        sums = ising.J.new_zeros(graph.num_edges + self.num_sets)
        sums = sums.index_add(0, place_of.to(sums.device), ising.J)
        J, inner = sums[: graph.num_edges], sums[graph.num_edges :]
        return Ising(graph, self.sums(ising.h), J), inner


def tied_sets(pairs: Tensor, num_spins: int) -> Sets:
    r"""Returns the sets of spins that pairs of shape (P, 2) tie together, by their first spins."""
    from scipy.sparse import coo_array  # only now, because it takes time
    from scipy.sparse.csgraph import connected_components

    i, j = pairs.cpu().numpy().T
    ties = coo_array((torch.ones(len(pairs)).numpy(), (i, j)), (num_spins, num_spins))
    count, labels = connected_components(ties, directed=False)
    return Sets(torch.from_numpy(labels).long(), count)


def merge_tied(ising: Ising, spins: Tensor, tie: float) -> tuple[Ising, Tensor]:
    r"""Returns the model and the samples in which each set of tied spins is one spin.

    Couplings :math:`J_{ij} < -t` tie spins, so that they agree but for about one sample in
    :math:`e^{2t}`. With t large enough, the rest of the model at equilibrium is that of the sets,
    whatever the strength of the ties. A majority decides the value of a set (the first spin where
    votes are equal), so that errors of reading single spins do not count.

    Arguments:
        ising: The classical model.
        spins: Samples of shape (S, N).
        tie: The strength t from which on couplings tie.

    Returns:
        The model of K sets, in the order of their first spins, and its samples of shape (S, K).
        They are those that were given where nothing is tied.
    """
    tied = (-tie > ising.J).cpu()
    if not bool(tied.any()):
        return ising, spins
    found = tied_sets(ising.graph.edges[tied], ising.num_spins)
    sets = found._replace(set_of=found.set_of.to(ising.h.device))
    leaders = spins[:, sets.leaders.to(spins.device)]
    return sets.merged(ising)[0], sets.majority(sets.sums(spins), leaders)
