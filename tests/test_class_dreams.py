import pytest
import torch
from models import F64
from test_machine import V, class_machine, joint_table, small_machine

from qahm_torch import Concatenated, OneHot, Spins, class_dreams

NUM = 20_000


def law_of_pixels(machine, label):
    r"""The exact p(x | c) of the 4 states of 2 pixels, and p(c)."""
    joint = torch.logsumexp(joint_table(machine, V), 1).view(4, 3).exp()
    return joint[:, label] / joint[:, label].sum(), joint[:, label].sum()


def strong_machine():
    r"""A machine whose class and pixels tell much about each other."""
    torch.manual_seed(0)
    machine = class_machine()
    with torch.no_grad():
        machine.generator.layers[-1].weight.normal_(0, 1.5)
    return machine


def frequencies(visible):
    index = (visible[:, 0] > 0).long() * 2 + (visible[:, 1] > 0).long()
    return torch.bincount(index, minlength=4).to(F64) / len(visible)


def exact_frequencies(machine, label):
    law, _ = law_of_pixels(machine, label)
    return torch.stack([law[(V[::3, :2] == torch.tensor(s)).all(-1)].sum() for s in STATES])


STATES = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]


@pytest.mark.parametrize("label", [0, 1, 2])
def test_dreams_of_a_class_follow_the_conditional_law(label):
    machine = strong_machine()
    dream = class_dreams(machine, torch.full((NUM,), label))
    assert [x.shape[1] for x in dream] == [2, 3, 5]
    assert (dream[-1][:, 2:].argmax(-1) == label).all() and (dream[-1][:, 2:].sum(-1) == -1).all()
    errors = [
        (frequencies(dream[-1]) - exact_frequencies(machine, c)).abs().max() for c in range(3)
    ]
    assert errors[label] < 5 * 0.5 / NUM**0.5
    # The twin: the law of no other class would do.
    assert min(e for c, e in enumerate(errors) if c != label) > 5 * 0.5 / NUM**0.5


def test_hidden_states_are_those_of_the_class():
    machine = strong_machine()
    for label in range(3):
        table = joint_table(machine, V).view(4, 3, 8, 4)[:, label]
        p = torch.softmax(table.flatten(), 0).view(4, 8, 4).sum((0, 2))
        first = class_dreams(machine, torch.full((NUM,), label))[1]
        index = ((first > 0).long() * torch.tensor([1, 2, 4])).sum(-1)
        found = torch.bincount(index, minlength=8).to(F64) / NUM
        assert (found - p).abs().max() < 5 * 0.5 / NUM**0.5


def test_each_row_has_the_class_that_was_asked_for():
    classes = torch.tensor([2, 0, 0, 1, 2, 2])
    visible = class_dreams(strong_machine(), classes)[-1]
    assert torch.equal(visible[:, 2:].argmax(-1), classes)
    assert classes.tolist() == [2, 0, 0, 1, 2, 2]


def test_classes_alone_are_dreamt_of():
    machine = small_machine(OneHot(4))
    assert (class_dreams(machine, torch.tensor([3, 3]))[-1].argmax(-1) == 3).all()


def test_draws_follow_the_generator_alone():
    machine, classes = strong_machine(), torch.arange(3).repeat(10)
    before = torch.get_rng_state()
    first, again, other = (
        class_dreams(machine, classes, generator=torch.Generator().manual_seed(s))[-1]
        for s in (7, 7, 8)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_class_that_is_never_dreamt_of_is_told():
    machine = small_machine(Concatenated([Spins(2), OneHot(3)]), 5)
    with torch.no_grad():
        machine.generator.layers[-1].bias[-1] = -50.0
    with pytest.raises(ValueError, match="after 1000 dreams 2 of class 2 are missing"):
        class_dreams(machine, torch.tensor([0, 2, 2]), max_dreams=1000)


@pytest.mark.parametrize(
    ("classes", "told"),
    [([0, 3], "classes hold 3"), ([-1], "classes hold -1"), ([[0]], "shape"), ([0.5], "dtype")],
)
def test_what_is_no_class_is_told(classes, told):
    with pytest.raises(ValueError, match=told):
        class_dreams(class_machine(), torch.tensor(classes))


def test_a_machine_without_classes_is_told():
    with pytest.raises(ValueError, match="the output is Spins, but dreams of a class need"):
        class_dreams(small_machine(), torch.tensor([0]))
