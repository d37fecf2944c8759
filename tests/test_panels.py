r"""What holds for all compiled kernels: threads, blocks and other chains change no chain."""

import pytest
import torch
from models import random_ising, seeded

from qahm_torch import CouplingGraph, GibbsSampler
from qahm_torch.kernels.panels import (
    arrange_panels,
    fill_lanes,
    spins_of_lanes,
    sweep_lanes,
)
from qahm_torch.kernels.population import populate

GRAPHS = {
    "complete": CouplingGraph.complete(61),
    "bipartite": CouplingGraph.bipartite(17, 30),
    "sparse": CouplingGraph.zephyr(2),
}


@pytest.fixture(params=GRAPHS)
def ising(request):
    return random_ising(GRAPHS[request.param], 0.3)


def run(ising, start, num_sweeps, seed=0, clamp=None):
    panels = arrange_panels(ising)
    lanes = fill_lanes(start, panels, clamp, seeded(seed))
    sweep_lanes(lanes, panels, torch.ones(num_sweeps))
    return spins_of_lanes(lanes, *start.shape)


def uniform(num_chains, ising):
    bits = torch.randint(2, (num_chains, ising.num_spins), generator=seeded())
    return (2 * bits - 1).to(torch.int8)


def test_samples_do_not_depend_on_the_number_of_threads(ising):
    threads = torch.get_num_threads()
    try:
        answers = []
        for torch_threads in (1, 3):
            torch.set_num_threads(torch_threads)
            sampler = GibbsSampler(50, backend="numba")
            answers.append(sampler.sample(ising, 600, generator=seeded()).spins)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*answers)


def test_chains_do_not_depend_on_those_beside_them(ising):
    start = uniform(200, ising)
    whole = run(ising, start, 5)
    for num_chains in (1, 63, 64, 130):
        assert torch.equal(run(ising, start[:num_chains], 5), whole[:num_chains])


def test_chains_of_other_seeds_part(ising):
    start = uniform(100, ising)
    first, second = run(ising, start, 1), run(ising, start, 1, seed=1)
    assert (first == second).double().mean() < 0.9


def test_spins_held_in_some_chains_stay_there_and_not_elsewhere(ising):
    start = uniform(200, ising)
    clamp = torch.zeros_like(start)
    clamp[:100, ::2] = start[:100, ::2]
    clamp[:, 5] = start[:, 5]
    frozen = torch.zeros(ising.num_spins, dtype=torch.bool)
    frozen[5] = True
    panels = arrange_panels(ising, frozen=frozen)
    lanes = fill_lanes(start, panels, clamp, seeded())
    sweep_lanes(lanes, panels, torch.ones(20))
    spins = spins_of_lanes(lanes, *start.shape)
    assert torch.equal(spins[clamp != 0], start[clamp != 0])
    assert (spins != start)[clamp == 0].double().mean() > 0.3


def test_energies_are_kept_up_to_date(ising):
    chains = populate(ising, 100, generator=seeded(), backend="numba")
    before = chains.energies
    chains.sweep(torch.full((30,), 0.5))
    assert (chains.energies - before).abs().max() > 1
    expected = ising.energy(chains.spins.double())
    torch.testing.assert_close(chains.energies, expected, rtol=0, atol=1e-3)


def test_arguments_stay(ising):
    start = uniform(70, ising)
    kept, h, J = start.clone(), ising.h.clone(), ising.J.clone()
    run(ising, start, 2)
    assert torch.equal(start, kept) and torch.equal(ising.h, h) and torch.equal(ising.J, J)
