r"""Objectives of the bound against its gradient by enumeration."""

import math

import pytest
import torch

from qahm_torch import (
    VIMCO,
    BeliefNetwork,
    Concatenated,
    DisARM,
    HelmholtzMachine,
    OneHot,
    QuantumPriorLayer,
    RelaxedELBO,
    ReweightedWakeSleep,
    Samples,
    Spins,
    all_states,
    exact_log_probs,
)

VISIBLE = torch.tensor(
    [[1, -1, 1, 1], [-1, -1, 1, -1], [1, 1, -1, -1], [-1, 1, 1, 1.0]], dtype=torch.float32
)


def machine_of(widths, **settings):
    torch.manual_seed(0)
    machine = HelmholtzMachine(
        BeliefNetwork(widths, **settings),
        BeliefNetwork(widths[::-1]),
        QuantumPriorLayer(widths[-1]),
    )
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.normal_(0, 0.7)
    machine.prior.estimate_log_z()
    return machine


def exact_negative(machine):
    model = machine.prior.ising().detach()
    return Samples(all_states(model.num_spins, torch.float32), exact_log_probs(model).exp())


def all_hidden(widths):
    r"""Returns all hidden states of one datum, a list of (S, width)."""
    states = all_states(sum(widths[1:]), torch.float32)
    return list(states.split(list(widths[1:]), -1))


def exact_bound(machine, num_particles):
    r"""Returns the bound with K particles, by a sum over all K-tuples of hidden states."""
    total = 0.0
    for v in VISIBLE:
        states = all_hidden(machine.recognition.widths)
        rows = v.expand(len(states[0]), -1)
        log_q = machine.recognition.log_prob([rows, *states])
        log_w = machine.log_joint([rows, *states], exact_negative(machine)) - log_q
        index = torch.cartesian_prod(*[torch.arange(len(log_q))] * num_particles)
        index = index.view(-1, num_particles)
        bound = torch.logsumexp(log_w[index], 1) - math.log(num_particles)
        total = total + (log_q[index].sum(1).exp() * bound).sum()
    return total / len(VISIBLE)


def gradient(machine, loss):
    machine.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in machine.parameters()]).clone()


