import pickle
import time

import pytest
import torch
from models import random_ising

from qahm_torch import (
    AnnealerError,
    BudgetError,
    Chains,
    CouplingGraph,
    Fallback,
    FallbackWarning,
    GibbsSampler,
    Sampler,
    Samples,
    Submission,
    Swept,
    Wrapper,
    within,
)

ISING = random_ising(CouplingGraph.complete(4))


class Device(Sampler):
    r"""Fails with what it is told to, at once or when the answer is asked for."""

    is_billed = True
    keeps_chains = True

    def __init__(self, error=None, at_once=True):
        self.error, self.at_once, self.calls = error, at_once, 0
        self.learned = 0

    def _sample(self, ising, num_samples, **settings):
        return self._submit(ising, num_samples, **settings).result()

    def _submit(self, ising, num_samples, *, state, **settings):
        self.calls += 1
        if self.error is not None and self.at_once:
            raise self.error
        return Submission(lambda: self._answer(ising, num_samples))

    def _answer(self, ising, num_samples):
        if self.error is not None:
            raise self.error
        spins = torch.ones(num_samples, ising.num_spins, dtype=ising.h.dtype)
        return Samples(spins, state=Chains(spins), info={"backend": "device"})

    def state_dict(self):
        return {"learned": self.learned}

    def load_state_dict(self, state):
        self.learned = state["learned"]


@pytest.mark.parametrize("at_once", [True, False])
def test_the_other_stands_in_and_the_first_rests(at_once, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    device = Device(AnnealerError("offline"), at_once)
    sampler = Fallback(device, GibbsSampler(1), cooldown=60)
    with pytest.warns(FallbackWarning, match="GibbsSampler stands in: offline"):
        samples = sampler.sample(ISING, 5)
    assert samples.info["fallback"] == "AnnealerError: offline"
    assert samples.info["backend"] != "device" and samples.spins.shape == (5, 4)
    now[0] = 59.0
    assert sampler.sample(ISING, 5).info["fallback"] == "the sampler rests after a failure"
    assert device.calls == 1
    # It is asked again after its rest; of a second failure in a row there is no second warning.
    now[0] = 61.0
    sampler.sample(ISING, 5)
    assert device.calls == 2
    now[0], device.error = 200.0, None
    samples = sampler.sample(ISING, 5)
    assert samples.info["backend"] == "device" and "fallback" not in samples.info
    device.error = AnnealerError("offline again")
    with pytest.warns(FallbackWarning, match="offline again"):
        sampler.sample(ISING, 5)


def test_after_its_budget_the_first_is_not_asked_again(monkeypatch):
    device = Device(BudgetError("spent"))
    sampler = Fallback(device, GibbsSampler(1), cooldown=0.0)
    with pytest.warns(FallbackWarning, match="spent"):
        sampler.sample(ISING, 5)
    now = time.monotonic() + 1e9
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sampler.sample(ISING, 5)
    assert device.calls == 1


def test_the_other_starts_from_the_chains_of_the_first():
    device = Device()
    sampler = Fallback(device, GibbsSampler(1), cooldown=0.0)
    state = sampler.sample(ISING, 6).state
    device.error = AnnealerError("offline")
    with pytest.warns(FallbackWarning):
        samples = sampler.sample(ISING, 6, state=state)
    assert samples.info["start"] == "resumed"
    device.error = None
    assert sampler.sample(ISING, 6, state=samples.state).info["backend"] == "device"


def test_errors_of_the_users_making_pass():
    sampler = Fallback(Device(ValueError("a mistake")), GibbsSampler(1))
    with pytest.raises(ValueError, match="a mistake"):
        sampler.sample(ISING, 5)
    with pytest.raises(ValueError, match=r"cooldown is -1, but seconds are not negative"):
        Fallback(Device(), GibbsSampler(1), cooldown=-1)


def test_wrappers_say_and_learn_what_the_inner_sampler_does():
    device = Device()
    sampler = Swept(Fallback(device, GibbsSampler(1)), 3)
    assert sampler.is_billed and sampler.keeps_chains and not sampler.takes_gamma
    device.learned = 7
    state = sampler.state_dict()
    other = Device()
    Fallback(other, GibbsSampler(1)).load_state_dict(state)
    assert other.learned == 7
    assert within(sampler, Device) is device and within(sampler, Swept) is sampler
    assert within(sampler, GibbsSampler) is None
    assert repr(Swept(GibbsSampler(2), 3)) == (
        "Swept(GibbsSampler(num_sweeps=2, backend='auto'), num_sweeps=3)"
    )
    assert isinstance(pickle.loads(pickle.dumps(sampler)), Wrapper)


def test_sweeps_follow_the_samples_and_leave_the_chains():
    samples = Swept(Device(), 40).sample(ISING, 500)
    assert samples.info["num_sweeps"] == 40 and samples.info["backend"] == "device"
    assert (samples.state.spins == 1).all() and not (samples.spins == 1).all()
