import math

import pytest
import torch
from models import random_ising, seeded

from qahm_torch import CouplingGraph, ExactSampler, Ising, Moments, exact_moments, moments
from qahm_torch.evaluation import corrected_moments, gradient_direction

GRAPH = CouplingGraph.complete(6)
ISING = random_ising(GRAPH, 0.4)
EXACT = exact_moments(ISING)


def other(strength, seed=7):
    r"""A model whose parameters are off by so much."""
    error = random_ising(GRAPH, strength, seed)
    return Ising(GRAPH, ISING.h + error.h, ISING.J + error.J)


def draws(ising, count, seed=0):
    return ExactSampler().sample(ising, count, generator=seeded(seed)).spins


def true_cosine(data, device):
    one, two = (
        torch.cat([d - m for d, m in zip(data, found, strict=True)])
        for found in (exact_moments(device), EXACT)
    )
    return float(one @ two / (one.norm() * two.norm()))


def checks(data, device, exact, repeats=200, size=500):
    spins = draws(device, repeats * size, 1).view(repeats, size, 6)
    reference = draws(ISING, repeats * size, 2).view(repeats, size, 6)
    return [
        gradient_direction(GRAPH, data, s, EXACT if exact else r)
        for s, r in zip(spins, reference, strict=True)
    ]


# The data are of another model: far from the optimum, near to it, and with a device that is wrong.
CASES = {
    "far": (other(0.5), other(0.05, seed=8)),
    "near": (other(0.1), other(0.05, seed=8)),
    "wrong": (other(0.2), other(0.4)),
    "across": (other(0.2), other(0.3, seed=8)),
}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_interval_covers_the_cosine_without_noise(name, exact):
    data, device = exact_moments(CASES[name][0]), CASES[name][1]
    truth = true_cosine(data, device)
    found = checks(data, device, exact)
    covered = sum(f.lower <= truth <= f.upper for f in found) / len(found)
    # Short of 0.95 by terms of higher order, where the noise is a good part of the gradient.
    assert covered > (0.85 if name == "near" else 0.87)


@pytest.mark.parametrize("exact", [True, False])
def test_noise_is_taken_off_the_cosine(exact):
    found = checks(exact_moments(other(0.1)), ISING, exact)  # a device without errors
    cosine = torch.tensor([f.cosine for f in found]).mean()
    plain = torch.tensor([f.plain_cosine for f in found]).mean()
    assert 1 - cosine < 0.3 * (1 - plain)


def test_at_the_optimum_a_low_cosine_is_noise_only():
    found = checks(EXACT, ISING, exact=False)
    assert sum(f.verdict == "noise only" for f in found) >= len(found) - 3
    assert max(f.plain_cosine for f in found) < 0.9
    unknown = [f for f in found if math.isnan(f.cosine)]
    assert len(unknown) > 0.8 * len(found)
    assert {(f.lower, f.upper) for f in unknown} == {(-1.0, 1.0)}


def test_verdicts_tell_right_from_wrong():
    for data, device, verdict in (
        (other(0.5), other(0.3, seed=8), "right direction"),
        (other(0.2), other(0.4), "wrong direction"),
        (other(0.0), other(0.4), "unclear"),
    ):
        found = gradient_direction(GRAPH, exact_moments(data), draws(device, 5000), EXACT)
        assert found.verdict == verdict
        assert found.p_value < 1e-3


def test_the_plain_cosine_is_that_of_the_gradients():
    data, spins = exact_moments(other(0.3)), draws(ISING, 50)
    found = gradient_direction(GRAPH, data, spins, EXACT)
    one, two = (
        torch.cat([d - m for d, m in zip(data, side, strict=True)])
        for side in (moments(GRAPH, spins), EXACT)
    )
    assert found.plain_cosine == pytest.approx(torch.cosine_similarity(one, two, 0).item())


def gradients(*sides, data):
    return [torch.cat([d - m for d, m in zip(data, side, strict=True)]) for side in sides]


@pytest.mark.parametrize("device", [other(0.1), other(0.6)])
def test_rules_turn_the_gradient_as_they_say(device):
    data, found = exact_moments(other(0.2)), exact_moments(device)
    rules = {rule: corrected_moments(rule, data, found, EXACT, 0.3) for rule in RULES}
    raw, reference = gradients(found, EXACT, data=data)
    got = {rule: gradients(m, data=data)[0] for rule, m in rules.items()}
    torch.testing.assert_close(got["raw"], raw)
    torch.testing.assert_close(got["flip"], raw * (raw @ reference).sign())
    torch.testing.assert_close(got["signs"], raw.abs() * reference.sign())
    torch.testing.assert_close(got["mix"], 0.3 * raw + 0.7 * reference)


RULES = ("raw", "flip", "signs", "mix")


def test_the_devices_of_the_rules_point_both_ways():
    data = exact_moments(other(0.2))
    assert true_cosine(data, other(0.1)) > 0 > true_cosine(data, other(0.6))


def test_wrong_settings_are_told():
    one = Moments(torch.zeros(6), torch.zeros(15))
    with pytest.raises(ValueError, match="rule is 'turn'"):
        corrected_moments("turn", one, one, one)
    with pytest.raises(ValueError, match=r"weight is 2"):
        corrected_moments("mix", one, one, one, 2.0)
    with pytest.raises(ValueError, match=r"confidence is 95"):
        gradient_direction(GRAPH, one, draws(ISING, 5), EXACT, confidence=95)
    with pytest.raises(ValueError, match=r"level is 0"):
        gradient_direction(GRAPH, one, draws(ISING, 5), EXACT, level=0)
