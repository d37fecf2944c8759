import math

import pytest
import torch

from qahm_torch.annealer import BetaTracker
from qahm_torch.ising import Beta


def followed(tracker, betas, stderr=0.05, seed=0):
    r"""Returns the errors of the filter, and of the bare estimates, relative to the truth."""
    generator = torch.Generator().manual_seed(seed)
    filtered, bare = [], []
    for beta in betas:
        estimate = beta * (1 + stderr * float(torch.randn((), generator=generator)))
        tracker.update(Beta(estimate, stderr * beta))
        filtered.append(tracker.beta.value / beta - 1)
        bare.append(estimate / beta - 1)
    return torch.tensor(filtered), torch.tensor(bare)


def walk(drift, number=400, seed=1):
    generator = torch.Generator().manual_seed(seed)
    steps = drift * torch.randn(number, generator=generator)
    return (math.log(3) + steps.cumsum(0)).exp().tolist()


def test_filter_follows_a_drift_better_than_the_last_value():
    filtered, bare = followed(BetaTracker(6.0, drift=0.01), walk(0.01))
    rms = lambda errors: float(errors[20:].square().mean().sqrt())
    assert rms(filtered) < 0.5 * rms(bare)
    # A filter that believes in no drift lags behind, which is the twin that fails.
    frozen, _ = followed(BetaTracker(6.0, drift=0.0), walk(0.01))
    assert rms(frozen) > rms(filtered)


def test_error_bar_is_honest():
    tracker, hits = BetaTracker(6.0, drift=0.01), 0
    generator = torch.Generator().manual_seed(2)
    for beta in walk(0.01):
        estimate = beta * (1 + 0.05 * float(torch.randn((), generator=generator)))
        tracker.update(Beta(estimate, 0.05 * beta))
        hits += abs(tracker.beta.value - beta) < 1.96 * tracker.beta.stderr
    assert 0.91 < hits / 400 < 0.985


def test_first_value_counts_for_itself_and_a_jump_starts_anew():
    tracker = BetaTracker(6.0, drift=0.01)
    assert not tracker.is_calibrated
    assert not tracker.update(Beta(0.3, 0.003))
    assert tracker.beta.value == pytest.approx(0.3, rel=0.01)
    for _ in range(20):
        tracker.update(Beta(0.3, 0.003))
    assert tracker.update(Beta(0.6, 0.006))
    assert tracker.beta.value == pytest.approx(0.6, rel=0.01)


@pytest.mark.parametrize("value", [math.inf, math.nan, 0.0, -1.0])
def test_a_value_that_says_nothing_is_passed_over(value):
    tracker = BetaTracker(6.0)
    assert not tracker.update(Beta(value, 0.1))
    assert tracker.beta.value == pytest.approx(6.0) and not tracker.is_calibrated


def test_state_comes_back():
    tracker = BetaTracker(6.0)
    tracker.update(Beta(2.0, 0.1))
    copy = BetaTracker(1.0)
    copy.load_state_dict(tracker.state_dict())
    assert copy.beta == tracker.beta and copy.is_calibrated


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="initial is 0"):
        BetaTracker(0)
    with pytest.raises(ValueError, match="drift is -1"):
        BetaTracker(1, drift=-1)
