r"""Sets of spins against sums that are written out, and models of tied spins."""

import pytest
import torch
from models import F64, random_ising, seeded

from qahm_torch import CouplingGraph, ExactSampler, Ising
from qahm_torch.ising import all_states, estimate_beta, merge_tied, thermal_misfit
from qahm_torch.ising.merging import Sets, tied_sets


def chained(strength=4.0, num_sets=5):
    r"""A complete graph of pairs of spins, tied by strong couplings: pair k is k and k + 5."""
    logical = random_ising(CouplingGraph.complete(num_sets), 0.4)
    ties = torch.tensor([(k, k + num_sets) for k in range(num_sets)])
    graph = CouplingGraph(2 * num_sets, torch.cat([logical.graph.edges, ties]))
    h = torch.cat([logical.h, torch.zeros(num_sets, dtype=F64)])
    J = torch.cat([logical.J, torch.full((num_sets,), -strength, dtype=F64)])
    return logical, Ising(graph, h, J)


def test_tied_spins_are_one():
    logical, ising = chained()
    spins = ExactSampler().sample(ising, 50).spins
    merged, values = merge_tied(ising, spins, 3.0)
    assert merged.graph == logical.graph
    assert torch.equal(merged.h, logical.h) and torch.equal(merged.J, logical.J)
    agree = (spins[:, :5] == spins[:, 5:]).all(-1)
    assert torch.equal(values[agree], spins[agree, :5])
    # A tie of the vote goes to the first spin.
    assert torch.equal(values[~agree], spins[~agree, :5])


def test_couplings_between_sets_add_up_and_majorities_decide():
    edges = torch.tensor([(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)])
    J = torch.tensor([-5.0, -5.0, 0.5, 0.25, 4.0])
    ising = Ising(CouplingGraph(5, edges), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]), J)
    spins = torch.tensor([[1.0, -1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0, 1.0]])
    merged, values = merge_tied(ising, spins, 3.0)
    # 3 and 4 are coupled as strongly, but so as to differ.
    assert merged.graph.edges.tolist() == [[0, 1], [1, 2]]
    torch.testing.assert_close(merged.h, torch.tensor([0.6, 0.4, 0.5]))
    torch.testing.assert_close(merged.J, torch.tensor([0.75, 4.0]))
    assert values.tolist() == [[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]


def test_nothing_tied_is_nothing_changed():
    ising = random_ising(CouplingGraph.complete(4), 0.3)
    spins = torch.ones(3, 4, dtype=F64)
    same, values = merge_tied(ising, spins, 3.0)
    assert same is ising and values is spins


def test_errors_of_reading_are_not_taken_for_heat():
    generator = torch.Generator().manual_seed(0)
    logical = random_ising(CouplingGraph.complete(4), 0.5)
    # Chains of three, so that one misread spin is outvoted.
    ties = torch.tensor([(k + 4 * a, k + 4 * a + 4) for k in range(4) for a in range(2)])
    graph = CouplingGraph(12, torch.cat([logical.graph.edges, ties]))
    ising = Ising(
        graph,
        torch.cat([logical.h, torch.zeros(8, dtype=F64)]),
        torch.cat([logical.J, torch.full((8,), -6.0, dtype=F64)]),
    )
    spins = ExactSampler().sample(ising, 20_000, generator=generator).spins
    misread = torch.rand(spins.shape, generator=generator) < 0.01
    spins = torch.where(misread, -spins, spins)
    merged = merge_tied(ising, spins, 3.0)
    value, stderr = estimate_beta(*merged, cutoff=3.0)
    assert abs(value - 1) < 5 * stderr and stderr < 0.02
    assert thermal_misfit(*merged)[0] < 0.05
    # The twin: asked one by one, misread spins look as if they were hot.
    assert estimate_beta(ising, spins, cutoff=3.0).value < 0.8


def partition(num_spins=9, num_sets=4, seed=0):
    r"""A random partition in which no set is empty."""
    some = torch.randint(num_sets, (num_spins - num_sets,), generator=seeded(seed))
    order = torch.randperm(num_spins, generator=seeded(seed))
    return Sets(torch.cat([torch.arange(num_sets), some])[order], num_sets)


@pytest.mark.parametrize("seed", range(5))
def test_the_energy_of_sets_is_that_of_their_spins(seed):
    sets, ising = partition(seed=seed), random_ising(CouplingGraph.complete(9), seed=seed)
    merged, inner = sets.merged(ising)
    relaxed = 2 * torch.rand(20, 4, dtype=F64, generator=seeded(seed)) - 1
    for u in (all_states(4), relaxed):
        energy = merged.energy(u) + u.square() @ inner
        torch.testing.assert_close(energy, ising.energy(u[:, sets.set_of]))
        # The twin: without what is inside, the energy would be another.
        assert (energy - merged.energy(u)).abs().min() > 1e-3
    known = sets.merged(ising, sets.joined(ising.graph))[0]
    assert known.graph == merged.graph and torch.equal(known.J, merged.J)


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_votes_are_counted_one_by_one(dtype):
    sets = partition()
    spins = (torch.randint(2, (50, 9), generator=seeded()) * 2 - 1).to(dtype)
    members = [(sets.set_of == k).nonzero().squeeze(-1) for k in range(4)]
    assert sets.sizes.tolist() == [len(m) for m in members]
    assert sets.leaders.tolist() == [int(m[0]) for m in members]
    votes = sets.sums(spins)
    ties = spins[:, sets.leaders]
    split, decided = sets.is_split(votes), sets.majority(votes, ties)
    assert votes.dtype == decided.dtype == dtype
    for row in range(50):
        for k, member in enumerate(members):
            values = spins[row, member].tolist()
            assert votes[row, k] == sum(values)
            assert split[row, k] == (len(set(values)) > 1)
            winner = max((1, -1), key=lambda v: (values.count(v), v == values[0]))
            assert decided[row, k] == winner


def test_pairs_tie_whatever_hangs_together():
    sets = tied_sets(torch.tensor([[5, 1], [1, 3], [2, 6]]), 7)
    assert sets.num_sets == 4
    assert sets.set_of.tolist() == [0, 1, 2, 1, 3, 1, 2]
    assert sets.leaders.tolist() == [0, 1, 2, 4]
