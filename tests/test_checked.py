import pytest
import torch
from models import random_ising, seeded

from qahm_torch import (
    AnnealedSampler,
    AnnealerSampler,
    Checked,
    CouplingGraph,
    ExactSampler,
    GibbsSampler,
    Ising,
    QuantumPriorLayer,
    Samples,
    SimulatedAnnealer,
    Submission,
    Wrapper,
    within,
)

ISING = random_ising(CouplingGraph.complete(5), 0.5)
LEVEL = 1e-4


class Liar(Wrapper):
    r"""Lies at known calls: the spins with the other sign, or those of another model."""

    def __init__(self, sampler, lies):
        super().__init__(sampler)
        self.lies, self.calls = lies, 0

    def _submit(self, ising, num_samples, **settings):
        lie = self.lies.get(self.calls)
        self.calls += 1
        if lie == "other model":
            ising = Ising(ising.graph, ising.h, -ising.J)
        pending = super()._submit(ising, num_samples, **settings)

        def resolve():
            samples = pending.result()
            return samples._replace(spins=-samples.spins) if lie == "flipped" else samples

        return Submission(resolve)


def test_a_liar_is_caught_at_its_lies_and_at_no_other_calls():
    lies = {17: "flipped", 40: "other model", 41: "flipped", 99: "other model"}
    sampler = Checked(Liar(ExactSampler(), lies), ExactSampler(), level=LEVEL)
    generator = seeded()
    answers = [sampler.sample(ISING, 500, generator=generator) for _ in range(100)]
    assert [k for k, a in enumerate(answers) if a.info["disagrees"]] == sorted(lies)
    weights = torch.tensor([a.info["device_weight"] for a in answers])
    told = torch.tensor([k in lies for k in range(100)])
    assert weights[told].max() < 0.05 < 0.1 < weights[~told].min()


def test_false_alarms_are_as_rare_as_the_level():
    sampler, generator = Checked(ExactSampler(), ExactSampler(), level=0.05), seeded()
    answers = [sampler.sample(ISING, 200, generator=generator) for _ in range(500)]
    alarms = sum(a.info["disagrees"] for a in answers)
    assert abs(alarms - 25) < 5 * (500 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("replace", [True, False])
def test_the_reference_replaces_a_lie(replace):
    liar = Liar(ExactSampler(), {0: "flipped"})
    sampler = Checked(liar, ExactSampler(), level=LEVEL, replace=replace)
    mean = sampler.sample(ISING, 2000, generator=seeded()).spins.mean(0)
    truth = ExactSampler().sample(ISING, 2000, generator=seeded(1)).spins.mean(0)
    assert ((mean - truth).abs().max() < 0.15) == replace


def test_held_spins_and_single_samples_are_handed_on_unchecked():
    sampler = Checked(GibbsSampler(10), ExactSampler())
    clamp = torch.tensor([1.0, 0, 0, 0, 0])
    held = sampler.sample(ISING, 4, clamp=clamp, generator=seeded())
    assert held.spins[:, 0].eq(1).all() and "p_value" not in held.info
    assert "p_value" not in sampler.sample(ISING, 1, generator=seeded()).info
    assert "p_value" in sampler.sample(ISING, 2, generator=seeded()).info


def test_a_device_trains_a_layer_through_it():
    device = SimulatedAnnealer("chimera", 2, beta=2.0, seed=0)
    sampler = Checked(AnnealerSampler(device), ExactSampler())
    layer = QuantumPriorLayer(4, sampler=sampler, num_samples=100)
    negative = layer.draw()
    assert negative.info["beta"] > 0 and 0 <= negative.info["p_value"] <= 1
    (-layer.log_prob(torch.ones(3, 4), negative).mean()).backward()
    assert layer.h.grad.abs().sum() > 0
    assert within(layer.sampler, AnnealerSampler) is sampler.sampler


class Weighted(ExactSampler):
    def _sample(self, ising, num_samples, **settings):
        samples = super()._sample(ising, num_samples, **settings)
        return Samples(samples.spins, weights=torch.ones(num_samples))


def test_what_cannot_be_compared_is_told():
    with pytest.raises(ValueError, match=r"level is 0\.0"):
        Checked(ExactSampler(), ExactSampler(), level=0.0)
    with pytest.raises(ValueError, match="the sampler gives weighted samples"):
        Checked(Weighted(), ExactSampler()).sample(ISING, 4)
    with pytest.raises(ValueError, match="the reference gives weighted samples"):
        Checked(ExactSampler(), Weighted()).sample(ISING, 4)


def test_its_repr_has_both_samplers():
    sampler = Checked(ExactSampler(), AnnealedSampler(20, 5), level=0.01)
    assert repr(sampler).startswith("Checked(ExactSampler(), AnnealedSampler(num_temperatures=20")
    assert repr(sampler).endswith("level=0.01)")
