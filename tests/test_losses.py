import torch
from models import F64
from test_machine import joint_table, small_machine

from qahm_torch import Samples, reweighted_wake_loss, sleep_loss, wake_loss
from qahm_torch.ising import all_states, exact_log_probs

DATA = all_states(4)[[2, 7, 7, 12]]


def gradients(machine, loss):
    machine.zero_grad()
    loss.backward()
    return {n: p.grad for n, p in machine.named_parameters() if p.grad is not None}


def exact_negative(machine):
    return Samples(all_states(2), weights=exact_log_probs(machine.prior.ising()).exp().detach())


def test_wake_loss_is_the_expected_joint_and_spares_recognition():
    machine = small_machine()
    rows = DATA.repeat(20_000, 1)
    loss = wake_loss(machine, rows, exact_negative(machine))
    found = gradients(machine, loss)
    assert not any(name.startswith("recognition") for name in found)

    grid = torch.cartesian_prod(torch.arange(4), torch.arange(8), torch.arange(4))
    u, z = all_states(3)[grid[:, 1]], all_states(2)[grid[:, 2]]
    q = machine.recognition.log_prob([DATA[grid[:, 0]], u, z]).exp().view(4, 32).detach()
    table = machine.log_joint([DATA[grid[:, 0]], u, z], exact_negative(machine)).view(4, 32)
    expected = -(q * table).sum(1).mean()
    assert abs(loss.item() - expected.item()) < 0.02
    for name, gradient in gradients(machine, expected).items():
        assert (found[name] - gradient).abs().max() < 0.02, name


def test_sleep_loss_trains_recognition_only_and_on_dreams():
    machine = small_machine()
    loss = sleep_loss(machine, all_states(2)[[0, 1, 3]].repeat(100, 1))
    found = gradients(machine, loss)
    assert found and all(name.startswith("recognition") for name in found)
    seen = []
    sleep_loss(machine, all_states(2), view=lambda v: seen.append(v) or torch.zeros_like(v))
    assert seen[0].shape == (4, 4)


def test_reweighted_gradient_tends_to_that_of_the_log_likelihood():
    machine = small_machine()
    negative = exact_negative(machine)
    found = reweighted_wake_loss(machine, DATA, 20_000, negative)
    exact = torch.logsumexp(joint_table(machine, DATA), 1).mean()
    assert abs(found.log_likelihood.item() - exact.item()) < 0.02
    theta = gradients(machine, found.theta)
    # Autograd through the table needs the negative phase too, here by the exact samples.
    grid = torch.cartesian_prod(torch.arange(4), torch.arange(8), torch.arange(4))
    states = [DATA[grid[:, 0]], all_states(3)[grid[:, 1]], all_states(2)[grid[:, 2]]]
    table = machine.log_joint(states, negative).view(4, 32)
    for name, gradient in gradients(machine, -torch.logsumexp(table, 1).mean()).items():
        assert (theta[name] - gradient).abs().max() < 0.02, name


def test_reweighted_recognition_loss_is_the_cross_entropy_with_the_posterior():
    machine = small_machine()
    found = reweighted_wake_loss(machine, DATA, 20_000, exact_negative(machine))
    phi = gradients(machine, found.phi)
    assert all(name.startswith("recognition") for name in phi)
    posterior = torch.softmax(joint_table(machine, DATA), 1).detach()
    grid = torch.cartesian_prod(torch.arange(4), torch.arange(8), torch.arange(4))
    states = [DATA[grid[:, 0]], all_states(3)[grid[:, 1]], all_states(2)[grid[:, 2]]]
    expected = -(posterior * machine.recognition.log_prob(states).view(4, 32)).sum(1).mean()
    for name, gradient in gradients(machine, expected).items():
        assert (phi[name] - gradient).abs().max() < 0.03, name


def test_one_particle_is_wake_sleep():
    machine = small_machine()
    torch.manual_seed(4)
    plain = wake_loss(machine, DATA, exact_negative(machine))
    torch.manual_seed(4)
    weighted = reweighted_wake_loss(machine, DATA, 1, exact_negative(machine)).theta
    torch.testing.assert_close(plain, weighted)


def test_view_is_what_recognition_sees():
    machine = small_machine()
    blind = wake_loss(machine, DATA.repeat(5000, 1), view=torch.zeros_like)
    q = machine.recognition.draw(torch.zeros(20_000, 4, dtype=F64)).states
    rows = DATA.repeat(5000, 1)
    assert abs(blind.item() + machine.log_joint([rows, *q]).mean().item()) < 0.05
