import pytest
import torch

from qahm_torch import (
    CouplingGraph,
    Darting,
    ExactSampler,
    GibbsSampler,
    Ising,
    Sampler,
    Samples,
    Swept,
)
from qahm_torch.ising import exact_log_probs

FERROMAGNETS = {
    "bipartite": CouplingGraph.bipartite(3, 4),
    "complete": CouplingGraph.complete(5),
    "alone": CouplingGraph(4, torch.empty(0, 2, dtype=torch.int64)),
}


def two_modes(graph):
    r"""Returns a model of two deep modes, of weights that are not equal."""
    return Ising(graph, torch.full((graph.num_spins,), 0.1), torch.full((graph.num_edges,), -1.0))


class Flipped(Sampler):
    r"""Finds all modes, and weighs them as if the fields had the other sign."""

    def _sample(self, ising, num_samples, *, generator, **settings):
        flipped = Ising(ising.graph, -ising.h, ising.J)
        return ExactSampler().sample(flipped, num_samples, generator=generator)


class OneMode(Sampler):
    def _sample(self, ising, num_samples, **settings):
        return Samples(torch.ones(num_samples, ising.num_spins))


def p_value(ising, spins):
    r"""Returns that of a chi-square test of samples against the exact law."""
    states = (spins > 0).long() @ 2 ** torch.arange(ising.num_spins)
    seen = torch.bincount(states, minlength=2**ising.num_spins).double()
    expected = exact_log_probs(ising).double().exp() * len(spins)
    # States that are expected rarely count together with the rarest of the others.
    order = expected.argsort(descending=True)
    seen, expected = seen[order], expected[order]
    often = max(int((expected > 10).sum()), 2)
    seen = torch.cat([seen[: often - 1], seen[often - 1 :].sum()[None]])
    expected = torch.cat([expected[: often - 1], expected[often - 1 :].sum()[None]])
    score = ((seen - expected).square() / expected).sum()
    return torch.special.gammaincc((len(seen) - 1) / torch.tensor(2.0).double(), score / 2).item()


@pytest.mark.parametrize("name", FERROMAGNETS)
def test_weights_of_modes_are_repaired(name):
    ising = two_modes(FERROMAGNETS[name])
    generator = torch.Generator().manual_seed(1)
    darted = Darting(Flipped(), num_rounds=40, num_sweeps=2).sample(
        ising, 20_000, generator=generator
    )
    assert p_value(ising, darted.spins) > 1e-3


@pytest.mark.parametrize("name", ["bipartite", "complete"])
def test_sweeps_alone_do_not_repair_them(name):
    ising = two_modes(FERROMAGNETS[name])
    generator = torch.Generator().manual_seed(1)
    swept = Swept(Flipped(), num_sweeps=80).sample(ising, 20_000, generator=generator)
    assert p_value(ising, swept.spins) < 1e-6


@pytest.mark.parametrize("name", FERROMAGNETS)
def test_what_is_right_stays_right(name):
    ising = two_modes(FERROMAGNETS[name])
    generator = torch.Generator().manual_seed(2)
    spins = Darting(ExactSampler(), num_rounds=1).sample(ising, 20_000, generator=generator).spins
    assert p_value(ising, spins) > 1e-3


def test_a_mode_that_was_not_found_stays_missing():
    ising = two_modes(CouplingGraph.complete(8))
    spins = Darting(OneMode(), num_rounds=5).sample(ising, 200).spins
    assert (spins.mean(-1) > 0).all()


def test_it_says_what_it_did_and_refuses_what_it_cannot():
    sampler = Darting(GibbsSampler(2), num_rounds=3, num_sweeps=4)
    ising = two_modes(CouplingGraph.complete(4))
    assert sampler.sample(ising, 10).info["num_sweeps"] == 12
    assert repr(sampler) == f"Darting({GibbsSampler(2)!r}, num_rounds=3)"
    with pytest.raises(ValueError, match="clamp"):
        sampler.sample(ising, 10, clamp=torch.ones(4))
    with pytest.raises(ValueError, match="num_rounds is 0, but"):
        Darting(GibbsSampler(2), num_rounds=0)
    with pytest.raises(ValueError, match="num_sweeps"):
        Darting(GibbsSampler(2), num_sweeps=0)
