import pytest
import torch
from models import F64, random_ising

from qahm_torch import (
    AnnealedSampler,
    AnnealerSampler,
    CouplingGraph,
    EmbeddedPrior,
    ExactSampler,
    ProgramSettings,
    QuantumPriorLayer,
    SimulatedAnnealer,
    restore,
)
from qahm_torch.ising import all_states

NAN = torch.nan
# Two pictures of four spins, and one of which nothing is known.
VISIBLE = torch.tensor([[1, NAN, -1, NAN], [NAN, NAN, 1, 1], [NAN] * 4], dtype=F64)
STRANDS = [(0, 4), (1, 5), (2, 6), (3, 7)]
NUM_SAMPLES = 4000


def with_weights(prior, seed=0):
    ising = random_ising(prior.graph, 0.5, seed)
    with torch.no_grad():
        prior.h.copy_(ising.h)
        prior.J.add_(ising.J)
    return prior


def layer(**settings):
    return with_weights(QuantumPriorLayer(4, **settings)).double()


def embedded(sampler=None):
    graph = CouplingGraph.bipartite(4, 4)
    return with_weights(EmbeddedPrior(graph, STRANDS, sampler=sampler)).double()


def device(beta=2.0, **settings):
    chip = SimulatedAnnealer("chimera", 1, beta=beta, seed=0, **settings)
    return AnnealerSampler(chip, beta=2.0, programming=ProgramSettings(range_policy="clip"))


def enumerated(prior, visible):
    r"""The conditional means, from the energies of all states in which the known spins stand."""
    states = all_states(prior.graph.num_spins, F64)
    weights = (-prior.energy(states)).exp().detach()
    values, means = prior.to_visible(states), []
    for row in visible:
        known = ~row.isnan()
        stands = prior.clamp_of(row.nan_to_num(nan=0.0))
        kept = ((states == stands) | (stands == 0)).all(-1)
        mean = (weights[kept] @ values[kept]) / weights[kept].sum()
        means.append(torch.where(known, row, mean))
    return torch.stack(means)


@pytest.mark.parametrize(
    ("prior", "sampler"),
    [
        (layer(), ExactSampler()),
        (with_weights(QuantumPriorLayer(6, hidden=[1, 4])).double(), ExactSampler()),
        (embedded(), ExactSampler()),
        (embedded(), AnnealedSampler()),
        (embedded(), device()),
    ],
    ids=["layer", "hidden", "exact", "annealed", "device"],
)
def test_means_are_those_of_the_conditional_law(prior, sampler):
    generator = torch.Generator().manual_seed(1)
    found = restore(prior, VISIBLE, NUM_SAMPLES, sampler=sampler, generator=generator)
    # Five standard errors of a mean of spins, and as much again for populations and anneals.
    assert (found - enumerated(prior, VISIBLE)).abs().max() < 10 / NUM_SAMPLES**0.5


def test_means_at_another_temperature_are_told_apart():
    prior = embedded()
    found = restore(prior, VISIBLE, NUM_SAMPLES, sampler=device(beta=1.0))
    assert (found - enumerated(prior, VISIBLE)).abs().max() > 10 / NUM_SAMPLES**0.5


@pytest.mark.parametrize("batch_size", [1, 2, 20])
def test_what_is_known_is_unchanged(batch_size):
    prior = embedded(device(h_noise=0.1, J_noise=0.1, readout_error=0.1))
    found = restore(prior, VISIBLE, 20, batch_size=batch_size)
    known = ~VISIBLE.isnan()
    assert torch.equal(found[known], VISIBLE[known])
    assert found.shape == VISIBLE.shape and (found.abs() <= 1).all()


def test_a_device_is_programmed_once_per_picture():
    prior = embedded(device())
    twice = torch.cat([VISIBLE, VISIBLE[:1]])
    restore(prior, twice, 50)
    # Pictures of which the same is known are one problem.
    account = prior.sampler.account
    assert (account.num_problems, account.num_reads) == (3, 200)


def test_complete_pictures_and_none_ask_for_nothing():
    prior = embedded(device())
    assert torch.equal(restore(prior, torch.ones(2, 4)), torch.ones(2, 4))
    assert restore(prior, torch.ones(0, 4)).shape == (0, 4)
    assert prior.sampler.account.num_problems == 0


def test_bad_pictures_are_named():
    for visible, message in [
        (torch.ones(4), r"visible has shape \(4,\)"),
        (torch.zeros(1, 4), r"visible holds 0\.0, but -1, \+1 or NaN"),
        (torch.ones(1, 3), r"visible has shape \(1, 3\), but rows of 4 visible"),
    ]:
        for prior in (layer(), embedded()):
            with pytest.raises(ValueError, match=message):
                restore(prior, visible)
