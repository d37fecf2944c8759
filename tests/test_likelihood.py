import math

import pytest
import torch
from test_machine import Independent, class_states, joint_table, small_machine

from qahm_torch import Concatenated, OneHot, Spins
from qahm_torch.evaluation import (
    bits_per_dimension,
    classification_accuracy,
    evidence_bound,
    log_likelihood,
    reconstruction_error,
)
from qahm_torch.ising import all_states
from qahm_torch.samplers import LogZ, estimate_log_z


def test_bracket_holds_the_exact_likelihood():
    machine, data = small_machine(), all_states(4)
    log_z = estimate_log_z(machine.prior.ising().detach())
    result = log_likelihood(machine, data, log_z=log_z, num_particles=4000, batch_size=5)
    exact = torch.logsumexp(joint_table(machine, data), 1)
    assert result.value == pytest.approx(exact.mean().item(), abs=0.01)
    assert result.stderr == pytest.approx((exact.std() / 4).item(), rel=0.05)
    assert result.num_particles == 4000


def test_bound_is_the_sum_over_hidden_states():
    torch.manual_seed(0)
    machine, data = small_machine(), all_states(4)
    machine.prior.estimate_log_z()
    found = evidence_bound(machine, data, num_particles=3000, batch_size=5)
    joint = joint_table(machine, data)  # (V, U), of all hidden states
    # The gap of the bound is the divergence of q from the posterior, which is not negative.
    assert found.value < torch.logsumexp(joint, 1).mean().item()
    assert found.kl > 0
    assert found.value == pytest.approx(found.reconstruction - found.kl)
    log_w = machine.log_weights(data.repeat(2000, 1), 1)[0]
    assert found.value == pytest.approx(log_w.mean().item(), abs=0.02)


def test_jackknife_corrects_most_of_the_bias():
    machine, data = small_machine(), all_states(4).repeat(200, 1)
    log_z = estimate_log_z(machine.prior.ising().detach())
    result = log_likelihood(machine, data, log_z=log_z, num_particles=5, batch_size=3200)
    exact = torch.logsumexp(joint_table(machine, all_states(4)), 1).mean().item()
    assert result.value < exact and abs(result.upper - exact) < 0.5 * abs(result.value - exact)


def test_interval_of_log_z_widens_the_bracket():
    machine, data = small_machine(), all_states(4)
    z = float(machine.prior.log_z)
    narrow, wide = LogZ(z, z, z, 0.0), LogZ(z, z - 0.5, z + 0.5, 0.25)
    torch.manual_seed(0)
    first = log_likelihood(machine, data, log_z=narrow, num_particles=50)
    torch.manual_seed(0)
    second = log_likelihood(machine, data, log_z=wide, num_particles=50)
    assert second.value == pytest.approx(first.value)
    assert second.lower == pytest.approx(first.value - 0.5)
    assert second.upper == pytest.approx(first.upper + 0.5)


def test_without_a_log_z_the_prior_is_taken_at_its_word():
    machine, data = small_machine(), all_states(4)
    machine.prior.log_z.add_(0.7)
    stored = float(machine.prior.log_z)
    torch.manual_seed(0)
    known = LogZ(stored, stored, stored, 0.0)
    expected = log_likelihood(machine, data, log_z=known, num_particles=50)
    torch.manual_seed(0)
    found = log_likelihood(machine, data, log_z=None, num_particles=50)
    assert found == pytest.approx(expected)
    assert found.lower == found.value


def test_the_likelihood_of_a_machine_with_any_prior():
    machine, data = small_machine(prior=Independent(2)), all_states(4)
    exact = torch.logsumexp(joint_table(machine, data), 1)
    result = log_likelihood(machine, data, log_z=None, num_particles=4000)
    assert result.value == pytest.approx(exact.mean().item(), abs=0.01)
    with pytest.raises(TypeError, match="log_z is given, but Independent is no Boltzmann machine"):
        log_likelihood(machine, data, log_z=LogZ(0.0, 0.0, 0.0, 0.0))


def test_stored_log_z_does_not_matter():
    machine, data = small_machine(), all_states(4)
    log_z = estimate_log_z(machine.prior.ising().detach())
    torch.manual_seed(0)
    first = log_likelihood(machine, data, log_z=log_z, num_particles=50).value
    machine.prior.log_z.add_(3.0)
    torch.manual_seed(0)
    second = log_likelihood(machine, data, log_z=log_z, num_particles=50).value
    assert first == pytest.approx(second)


def test_bits_of_the_uniform_density_are_those_of_the_levels():
    assert bits_per_dimension(-16 * math.log(2), 16, 256) == pytest.approx(8.0)
    assert bits_per_dimension(-16 * math.log(2), 16) == pytest.approx(1.0)


def test_accuracy_is_that_of_the_most_probable_class():
    machine = small_machine(Concatenated([Spins(2), OneHot(3)]), visible=5)
    states = class_states(2, 3)
    guess = torch.logsumexp(joint_table(machine, states), 1).view(4, 3).argmax(-1)
    rows = states.view(4, 3, 5)
    right = torch.stack([rows[k, guess[k]] for k in range(4)])
    wrong = torch.stack([rows[k, (guess[k] + 1) % 3] for k in range(4)])
    assert classification_accuracy(machine, right, num_particles=5000) == 1.0
    assert classification_accuracy(machine, wrong, num_particles=5000) == 0.0
    read = classification_accuracy(machine, right, rule="read_out", num_particles=5000)
    assert read == float((machine.read_out(right, 5000).argmax(-1) == guess).float().mean())


def test_reconstruction_error_is_per_pixel_and_blind_to_the_class():
    machine = small_machine(Concatenated([Spins(2), OneHot(3)]), visible=5)
    data = class_states(2, 3)
    torch.manual_seed(0)
    error = reconstruction_error(machine, data, depth=1)
    torch.manual_seed(0)
    seen = data.clone()
    seen[:, 2:] = 0
    expected = (machine.reconstruct(seen, 1)[:, :2] - data[:, :2]).square().mean()
    assert error == pytest.approx(expected.item())


def test_one_particle_has_no_jackknife():
    with pytest.raises(ValueError, match="num_particles is 1"):
        log_likelihood(small_machine(), all_states(4), log_z=LogZ(0, 0, 0, 0), num_particles=1)
