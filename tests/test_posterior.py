r"""Posteriors of generators with up to two parents for each visible spin."""

import pytest
import torch
from models import F64, random_ising
from torch import nn

from qahm_torch import BeliefNetwork, CouplingGraph, NormalUnits, QuantumPriorLayer
from qahm_torch.ising import all_states
from qahm_torch.priors import exact_posterior

PARENTS = {
    "one": [[0], [1], [2], [0], [3]],
    "two": [[0, 1], [1, 2], [3, 0], [0, 2], [1, 3]],
    "mixed": [[], [1], [2, 0], [0, 2], [3]],
}
TREE = CouplingGraph(4, [(1, 0), (2, 1), (2, 3)])  # the edges of pairs of parents are added to it


def prior_on(graph):
    prior = QuantumPriorLayer(graph).double()
    ising = random_ising(graph, 0.6, seed=1)
    with torch.no_grad():
        prior.h.copy_(ising.h)
        prior.J.copy_(ising.J)
    return prior


def generator_of(parents):
    torch.manual_seed(0)
    network = BeliefNetwork([4, 5]).double()
    with torch.no_grad():
        network.layers[0].weight.zero_()
        for i, row in enumerate(parents):
            network.layers[0].weight[i, row] = torch.randn(len(row), dtype=F64)
    return network


def enumerated(generator, prior, v):
    r"""log p(u | v) of all states, (2^N, len(v)), by Bayes' rule."""
    u = all_states(4).unsqueeze(1).expand(-1, len(v), -1)
    joint = -prior.energy(u) + generator.log_prob([u, v.expand(len(u), -1, -1)])
    return joint.log_softmax(0).detach()


@pytest.mark.parametrize("graph", [CouplingGraph.complete(4), TREE], ids=["complete", "tree"])
@pytest.mark.parametrize("parents", PARENTS.values(), ids=PARENTS)
def test_the_posterior_is_that_of_bayes(parents, graph):
    generator, prior = generator_of(parents), prior_on(graph)
    v = all_states(5)
    recognition = exact_posterior(generator, prior)
    u = all_states(4).unsqueeze(1).expand(-1, len(v), -1)
    found = recognition.log_prob([v.expand(len(u), -1, -1), u]).detach()
    torch.testing.assert_close(found, enumerated(generator, prior, v))


def test_one_parent_leaves_the_couplings_of_the_prior():
    prior = prior_on(CouplingGraph.complete(4))
    one = exact_posterior(generator_of(PARENTS["one"]), prior)
    two = exact_posterior(generator_of(PARENTS["two"]), prior)
    torch.testing.assert_close(one.J, prior.J)
    assert (two.J - prior.J).abs().max() > 0.1


def test_what_has_another_posterior_is_told():
    prior = prior_on(TREE)
    with pytest.raises(ValueError, match="visible spin 1 has 3 parents, but"):
        exact_posterior(generator_of([[0], [0, 1, 2], [], [], []]), prior)
    with pytest.raises(ValueError, match="one linear layer is needed"):
        exact_posterior(BeliefNetwork([4, 3, 5]), prior)
    with pytest.raises(ValueError, match="spins with a bias are needed"):
        exact_posterior(BeliefNetwork([4, 5], output=NormalUnits(5)), prior)
    with pytest.raises(ValueError, match="spins with a bias are needed"):
        exact_posterior(BeliefNetwork([4, 5], layers=[nn.Linear(4, 5, bias=False)]), prior)
    with pytest.raises(ValueError, match="4 spins are needed, none of them hidden"):
        exact_posterior(BeliefNetwork([4, 5]), QuantumPriorLayer(TREE, hidden=[0]))
    with pytest.raises(ValueError, match="a classical one is needed"):
        exact_posterior(BeliefNetwork([4, 5]), QuantumPriorLayer(TREE, gamma=0.5))
