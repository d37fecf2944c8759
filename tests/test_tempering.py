from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from models import F64, law, random_ising, seeded
from scipy.stats import chi2

from qahm_torch import CouplingGraph, GibbsSampler, Ising, TemperingSampler
from qahm_torch.ising import all_states

NUM_SPINS = 18


def two_modes(field=-0.03):
    r"""A ferromagnet in a weak field: all up or all down, with most of the weight on up."""
    graph = CouplingGraph.complete(NUM_SPINS)
    h = torch.full((NUM_SPINS,), field, dtype=F64)
    return Ising(graph, h, torch.full((graph.num_edges,), -0.25, dtype=F64))


def p_value_of_magnetization(spins, ising):
    r"""Compares the numbers of spins up with their law, those of few samples in one bin."""
    up = (all_states(NUM_SPINS) > 0).sum(-1)
    expected = torch.zeros(NUM_SPINS + 1, dtype=F64).index_add_(0, up, law(ising)) * len(spins)
    counts = torch.bincount((spins > 0).sum(-1), minlength=NUM_SPINS + 1).to(F64)
    rare = expected < 5
    counts = torch.cat([counts[~rare], counts[rare].sum().view(1)])
    expected = torch.cat([expected[~rare], expected[rare].sum().view(1)])
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    return chi2.sf(statistic, len(counts) - 1)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_both_modes_have_their_weights_where_gibbs_stays_in_one(backend):
    ising = two_modes()
    sampler = TemperingSampler(200, backend=backend)
    state = sampler.sample(ising, 1000, generator=seeded()).state
    start = replace(state, rungs=-torch.ones_like(state.rungs))
    samples = sampler.sample(ising, 1000, state=start, generator=seeded())
    assert p_value_of_magnetization(samples.spins, ising) > 1e-3
    assert p_value_of_magnetization(samples.spins, two_modes(-0.05)) < 1e-3
    # As many updates of spins without swaps do not leave the start.
    gibbs = GibbsSampler(200 * len(state.betas), backend)
    stuck = gibbs.sample(ising, 1000, state=start.rungs[:, 0], generator=seeded()).spins
    assert p_value_of_magnetization(stuck, ising) < 1e-3


def test_temperatures_are_placed_for_equal_rejection():
    ising, sampler = two_modes(), TemperingSampler(100)
    first = sampler.sample(ising, 200, generator=seeded())
    second = sampler.sample(ising, 200, state=first.state, generator=seeded(1))
    for samples in (first, second):
        rates = samples.info["rejection_rates"]
        assert samples.info["betas"][0] == 0 and samples.info["betas"][-1] == 1
        assert max(rates) - min(rates) < 0.2
    # The twin: evenly spaced temperatures.
    even = replace(first.state, betas=torch.linspace(0, 1, len(rates) + 1, dtype=F64))
    rates = sampler.sample(ising, 200, state=even, generator=seeded(2)).info["rejection_rates"]
    assert max(rates) - min(rates) > 0.5


def test_glassy_ladders_have_about_half_of_their_swaps():
    ising = random_ising(CouplingGraph.complete(60), 0.2)
    rates = TemperingSampler(50).sample(ising, 100, generator=seeded()).info["rejection_rates"]
    assert min(rates) > 0.3 and max(rates) < 0.7


def test_ladders_resume_from_their_state_and_leave_it():
    ising = two_modes()
    sampler, generator = TemperingSampler(5), seeded()
    state = sampler.sample(ising, 20, generator=generator).state
    kept = deepcopy(state.state_dict())
    saved = generator.get_state()
    following = sampler.sample(ising, 20, state=state, generator=generator)
    resumed = sampler.sample(ising, 20, state=state, generator=generator.set_state(saved))
    assert torch.equal(resumed.spins, following.spins)
    assert torch.equal(resumed.state.rungs, following.state.rungs)
    assert all(torch.equal(getattr(state, name), kept[name]) for name in kept if name != "kind")
    assert state.rungs.dtype == torch.int8


def test_a_ladder_of_another_number_of_temperatures_is_built_anew():
    ising = two_modes()
    state = TemperingSampler(2, 3).sample(ising, 10).state
    samples = TemperingSampler(2, 5).sample(ising, 10, state=state)
    assert len(samples.state.betas) == 5 and samples.info["start"] == "spins"
    kept = TemperingSampler(2).sample(ising, 10, state=state)
    assert len(kept.state.betas) == 3 and kept.info["start"] == "resumed"


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="num_sweeps is 0"):
        TemperingSampler(0)
    with pytest.raises(ValueError, match="num_temperatures is 1"):
        TemperingSampler(num_temperatures=1)
    with pytest.raises(ValueError, match="backend is 'jax'"):
        TemperingSampler(backend="jax")
