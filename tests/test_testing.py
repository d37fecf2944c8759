r"""The conformance suite finds what is wrong: for each check, a sampler that fails it."""

import pytest
import torch

from qahm_torch import Chains, ExactSampler, GibbsSampler, Ising, Sampler, Samples
from qahm_torch.testing import CHECKS, Subject, check_sampler, small_models


class Sound(Sampler):
    r"""Passes all checks; each sampler below changes one thing of it."""

    keeps_chains = True

    def _sample(self, ising, num_samples, *, clamp, state, generator):
        samples = ExactSampler().sample(ising, num_samples, clamp=clamp, generator=generator)
        return Samples(samples.spins, state=Chains(samples.spins), info={"backend": "sound"})


class Hot(Sound):
    def _sample(self, ising, num_samples, **settings):
        return super()._sample(ising.scaled(0.8), num_samples, **settings)


class Loose(Sound):
    def _sample(self, ising, num_samples, *, clamp, **settings):
        return super()._sample(ising, num_samples, clamp=None, **settings)


class FirstRow(Sound):
    def _sample(self, ising, num_samples, *, clamp, **settings):
        clamp = clamp[0] if clamp is not None and clamp.ndim == 2 else clamp
        return super()._sample(ising, num_samples, clamp=clamp, **settings)


class Quantum(Sound):
    takes_gamma = False

    def sample(self, ising, num_samples, **settings):
        return super().sample(Ising(ising.graph, ising.h, ising.J), num_samples, **settings)


class Unseeded(Sound):
    def _sample(self, ising, num_samples, *, generator, **settings):
        return super()._sample(ising, num_samples, generator=None, **settings)


class Double(Sound):
    def _sample(self, ising, num_samples, **settings):
        samples = super()._sample(ising, num_samples, **settings)
        return samples._replace(spins=samples.spins.double())


class Unchecked(Sound):
    def sample(self, ising, num_samples, *, clamp=None, state=None, generator=None):
        return Samples(torch.ones(num_samples, ising.num_spins))


class Late(Sound):
    def submit(self, ising, num_samples, **settings):
        from qahm_torch import Submission

        return Submission(lambda: self.sample(ising, num_samples, **settings))


class Restarting(GibbsSampler):
    def _resumes(self, chains):
        return False


class Fragile(Sound):
    def _sample(self, ising, num_samples, *, state, **settings):
        if state is not None and len(state) != 9:
            raise RuntimeError
        assert state is None or torch.equal(state.spins, state.spins.double())
        return super()._sample(ising, num_samples, state=state, **settings)

    def sample(self, ising, num_samples, *, state=None, **settings):
        if isinstance(state, torch.Tensor):
            raise TypeError("no tensors")
        return super().sample(ising, num_samples, state=state, **settings)


class Attached(Sound):
    def __init__(self):
        self.lock = lambda: None  # which cannot be pickled


BROKEN = {
    "law": Hot,
    "clamp": Loose,
    "clamped_rows": FirstRow,
    "gamma": Quantum,
    "seed": Unseeded,
    "shape": Double,
    "requests": Unchecked,
    "submission": Late,
    "chains": Restarting,
    "foreign_chains": Fragile,
    "copies": Attached,
}


def test_a_sound_sampler_passes():
    check_sampler(Sound())
    assert set(BROKEN) == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_broken_promise_is_found(name):
    with pytest.raises(Exception):  # noqa: B017
        CHECKS[name](Subject(BROKEN[name](), small_models()))


def test_what_is_skipped_is_not_checked():
    check_sampler(Hot(), skip=["law", "clamp", "clamped_rows"])
    with pytest.raises(AssertionError, match="samples of 'complete' are not of its law"):
        check_sampler(Hot())
    with pytest.raises(ValueError, match="skip holds 'laws', but checks are law, clamp"):
        check_sampler(Hot(), skip=["laws"])


def test_devices_are_checked_by_their_moments():
    check_sampler(Sound(), max_error=0.06)
    with pytest.raises(AssertionError, match="are not of its law"):
        check_sampler(Hot(), max_error=0.02)


def test_weighted_samples_are_checked_by_their_weights():
    class Weighted(Sound):
        def _sample(self, ising, num_samples, *, clamp, state, generator):
            from qahm_torch.ising import all_states, exact_log_probs

            states = all_states(ising.num_spins, ising.h.dtype)
            return Samples(states, weights=exact_log_probs(ising).exp())

    CHECKS["law"](Subject(Weighted(), small_models()))
