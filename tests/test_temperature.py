import math

import pytest
import torch
from models import F64, random_ising

from qahm_torch import CouplingGraph, ExactSampler, Ising
from qahm_torch.ising import estimate_beta, estimate_beta_two_scales, thermal_misfit


@pytest.mark.parametrize("beta", [0.4, 1.0, 2.5])
def test_beta_is_recovered_within_its_error(beta):
    ising = random_ising(CouplingGraph.complete(8), 0.3)
    generator = torch.Generator().manual_seed(1)
    spins = ExactSampler().sample(ising.scaled(beta), 5000, generator=generator).spins
    value, stderr = estimate_beta(ising, spins)
    assert abs(value - beta) < 5 * stderr
    # The twin: an error so large that it would hide a temperature off by 20 %.
    assert 5 * stderr < 0.2 * beta


def test_stderr_covers():
    ising = random_ising(CouplingGraph.complete(6), 0.4)
    generator = torch.Generator().manual_seed(2)
    hits = 0
    for _ in range(100):
        spins = ExactSampler().sample(ising, 300, generator=generator).spins
        value, stderr = estimate_beta(ising, spins)
        hits += abs(value - 1) < 1.96 * stderr
    assert 88 <= hits <= 99


def test_weights_count_as_repeats():
    ising = random_ising(CouplingGraph.complete(5), 0.5)
    spins = ExactSampler().sample(ising, 200).spins
    weights = torch.randint(1, 4, (200,)).to(F64)
    repeated = spins.repeat_interleave(weights.long(), 0)
    assert math.isclose(
        estimate_beta(ising, spins, weights).value,
        estimate_beta(ising, repeated).value,
        rel_tol=1e-4,
    )


def test_no_biases_have_no_temperature():
    graph = CouplingGraph.complete(2)
    with pytest.raises(ValueError, match="every temperature fits"):
        estimate_beta(Ising(graph, torch.zeros(2), torch.zeros(1)), torch.ones(3, 2))


@pytest.mark.parametrize("beta", [-0.5, 0.2, 1.0, 4.0])
def test_ocean_has_the_same_root(beta):
    from dwave.system.temperatures import maximum_pseudolikelihood_temperature

    ising = random_ising(CouplingGraph.complete(8), 0.4)
    spins = ExactSampler().sample(ising.scaled(beta), 500).spins
    samples = (spins.to(torch.int8).numpy(), list(range(8)))
    temperature, _ = maximum_pseudolikelihood_temperature(ising.to_bqm(), samples)
    assert math.isclose(estimate_beta(ising, spins).value, 1 / temperature, rel_tol=1e-6)


def test_local_minima_are_at_temperature_zero():
    ising = Ising(CouplingGraph(2, []), torch.ones(2), torch.zeros(0))
    assert estimate_beta(ising, -torch.ones(5, 2)) == (math.inf, math.inf)


@pytest.mark.parametrize("beta", [0.4, 1.0, 2.5])
def test_two_scales_recover_beta(beta):
    ising = random_ising(CouplingGraph.complete(8), 0.3)
    generator = torch.Generator().manual_seed(3)
    full, weak = (
        ExactSampler().sample(ising.scaled(beta * x), 20_000, generator=generator).spins
        for x in (1.0, 0.7)
    )
    value, stderr = estimate_beta_two_scales(ising, full, weak, 0.7)
    assert abs(value - beta) < 5 * stderr
    assert 5 * stderr < 0.3 * beta


def test_two_scales_cover():
    ising = random_ising(CouplingGraph.complete(6), 0.4)
    generator = torch.Generator().manual_seed(4)
    hits = 0
    for _ in range(100):
        full = ExactSampler().sample(ising, 500, generator=generator).spins
        weak = ExactSampler().sample(ising.scaled(0.6), 500, generator=generator).spins
        value, stderr = estimate_beta_two_scales(ising, full, weak, 0.6)
        hits += abs(value - 1) < 1.96 * stderr
    assert 88 <= hits <= 99


def test_two_scales_that_say_nothing():
    ising = random_ising(CouplingGraph.complete(4))
    spins = torch.ones(10, 4)
    with pytest.raises(ValueError, match="scale is 1"):
        estimate_beta_two_scales(ising, spins, spins, 1.0)
    with pytest.raises(ValueError, match="same energy"):
        estimate_beta_two_scales(ising, spins, spins, 0.5)
    with pytest.raises(ValueError, match="do not overlap"):
        ground = ising.energy(torch.cat([spins, -spins])).argmin()
        low = torch.cat([spins, -spins])[ground].expand(10, 4)
        estimate_beta_two_scales(ising, low, -low * torch.tensor([1.0, -1, 1, 1]), 0.5)


def test_misfit_is_small_for_thermal_samples_only():
    ising = random_ising(CouplingGraph.complete(10), 0.3)
    generator = torch.Generator().manual_seed(5)
    draw = lambda model: ExactSampler().sample(model, 4000, generator=generator).spins
    thermal = [thermal_misfit(ising, draw(ising)) for _ in range(20)]
    assert all(misfit <= scatter for misfit, scatter in thermal)
    noisy = Ising(ising.graph, ising.h + 0.1 * torch.randn(10, dtype=F64), ising.J)
    misfit, scatter = thermal_misfit(ising, draw(noisy))
    unit = (1 + ising.fields(draw(ising)).square().mean()).sqrt()
    assert misfit > scatter and 0.5 < misfit / (0.1 / unit) < 2
    mixed = torch.cat([draw(ising.scaled(0.4)), draw(ising.scaled(2.5))])
    misfit, scatter = thermal_misfit(ising, mixed, estimate_beta(ising, mixed).value)
    assert misfit > scatter


def test_misfit_sees_a_wrong_temperature():
    ising = random_ising(CouplingGraph.complete(10), 0.3)
    spins = ExactSampler().sample(ising.scaled(1.3), 20_000).spins
    misfit, _ = thermal_misfit(ising, spins)
    assert 0.1 < misfit < 0.3
    assert thermal_misfit(ising, spins, 1.3)[0] < 0.03


def test_frozen_spins_tell_no_misfit():
    ising = random_ising(CouplingGraph.complete(4))
    assert thermal_misfit(ising, torch.ones(10, 4), 1e3) == (0.0, math.inf)


def test_cutoff_is_right_without_errors_and_robust_with_them():
    graph = CouplingGraph(12, [(i, i + 1) for i in range(11)])
    ising = Ising(graph, 0.3 * torch.ones(12, dtype=F64), torch.full((11,), -2.5, dtype=F64))
    generator = torch.Generator().manual_seed(6)
    spins = ExactSampler().sample(ising, 20_000, generator=generator).spins
    value, stderr = estimate_beta(ising, spins, cutoff=3.0)
    assert abs(value - 1) < 4 * stderr and stderr < 0.05
    misread = torch.rand(spins.shape, generator=generator) < 0.002
    spins = torch.where(misread, -spins, spins)
    assert estimate_beta(ising, spins).value < 0.8  # the twin: all spins are asked
    assert abs(estimate_beta(ising, spins, cutoff=3.0).value - 1) < 0.1