def sampled(machine, objective, num_rows=2000, num_repeats=30):
    batch, negative = VISIBLE.repeat(num_rows // len(VISIBLE), 1), exact_negative(machine)
    objective.check(machine)
    found = [
        gradient(machine, objective(machine, batch, negative)["loss"]) for _ in range(num_repeats)
    ]
    found = torch.stack(found)
    return found.mean(0), found.std(0) / num_repeats**0.5


def scores(machine, objective, num_particles):
    wanted = gradient(machine, -exact_bound(machine, num_particles))
    mean, error = sampled(machine, objective)
    # Some have no noise, such as the gradient of a bias of the prior by exact samples.
    return ((mean - wanted) / error.clamp(1e-6)).abs()


@pytest.mark.parametrize("widths", [(4, 3), (4, 2, 2)])
@pytest.mark.parametrize("num_particles", [2, 3])
def test_vimco_has_no_bias(widths, num_particles):
    machine = machine_of(widths)
    z = scores(machine, VIMCO(num_particles), num_particles)
    assert z.square().mean().sqrt() < 1.6
    assert z.max() < 4.5


def test_vimco_of_another_number_of_particles_would_be_found():
    assert scores(machine_of((4, 3)), VIMCO(2), 3).max() > 8


@pytest.mark.parametrize("num_pairs", [1, 3])
def test_disarm_has_no_bias(num_pairs):
    z = scores(machine_of((4, 3)), DisARM(num_pairs), 1)
    assert z.square().mean().sqrt() < 1.6
    assert z.max() < 4.5


def test_disarm_varies_less_than_the_score():
    machine = machine_of((4, 3))
    _, of_pairs = sampled(machine, DisARM(1))
    _, of_score = sampled(machine, _Score())
    number = sum(p.numel() for p in machine.recognition.parameters())
    assert of_pairs[:number].mean() < 0.8 * of_score[:number].mean()


class _Score(RelaxedELBO):
    r"""The evidence lower bound by the score of two draws, each a baseline of the other."""

    def __call__(self, machine, batch, negative, *, generator=None):
        states, log_q = machine.infer(batch, 2)
        rows = batch.expand(2, *batch.shape)
        f = machine.log_joint([rows, *states], negative) - log_q
        signal = f.detach() - f.detach().flip(0)
        return {"loss": -(f + signal * log_q).mean()}


def test_reweighted_wake_sleep_has_a_bias_that_is_found():
    machine = machine_of((4, 3))
    assert scores(machine, ReweightedWakeSleep(2, sleep_phi=0.0), 2).max() > 8


@pytest.mark.parametrize("hard", [False, True])
def test_relaxation_has_a_bias_that_falls_with_the_temperature(hard):
    errors = {}
    for temperature in (1.0, 0.1):
        machine = machine_of((4, 3), temperature=temperature, hard=hard)
        wanted = gradient(machine, -exact_bound(machine, 1))
        mean, error = sampled(machine, RelaxedELBO(), num_rows=4000)
        number = sum(p.numel() for p in machine.recognition.parameters())
        errors[temperature] = (mean - wanted)[:number].norm() / wanted[:number].norm()
        noise = error[:number].norm() / wanted[:number].norm()
        assert noise < 0.5 * errors[1.0]
    assert errors[1.0] > 0.1
    assert errors[0.1] < 0.5 * errors[1.0]


def test_hard_draws_have_the_bound_for_a_value():
    machine = machine_of((4, 3), temperature=0.5, hard=True)
    batch = VISIBLE.repeat(5000, 1)
    losses = RelaxedELBO()(machine, batch, exact_negative(machine))
    assert abs(losses["loss"] + exact_bound(machine, 1)) < 0.1
    assert abs(losses["loss"] - losses["reconstruction"] - losses["kl"]) < 1e-4


def test_more_relaxed_particles_are_the_tighter_bound():
    machine = machine_of((4, 3), temperature=0.5, hard=True)
    batch = VISIBLE.repeat(5000, 1)
    one, many = (RelaxedELBO(k)(machine, batch, exact_negative(machine)) for k in (1, 10))
    assert many["loss"] < one["loss"] - 0.1


def test_the_divergence_is_weighed():
    machine = machine_of((4, 3), temperature=0.5)
    losses = RelaxedELBO(kl_weight=0.0)(machine, VISIBLE, exact_negative(machine))
    assert losses["loss"] == losses["reconstruction"]


def test_classes_are_weighed_and_hidden_from_recognition():
    torch.manual_seed(0)
    machine = HelmholtzMachine(
        BeliefNetwork([5, 3], temperature=0.5, hard=True),
        BeliefNetwork([3, 5], output=Concatenated([Spins(2), OneHot(3)])),
        QuantumPriorLayer(3),
    )
    batch, negative = torch.tensor([[1.0, -1, -1, 1, -1]]), exact_negative(machine)
    seen = torch.tensor([[1.0, -1, 0, 0, 0]])
    losses = RelaxedELBO(class_weight=3.0, hide_classes=1.0)(
        machine, batch, negative, generator=torch.Generator().manual_seed(1)
    )
    # What is random of hiding comes first, and hides each class here.
    generator = torch.Generator().manual_seed(1)
    torch.rand(1, generator=generator)
    states, log_q = machine.recognition.rsample(seen, generator)
    pixels = torch.tensor([True, True, False, False, False])
    log_p = machine.generator.conditional(0, states[0]).log_prob(batch)
    of_pixels = machine.generator.log_prob([states[0], batch], pixels)
    expected = of_pixels + 3 * (log_p - of_pixels)
    assert torch.allclose(losses["reconstruction"], -expected.mean(), atol=1e-5)
    divergence = log_q - machine.prior.log_prob(states[0], negative)
    assert torch.allclose(losses["loss"], (divergence - expected).mean(), atol=1e-5)
    with pytest.raises(ValueError, match="no class units"):
        RelaxedELBO(class_weight=3.0).check(machine_of([4, 3], temperature=0.5))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_particles is 1, but at least 2 are needed"):
        VIMCO(1)
    with pytest.raises(ValueError, match="num_particles is 0, but at least 1 is needed"):
        RelaxedELBO(0)
    with pytest.raises(ValueError, match="num_pairs is 0"):
        DisARM(0)
    with pytest.raises(ValueError, match="kl_weight is -1"):
        DisARM(kl_weight=-1)
    with pytest.raises(ValueError, match="the recognition has 2 layers, the last one Spins"):
        DisARM().check(machine_of((4, 3, 2)))
