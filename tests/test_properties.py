r"""What holds for every model: names, signs and order mean nothing, and shapes follow a law."""

from functools import cache

import pytest
import torch
from hypothesis import given, strategies as st
from models import F64, random_ising
from strategies import SEEDS, SHAPES, SOME, graphs, isings, permutation, random_spins
from torch.testing import assert_close

from qahm_torch import (
    BeliefNetwork,
    CouplingGraph,
    ExactSampler,
    GibbsSampler,
    HelmholtzMachine,
    Ising,
    QuantumPriorLayer,
)
from qahm_torch.ising import all_states, exact_log_partition, exact_log_probs, exact_moments
from qahm_torch.samplers import exact_log_z


def relabeled(ising, place):
    r"""The model in which spin i has become spin `place[i]`."""
    back = place.argsort()
    gamma = None if ising.gamma is None else ising.gamma[back]
    graph = CouplingGraph(ising.num_spins, place[ising.graph.edges])
    return Ising(graph, ising.h[back], ising.J, gamma)


def gauged(ising, signs):
    r"""The model in which spin i counts as `signs[i]` times itself."""
    i, j = ising.graph.edges.T
    return Ising(ising.graph, ising.h * signs, ising.J * signs[i] * signs[j], ising.gamma)


def reordered(ising, seed):
    r"""The model with its edges in another order, each from either end."""
    order = permutation(seed, ising.graph.num_edges)
    edges = ising.graph.edges[order]
    flip = random_spins(seed, len(edges)) > 0
    edges = torch.where(flip.unsqueeze(-1), edges.flip(-1), edges)
    return Ising(CouplingGraph(ising.num_spins, edges), ising.h, ising.J[order], ising.gamma)


def index_of(states):
    return ((states > 0).long() << torch.arange(states.shape[-1])).sum(-1)


# ---------------------------------------------------------------- energies


@SOME
@given(isings(), SEEDS)
def test_energies_follow_the_spins_that_are_renamed(ising, seed):
    place, spins = permutation(seed, ising.num_spins), random_spins(seed, 5, ising.num_spins)
    other, moved = relabeled(ising, place), spins[:, place.argsort()]
    assert_close(other.energy(moved), ising.energy(spins))
    assert_close(other.fields(moved), ising.fields(spins)[:, place.argsort()])


@SOME
@given(isings(), SEEDS)
def test_energies_are_those_of_the_gauged_spins(ising, seed):
    signs, spins = random_spins(seed, ising.num_spins), random_spins(seed + 1, 5, ising.num_spins)
    other = gauged(ising, signs)
    assert_close(other.energy(signs * spins), ising.energy(spins))
    assert_close(other.fields(signs * spins), signs * ising.fields(spins))


@SOME
@given(isings(), SEEDS)
def test_the_order_of_edges_and_of_their_ends_means_nothing(ising, seed):
    other, spins = reordered(ising, seed), random_spins(seed, 5, ising.num_spins)
    assert_close(other.energy(spins), ising.energy(spins))
    assert_close(other.fields(spins), ising.fields(spins))
    assert_close(other.couplings(), ising.couplings())


@SOME
@given(isings())
def test_fields_are_what_a_flip_costs(ising):
    states = all_states(ising.num_spins)
    for i in range(ising.num_spins):
        flipped = states.clone()
        flipped[:, i] *= -1
        cost = ising.energy(flipped) - ising.energy(states)
        assert_close(cost, -2 * states[:, i] * ising.fields(states)[:, i])


def test_what_is_renamed_in_part_is_another_model():
    ising = random_ising(CouplingGraph.complete(4))
    signs, place = torch.tensor([1.0, -1, 1, 1], dtype=F64), torch.tensor([2, 0, 1, 3])
    log_z = exact_log_partition(ising)
    for half in (
        Ising(ising.graph, ising.h * signs, ising.J),
        Ising(ising.graph, ising.h[place], ising.J),
        Ising(ising.graph, ising.h, ising.J[[1, 0, 2, 3, 4, 5]]),
    ):
        assert (exact_log_partition(half) - log_z).abs() > 1e-3


# ---------------------------------------------------------------- laws


@SOME
@given(isings(), SEEDS)
def test_log_z_knows_no_names_signs_or_order(ising, seed):
    place, signs = permutation(seed, ising.num_spins), random_spins(seed, ising.num_spins)
    log_z = exact_log_z(ising)
    for other in (relabeled(ising, place), gauged(ising, signs), reordered(ising, seed)):
        assert exact_log_z(other) == pytest.approx(log_z, abs=1e-9)
        assert_close(exact_log_partition(other), exact_log_partition(ising))


@SOME
@given(isings(max_spins=5), SEEDS)
def test_probabilities_follow_their_states(ising, seed):
    place, signs = permutation(seed, ising.num_spins), random_spins(seed, ising.num_spins)
    states, log_p = all_states(ising.num_spins), exact_log_probs(ising)
    renamed = exact_log_probs(relabeled(ising, place))
    assert_close(renamed[index_of(states[:, place.argsort()])], log_p)
    assert_close(exact_log_probs(gauged(ising, signs))[index_of(signs * states)], log_p)
    assert_close(exact_log_probs(reordered(ising, seed)), log_p)
    assert_close(log_p.exp().sum(), torch.ones((), dtype=F64))


@SOME
@given(isings(max_spins=5), SEEDS)
def test_moments_follow_their_spins(ising, seed):
    place, signs = permutation(seed, ising.num_spins), random_spins(seed, ising.num_spins)
    mean, correlation = exact_moments(ising)
    renamed, turned = exact_moments(relabeled(ising, place)), exact_moments(gauged(ising, signs))
    assert_close(renamed.mean[place], mean)
    assert_close(renamed.correlation, correlation)
    assert_close(turned.mean, signs * mean)
    assert_close(turned.correlation, signs[ising.graph.edges].prod(-1) * correlation)


