r"""The conformance suite of objectives, and what is particular to each."""

import copy
import pickle

import pytest
import torch
from small_runs import Counting, Weighted, small_machine

from qahm_torch import (
    GibbsSampler,
    Objective,
    ReweightedWakeSleep,
    Samples,
    Stages,
    WakeSleep,
    reweighted_wake_loss,
    sleep_loss,
    wake_loss,
)

SETTINGS = {"class_weight": 3.0, "hide_classes": 0.5}
OBJECTIVES = {
    "wake-sleep": WakeSleep,
    "wake-sleep, classes": lambda: WakeSleep(sleep_phi=0.5, **SETTINGS),
    "reweighted": ReweightedWakeSleep,
    "reweighted, classes": lambda: ReweightedWakeSleep(3, 0.5, 2.0, **SETTINGS),
    "stages": lambda: Stages([WakeSleep(), ReweightedWakeSleep()], [2]),
}
every_objective = pytest.mark.parametrize("kind", OBJECTIVES)


@pytest.fixture
def machine():
    return small_machine(GibbsSampler(2))


@pytest.fixture
def batch():
    pixels = torch.rand(20, 64) * 2 - 1
    classes = torch.eye(10)[torch.randint(10, (20,))] * 2 - 1
    return torch.cat([pixels, classes], -1)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def values(losses):
    return {name: value.detach() for name, value in losses.items()}


@every_objective
def test_losses_are_scalars_by_name_and_the_first_is_minimized(kind, machine, batch):
    losses = OBJECTIVES[kind]()(machine, batch, machine.prior.draw())
    assert next(iter(losses)) == "loss"
    assert all(value.shape == () and value.isfinite() for value in losses.values())
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in machine.parameters())


@every_objective
def test_the_sampler_is_not_asked_again(kind, batch):
    sampler = Counting(GibbsSampler(1))
    machine = small_machine(sampler)
    OBJECTIVES[kind]()(machine, batch, machine.prior.draw())["loss"].backward()
    assert sampler.calls == 1


@every_objective
def test_a_generator_is_the_only_source_of_random_numbers(kind, machine, batch):
    objective, negative = OBJECTIVES[kind](), machine.prior.draw()
    before = torch.get_rng_state()
    first = values(objective(machine, batch, negative, generator=seeded(1)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert values(objective(machine, batch, negative, generator=seeded(1))) == first
    assert values(objective(machine, batch, negative, generator=seeded(2))) != first
    torch.manual_seed(1)
    assert values(objective(machine, batch, negative)) == first


@every_objective
def test_settings_are_all_that_it_is(kind, machine, batch):
    objective, negative = OBJECTIVES[kind](), machine.prior.draw()
    expected = values(objective(machine, batch, negative, generator=seeded(1)))
    for twin in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
        assert values(twin(machine, batch, negative, generator=seeded(1))) == expected
        assert repr(twin) == repr(objective) and "hide_classes" in repr(twin)


@every_objective
def test_dreams_begin_at_the_samples_by_their_weights(kind, batch):
    machine = small_machine(Weighted())
    shown = []
    machine.generator.layers[0].register_forward_pre_hook(
        lambda layer, inputs: shown.append(inputs[0])
    )
    spins = machine.prior.draw().spins
    OBJECTIVES[kind]()(machine, batch, Samples(spins, weights=torch.eye(64)[5]))
    assert torch.equal(shown[0], spins[5].expand(64, -1))
    shown.clear()
    OBJECTIVES[kind]()(machine, batch, Samples(spins))
    assert torch.equal(shown[0], spins)


def test_wake_sleep_is_the_sum_of_its_phases(machine, batch):
    negative = machine.prior.draw()
    losses = WakeSleep(sleep_phi=2.0)(machine, batch, negative, generator=seeded(1))
    generator = seeded(1)
    sleep = sleep_loss(machine, negative.spins, generator=generator)
    wake = wake_loss(machine, batch, negative, generator=generator)
    expected = {"loss": wake + 2 * sleep, "wake_theta": wake, "sleep_phi": sleep}
    assert values(losses) == values(expected)


def test_reweighted_wake_sleep_is_the_sum_of_its_phases(machine, batch):
    negative = machine.prior.draw()
    objective = ReweightedWakeSleep(num_particles=3, wake_phi=0.5, sleep_phi=2.0)
    losses = objective(machine, batch, negative, generator=seeded(1))
    generator = seeded(1)
    sleep = sleep_loss(machine, negative.spins, generator=generator)
    wake = reweighted_wake_loss(machine, batch, 3, negative, generator=generator)
    loss = wake.theta + 0.5 * wake.phi + 2 * sleep
    parts = {"wake_theta": wake.theta, "wake_phi": wake.phi, "sleep_phi": sleep}
    assert values(losses) == values({"loss": loss, **parts})


@pytest.mark.parametrize("kind", [WakeSleep, ReweightedWakeSleep])
def test_class_units_are_weighed_and_hidden(kind, machine, batch):
    negative, blank = machine.prior.draw(), batch.clone()
    blank[:, 64:] = 0

    def losses(visible, **settings):
        # No draw decides what is hidden, as rows are drawn for all or none.
        return values(kind(**settings)(machine, visible, negative, generator=seeded(1)))

    plain, heavy = losses(batch), losses(batch, class_weight=100.0)
    assert heavy["wake_theta"] > plain["wake_theta"] + 99  # at least a nat of a class each
    assert heavy["sleep_phi"] == plain["sleep_phi"]
    shown = []
    hook = machine.recognition.layers[0].register_forward_pre_hook(
        lambda layer, inputs: shown.append(inputs[0])
    )
    losses(batch, hide_classes=1.0)
    assert len(shown) == 2 and not any(seen[..., 64:].any() for seen in shown)
    shown.clear()
    losses(batch)
    assert all(seen[..., 64:].abs().eq(1).all() for seen in shown)
    hook.remove()


# Stages


class Named(Objective):
    def __init__(self, name):
        self.name = name

    def __call__(self, machine, batch, negative, *, generator=None):
        return {"loss": torch.zeros(())}


def names(objective, epochs):
    return "".join(objective.at(epoch).name for epoch in range(epochs))


def test_stages_follow_each_other():
    a, b, c = Named("a"), Named("b"), Named("c")
    assert names(Stages([a], []), 3) == "aaa"
    assert names(Stages([a, b, c], [2, 3]), 8) == "aabbbccc"
    assert names(Stages([a, b], [0]), 2) == "bb"
    assert names(Stages([a, Stages([b, c], [2])], [1]), 5) == "abbcc"


@pytest.mark.parametrize(
    ("objectives", "epochs", "message"),
    [
        ([], [], r"objectives is \[\], but at least 1 objective is needed"),
        ([WakeSleep()], [3], r"epochs is \[3\], but 1 objectives need 0 numbers"),
        ([WakeSleep()] * 3, [3], r"epochs is \[3\], but 3 objectives need 2 numbers"),
        ([WakeSleep()] * 2, [-1], r"epochs is \[-1\], but numbers of epochs are not negative"),
    ],
)
def test_stages_that_do_not_fit_are_named(objectives, epochs, message):
    with pytest.raises(ValueError, match=message):
        Stages(objectives, epochs)
