r"""Spins that are tied together, taken for one."""

from __future__ import annotations

__all__ = ["merge_tied"]

import torch
from torch import Tensor

from qahm_torch.ising.graph import CouplingGraph
from qahm_torch.ising.model import Ising


def merge_tied(ising: Ising, spins: Tensor, tie: float) -> tuple[Ising, Tensor]:
    r"""Returns the model and the samples in which each set of tied spins is one spin.

    Couplings :math:`J_{ij} < -t` tie spins, so that they agree but for about one sample in
    :math:`e^{2t}`. With t large enough, the rest of the model at equilibrium is

    .. math::
        E(u) = \sum_k u_k \sum_{i \in k} h_i + \sum_{k < l} u_k u_l \sum_{i \in k, j \in l} J_{ij}

    up to a constant, whatever the strength of the ties. A majority decides the value of a set (the
    first spin where votes are equal), so that errors of reading single spins do not count.

    Arguments:
        ising: The classical model.
        spins: Samples of shape (S, N).
        tie: The strength t from which on couplings tie.

    Returns:
        The model of K sets, in the order of their first spins, and its samples of shape (S, K).
        They are those that were given where nothing is tied.
    """
    edges, n = ising.graph.edges, ising.num_spins
    tied = (-tie > ising.J).cpu()
    if not bool(tied.any()):
        return ising, spins
    from scipy.sparse import coo_array  # only now, because it takes time
    from scipy.sparse.csgraph import connected_components

    i, j = edges[tied].numpy().T
    count, labels = connected_components(coo_array((tied[tied], (i, j)), (n, n)), directed=False)
    group = torch.from_numpy(labels).long().to(ising.h.device)
    ends = group[edges.to(group.device)].sort(-1).values
    between = ends[:, 0] != ends[:, 1]
    pairs, place = ends[between].unique(dim=0, return_inverse=True)
    h = ising.h.new_zeros(count).index_add(0, group, ising.h)
    J = ising.J.new_zeros(len(pairs)).index_add(0, place, ising.J[between])
    spins_in_order = torch.arange(n, device=group.device)
    leaders = spins_in_order.new_full((count,), n).scatter_reduce(0, group, spins_in_order, "amin")
    votes = spins.new_zeros(len(spins), count).index_add(1, group.to(spins.device), spins)
    merged = (votes + spins[:, leaders.to(spins.device)] / 2).sign()
    return Ising(CouplingGraph(count, pairs), h, J), merged
