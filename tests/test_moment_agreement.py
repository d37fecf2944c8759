import pytest
import torch
from models import F64, random_ising, seeded

from qahm_torch import (
    CouplingGraph,
    ExactSampler,
    Ising,
    Samples,
    agreement,
    exact_moments,
    mixed_samples,
    moments,
)

GRAPH = CouplingGraph.complete(6)
ISING = random_ising(GRAPH, 0.4)
EXACT = exact_moments(ISING)


def draws(count, ising=ISING, seed=0):
    return ExactSampler().sample(ising, count, generator=seeded(seed)).spins


def shifted(by):
    return Ising(GRAPH, ISING.h, ISING.J + by)


def p_values(ising, exact, repeats=1000):
    spins = draws(repeats * 200, ising, seed=1).view(repeats, 200, 6)
    others = draws(repeats * 300, seed=2).view(repeats, 300, 6)
    return torch.tensor(
        [
            agreement(GRAPH, s, EXACT if exact else o).p_value
            for s, o in zip(spins, others, strict=True)
        ]
    )


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.3])
def test_false_alarms_are_as_rare_as_is_said(exact, level):
    rate = (p_values(ISING, exact) < level).double().mean().item()
    assert abs(rate - level) < 5 * (level * (1 - level) / 1000) ** 0.5


@pytest.mark.parametrize("exact", [True, False])
def test_another_law_is_found_out(exact):
    assert (p_values(shifted(0.25), exact, 100) < 0.01).double().mean() > 0.9


def test_the_distance_is_that_of_the_moments():
    one, other = draws(50), draws(70, seed=3)
    found = agreement(GRAPH, one, other)
    pairs = zip(moments(GRAPH, one), moments(GRAPH, other), strict=True)
    expected = sum(float((a - b).square().sum()) for a, b in pairs)
    assert found.distance == pytest.approx(expected)


def test_the_noise_is_the_mean_distance_of_samples_of_one_law():
    found = [agreement(GRAPH, draws(200, seed=k), EXACT) for k in range(200)]
    distance = torch.tensor([f.distance for f in found])
    noise = torch.tensor([f.noise for f in found])
    assert abs(distance.mean() - noise.mean()) < 5 * distance.std() / 200**0.5


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_the_weight_is_about_the_best_one(shift):
    other_law = shifted(shift)
    errors = {"device": [], "reference": [], "mixture": []}
    weights = []
    for k in range(200):
        device, reference = draws(400, other_law, seed=k), draws(100, seed=1000 + k)
        weight = agreement(GRAPH, device, reference).weight
        mixed = mixed_samples(Samples(device), Samples(reference), weight)
        weights.append(weight)
        for name, answer in (
            ("device", Samples(device)),
            ("reference", Samples(reference)),
            ("mixture", mixed),
        ):
            errors[name].append(error(answer))
    mean = {name: sum(values) / len(values) for name, values in errors.items()}
    total = mean["reference"] + mean["device"]
    assert abs(sum(weights) / len(weights) - mean["reference"] / total) < 0.1
    # A fixed weight could not be below this; the estimate of the weight costs a little.
    assert mean["mixture"] < 1.6 * mean["reference"] * mean["device"] / total
    assert mean["mixture"] < mean["reference"]
    assert (mean["mixture"] < mean["device"]) == (shift > 0)


def error(samples):
    found = moments(GRAPH, samples.spins, samples.weights)
    return sum(float((a - b).square().sum()) for a, b in zip(found, EXACT, strict=True))


def test_exact_moments_leave_no_weight_to_the_samples():
    assert agreement(GRAPH, draws(100), EXACT).weight == 0


def test_samples_that_never_move_agree_with_themselves_only():
    frozen = torch.ones(10, 6, dtype=F64)
    assert agreement(GRAPH, frozen, frozen) == (1.0, 0.0, 0.0, 0.0)
    assert agreement(GRAPH, frozen, -frozen).p_value == 0


def test_a_mixture_has_the_mixed_moments():
    one = Samples(draws(5), weights=torch.tensor([1.0, 2, 3, 4, 5]), info={"backend": "one"})
    other = Samples(draws(7, seed=1))
    mixed = mixed_samples(one, other, 0.3)
    found = moments(GRAPH, mixed.spins, mixed.weights)
    parts = [moments(GRAPH, s.spins, s.weights) for s in (one, other)]
    for a, b, c in zip(found, *parts, strict=True):
        torch.testing.assert_close(a, 0.3 * b + 0.7 * c)
    assert mixed.info == {"backend": "one"}


def test_what_cannot_be_compared_is_told():
    with pytest.raises(ValueError, match=r"shape \(5, 4\), but .* \(S, 6\)"):
        agreement(GRAPH, torch.ones(5, 4), EXACT)
    with pytest.raises(ValueError, match="there is 1 sample"):
        agreement(GRAPH, torch.ones(1, 6), EXACT)
    with pytest.raises(ValueError, match=r"weight is 1\.5"):
        mixed_samples(Samples(draws(2)), Samples(draws(2)), 1.5)
