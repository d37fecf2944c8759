import math

import pytest
import torch
from models import F64, random_ising

from qahm_torch import CouplingGraph, ExactSampler, Ising
from qahm_torch.ising import estimate_beta


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
