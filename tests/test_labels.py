r"""Few labels: what of the data has a class, and what rows without one mean to a machine."""

import pytest
import torch
from models import F64
from test_machine import V, class_machine, joint_table

from qahm_torch import (
    VIMCO,
    ReweightedWakeSleep,
    WakeSleep,
    reweighted_wake_loss,
    sleep_loss,
    wake_loss,
)
from qahm_torch.data import OptDigits, hide_labels, one_hot_spins, repeat_known

NAN = torch.nan


def without_class(rows):
    return torch.cat([rows[:, :2], torch.full_like(rows[:, 2:], NAN)], -1)


def known(rows, num_classes=10):
    return ~rows[:, -num_classes:].isnan().any(-1)


# What the data hold.


@pytest.mark.parametrize("num_labels", [0, 10, 25, 100])
def test_each_class_keeps_as_many_labels_as_another(num_labels):
    data = OptDigits(num_labels=num_labels)
    data.setup()
    kept = known(data.train)
    counts = torch.bincount(data.train[kept, 64:].argmax(-1), minlength=10)
    assert kept.sum() == num_labels and counts.max() - counts.min() <= 1
    assert data.train[~kept, 64:].isnan().all() and not data.train[:, :64].isnan().any()
    assert not data.val.isnan().any() and not data.test.isnan().any()


def test_what_is_kept_is_as_it_was():
    few, all_of_them = OptDigits(num_labels=50), OptDigits()
    few.setup(), all_of_them.setup()
    kept = known(few.train)
    assert torch.equal(few.train[kept], all_of_them.train[kept])
    assert torch.equal(few.train[:, :64], all_of_them.train[:, :64])
    again = OptDigits(num_labels=50)
    again.setup()
    assert torch.equal(known(again.train), kept)


def test_the_choice_is_random_and_follows_the_generator():
    rows = one_hot_spins(torch.arange(4).repeat(50), 4)

    def kept(seed):
        return known(hide_labels(rows, 4, 20, torch.Generator().manual_seed(seed)), 4)

    assert torch.equal(kept(1), kept(1)) and not torch.equal(kept(1), kept(2))
    rates = torch.stack([kept(s) for s in range(300)]).double().mean(0)
    assert (rates - 0.1).abs().max() < 5 * (0.09 / 300) ** 0.5


def test_an_epoch_visits_labels_more_often():
    data = OptDigits(num_labels=20, label_repeats=7, dequantize=False)
    data.setup()
    seen = torch.cat(list(data.train_dataloader()))
    assert known(seen).sum() == 140 and len(seen) == len(data.train) + 120
    rows = torch.tensor([[0.5, 1.0, -1.0], [0.1, NAN, NAN]])
    assert repeat_known(rows, 2, 2)[-1].tolist() == [0.5, 1.0, -1.0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_labels": -1}, "num_labels is -1"),
        ({"label_repeats": 0}, "label_repeats is 0"),
        ({"num_labels": 5, "classes": False}, "num_labels is 5 .* no class units"),
        ({"label_repeats": 5, "classes": False}, "label_repeats 5, but .* no class units"),
    ],
)
def test_impossible_settings_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        OptDigits(**settings)


def test_too_few_rows_of_a_class_are_told():
    rows = one_hot_spins(torch.tensor([0, 0, 0, 0, 0, 1]), 2)
    with pytest.raises(ValueError, match="of which class 1 has 2, but there are only 1"):
        hide_labels(rows, 2, 4)
    with pytest.raises(ValueError, match="num_classes is 0"):
        hide_labels(rows, 0, 1)


# What a machine makes of them.


def test_a_class_that_is_not_known_is_summed_out():
    machine = class_machine()
    over_classes = torch.logsumexp(joint_table(machine, V).view(4, 3, 32), 1)
    torch.testing.assert_close(joint_table(machine, without_class(V[::3])), over_classes)
    mixed = torch.cat([V[:1], without_class(V[:1])])
    both = joint_table(machine, mixed)
    torch.testing.assert_close(both[0], joint_table(machine, V[:1])[0])
    torch.testing.assert_close(both[1], over_classes[0])


def test_the_likelihood_of_a_row_without_class_is_that_of_its_pixels():
    machine = class_machine()
    exact = torch.logsumexp(joint_table(machine, V).view(4, -1), 1)
    estimate = machine.log_prob(without_class(V[::3]), 20_000)
    assert (estimate - exact).abs().max() < 0.05


def test_the_theta_gradient_is_that_of_the_pixels():
    machine = class_machine()
    rows = without_class(V[::3])
    exact = -torch.logsumexp(joint_table(machine, V).view(4, -1), 1).mean()
    parameters = list(machine.generator.parameters())
    expected = torch.autograd.grad(exact, parameters)
    torch.manual_seed(0)
    loss = reweighted_wake_loss(machine, rows, 100_000, machine.prior.draw()).theta
    found = torch.autograd.grad(loss, parameters)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 0.01
    # What the class has to do with it: nothing, so that its weights have no gradient.
    weight = machine.generator.layers[-1].weight
    (gradient,) = torch.autograd.grad(reweighted_wake_loss(machine, rows, 10).theta, weight)
    assert gradient[2:].abs().max() == 0 < gradient[:2].abs().max()


def test_the_weight_of_the_class_is_that_of_rows_that_have_one():
    machine = class_machine()
    weights = torch.tensor([1.0, 1.0, 5.0, 5.0, 5.0], dtype=F64)

    def loss(rows, weights=None):
        torch.manual_seed(0)
        with torch.no_grad():
            return wake_loss(machine, rows, view=lambda v: without_class(v), unit_weights=weights)

    torch.testing.assert_close(loss(without_class(V)), loss(without_class(V), weights))
    assert (loss(V, weights) - loss(V)).abs() > 1


def test_recognition_of_dreams_does_not_see_classes_that_data_do_not_have():
    machine = class_machine()
    seen = []
    log_prob = machine.recognition.log_prob
    machine.recognition.log_prob = lambda states: (seen.append(states[0]), log_prob(states))[1]
    like = torch.cat([V[:1], without_class(V[:1])])
    sleep_loss(machine, torch.ones(4, 2, dtype=F64), like=like)
    assert (seen[0][1::2, 2:] == 0).all() and (seen[0][::2, 2:].abs() == 1).all()


@pytest.mark.parametrize(
    "objective",
    [
        WakeSleep(class_weight=10, hide_classes=0.5),
        ReweightedWakeSleep(3, class_weight=10, hide_classes=0.5),
        WakeSleep(),
        VIMCO(3),
    ],
)
def test_objectives_take_rows_without_class(objective):
    machine = class_machine()
    rows = torch.cat([V[:3], without_class(V)])
    losses = objective(machine, rows, machine.prior.draw())
    losses["loss"].backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in machine.parameters())


def test_classification_looks_at_no_class():
    machine = class_machine()
    torch.manual_seed(0)
    first = machine.classify(V, 20), machine.read_out(V, 20)
    torch.manual_seed(0)
    again = machine.classify(without_class(V), 20), machine.read_out(without_class(V), 20)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
