r"""Small models and exact references that the tests share."""

import torch
from scipy.stats import chi2

from qahm_torch import CouplingGraph, Ising
from qahm_torch.ising import all_states

F64 = torch.float64


def random_ising(graph, scale=0.5, seed=0, gamma=None, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(graph.num_spins, generator=generator, dtype=dtype)
    J = scale * torch.randn(graph.num_edges, generator=generator, dtype=dtype)
    return Ising(graph, h, J, gamma)


def law(ising):
    r"""The exact probabilities of a classical model, straight from its energies."""
    return torch.softmax(-ising.energy(all_states(ising.num_spins, ising.h.dtype)), 0)


def state_index(spins):
    return ((spins > 0).long() * 2 ** torch.arange(spins.shape[-1])).sum(-1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def p_value(spins, probabilities):
    r"""The p-value of Pearson's test of samples (S, N) against a law of all states, (2^N,)."""
    counts = torch.bincount(state_index(spins), minlength=len(probabilities)).to(F64)
    expected = probabilities * len(spins)
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    return chi2.sf(statistic, len(probabilities) - 1)


# The four models on which samplers are compared with the oracle.
SMALL_MODELS = {
    "complete": lambda: random_ising(CouplingGraph.complete(5), 0.4, seed=1),
    "bipartite": lambda: random_ising(CouplingGraph.bipartite(3, 3), 0.6, seed=2),
    "ring": lambda: random_ising(CouplingGraph(5, [(i, (i + 1) % 5) for i in range(5)]), 0.7, 3),
    "independent": lambda: random_ising(CouplingGraph(4, []), 0.8, seed=4),
}