# ---------------------------------------------------------------- the layer


def layer_of(ising, hidden=()):
    layer = QuantumPriorLayer(ising.graph, hidden=hidden, sampler=ExactSampler()).double()
    with torch.no_grad():
        layer.h.copy_(ising.h)
        layer.J.copy_(ising.J)
    layer.estimate_log_z()
    return layer


def with_hidden(ising, seed, num_hidden):
    r"""Hidden spins, at least one left visible, and visible states."""
    hidden = permutation(seed, ising.num_spins)[: min(num_hidden, ising.num_spins - 1)].tolist()
    return hidden, random_spins(seed, 5, ising.num_spins - len(hidden))


@SOME
@given(isings(quantum=False), SEEDS, st.integers(0, 3))
def test_log_prob_knows_no_names(ising, seed, num_hidden):
    place = permutation(seed + 1, ising.num_spins)
    hidden, visible = with_hidden(ising, seed, num_hidden)
    layer = layer_of(ising, hidden)
    other = layer_of(relabeled(ising, place), place[hidden].tolist())
    full = torch.zeros(5, ising.num_spins, dtype=F64)
    full[:, [i for i in range(ising.num_spins) if i not in hidden]] = visible
    assert_close(other(other.to_visible(full[:, place.argsort()])), layer(visible))


@SOME
@given(isings(quantum=False), SEEDS, st.integers(0, 3))
def test_log_prob_knows_no_signs_and_no_order(ising, seed, num_hidden):
    signs = random_spins(seed + 1, ising.num_spins)
    hidden, visible = with_hidden(ising, seed, num_hidden)
    layer = layer_of(ising, hidden)
    turned = layer_of(gauged(ising, signs), hidden)
    assert_close(turned(layer.to_visible(signs) * visible), layer(visible))
    assert_close(layer_of(reordered(ising, seed), hidden)(visible), layer(visible))


@SOME
@given(isings(quantum=False), SEEDS, st.integers(0, 3))
def test_log_prob_is_normalized(ising, seed, num_hidden):
    hidden, _ = with_hidden(ising, seed, num_hidden)
    layer = layer_of(ising, hidden)
    # log_z is stored in single precision
    assert torch.logsumexp(layer(all_states(layer.num_visible)), 0).abs() < 1e-5


# ---------------------------------------------------------------- shapes


@SOME
@given(isings(), SHAPES, SHAPES, SEEDS)
def test_energies_have_the_shape_of_samples_and_batch(ising, sample, batch, seed):
    spins = random_spins(seed, *sample, *batch, ising.num_spins)
    energy = ising.energy(spins)
    assert energy.shape == (*sample, *batch)
    assert_close(energy.flatten(), ising.energy(spins.view(-1, ising.num_spins)))


@SOME
@given(isings(quantum=False), SHAPES, SHAPES, SEEDS, st.integers(0, 3))
def test_log_probs_have_the_shape_of_samples_and_batch(ising, sample, batch, seed, num_hidden):
    hidden, _ = with_hidden(ising, seed, num_hidden)
    layer = layer_of(ising, hidden)
    spins = random_spins(seed, *sample, *batch, layer.num_visible)
    log_p = layer.log_prob(spins)
    assert log_p.shape == (*sample, *batch)
    assert_close(log_p.flatten(), layer.log_prob(spins.view(-1, layer.num_visible)))


@cache
def machine():
    return HelmholtzMachine(
        BeliefNetwork([5, 4, 3]), BeliefNetwork([3, 4, 5]), QuantumPriorLayer(3)
    ).double()


@SOME
@given(SHAPES, SHAPES, SEEDS)
def test_joints_have_the_shape_of_samples_and_batch(sample, batch, seed):
    states = [random_spins(seed + width, *sample, *batch, width) for width in (5, 4, 3)]
    log_p = machine().log_joint(states)
    assert log_p.shape == (*sample, *batch)
    rows = machine().log_joint([state.view(-1, state.shape[-1]) for state in states])
    assert_close(log_p.flatten(), rows)


# ---------------------------------------------------------------- samplers

SAMPLERS = {
    "exact": ExactSampler(),
    "gibbs": GibbsSampler(num_sweeps=2),
    "gibbs in torch": GibbsSampler(num_sweeps=2, backend="torch"),
}


@pytest.mark.parametrize("name", SAMPLERS)
@SOME
@given(isings(quantum=False), st.integers(1, 5), st.booleans(), SEEDS)
def test_samples_hold_what_is_clamped(name, ising, num_samples, by_row, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (num_samples, ising.num_spins) if by_row else (ising.num_spins,)
    clamp = torch.randint(-1, 2, shape, generator=generator).to(F64)
    samples = SAMPLERS[name].sample(ising, num_samples, clamp=clamp, generator=generator)
    assert samples.spins.shape == (num_samples, ising.num_spins)
    assert samples.spins.dtype == F64 and (samples.spins.abs() == 1).all()
    held = clamp.expand_as(samples.spins)
    assert torch.equal(samples.spins[held != 0], held[held != 0])


@SOME
@given(graphs(max_spins=12))
def test_spins_of_a_color_do_not_interact(graph):
    classes = graph.color_classes
    assert sorted(torch.cat(classes).tolist()) == list(range(graph.num_spins))
    color = torch.empty(graph.num_spins, dtype=torch.int64)
    for k, members in enumerate(classes):
        color[members] = k
    i, j = graph.edges.T
    assert (color[i] != color[j]).all()
