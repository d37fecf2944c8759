import pytest
import torch
from models import F64

from qahm_torch import (
    BeliefNetwork,
    Concatenated,
    ExactSampler,
    HelmholtzMachine,
    OneHot,
    QuantumPriorLayer,
    Spins,
)
from qahm_torch.ising import all_states
from qahm_torch.nn import hide


def small_machine(output=None, visible=4):
    machine = HelmholtzMachine(
        BeliefNetwork([visible, 3, 2]),
        BeliefNetwork([2, 3, visible], output=output),
        QuantumPriorLayer(2, sampler=ExactSampler(), num_samples=64),
    ).double()
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.normal_(0, 0.2)
    machine.prior.estimate_log_z()
    return machine


def joint_table(machine, v):
    r"""log p(v, u, z) for all hidden states, of shape (len(v), 32)."""
    grid = torch.cartesian_prod(torch.arange(len(v)), torch.arange(8), torch.arange(4))
    u, z = all_states(3)[grid[:, 1]], all_states(2)[grid[:, 2]]
    return machine.log_joint([v[grid[:, 0]], u, z]).view(len(v), 32)


def class_states(num_pixels, num_classes):
    r"""All visible states of pixels and a class."""
    pixels = all_states(num_pixels).repeat_interleave(num_classes, 0)
    classes = (2 * torch.eye(num_classes, dtype=F64) - 1).repeat(2**num_pixels, 1)
    return torch.cat([pixels, classes], -1)


def test_joint_is_normalized():
    machine = small_machine()
    total = torch.logsumexp(joint_table(machine, all_states(4)).flatten(), 0)
    assert abs(total.item()) < 1e-6


def test_importance_sampling_finds_the_marginal():
    machine = small_machine()
    exact = torch.logsumexp(joint_table(machine, all_states(4)), 1)
    estimate = machine.log_prob(all_states(4), 20_000)
    assert (estimate - exact).abs().max() < 0.1
    # Chunks do not change what is estimated, and one particle is a lower bound on average.
    bound = machine.log_weights(all_states(4), 20_000).mean(0)
    assert (bound < exact).all()


def test_dreams_follow_the_model():
    machine = small_machine()
    probability = torch.logsumexp(joint_table(machine, all_states(4)), 1).exp()
    expected = probability @ all_states(4)
    mean = machine.generate(20_000).mean(0)
    assert (mean - expected).abs().max() < 5 / 20_000**0.5


def test_classify_is_the_conditional_of_the_joint():
    machine = small_machine(Concatenated([Spins(2), OneHot(3)]), visible=5)
    states = class_states(2, 3)
    joint = torch.logsumexp(joint_table(machine, states), 1).view(4, 3)
    exact = torch.softmax(joint, -1)
    estimate = machine.classify(states[::3], 20_000)
    assert machine.num_classes == 3 and machine.num_pixels == 2
    assert (estimate - exact).abs().max() < 0.02
    # It does not look at the class units that it is given.
    torch.manual_seed(1)
    first = machine.classify(states[:1], 50)
    torch.manual_seed(1)
    assert torch.equal(machine.classify(states[1:2], 50), first)


def test_read_out_averages_over_recognition():
    machine = small_machine(Concatenated([Spins(2), OneHot(3)]), visible=5)
    states = class_states(2, 3)[::3]
    seen = torch.cat([states[:, :2], torch.zeros(4, 3, dtype=F64)], -1)
    u = all_states(3)
    q = machine.recognition.units[0].log_prob(u, machine.recognition.layers[0](seen)[:, None])
    by_state = (machine.generator.mean(u)[:, 2:] + 1) / 2
    exact = q.exp() @ by_state
    assert (machine.read_out(states, 20_000) - exact).abs().max() < 0.02
    assert (machine.classify(states, 20_000) - exact).abs().max() > 0.02


def test_completion_is_the_conditional_of_the_joint():
    machine = small_machine()
    v = all_states(4)
    mask = torch.tensor([True, False, True, False])
    p = torch.logsumexp(joint_table(machine, v), 1).exp()
    fits = (v[:, 0] == 1) & (v[:, 2] == -1)
    expected = (p[fits].unsqueeze(-1) * v[fits]).sum(0) / p[fits].sum()
    start = torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=F64).expand(4000, 4)
    completed = machine.complete(start, mask, num_particles=64)
    assert torch.equal(completed[:, mask], start[:, mask])
    assert (completed.mean(0) - expected).abs().max() < 5 / 4000**0.5 + 0.02


def test_reconstruction_turns_round_where_it_is_told():
    machine = small_machine()
    v = all_states(4)
    torch.manual_seed(0)
    shallow = machine.reconstruct(v, depth=1)
    torch.manual_seed(0)
    first = machine.recognition.sample(v)[0]
    torch.testing.assert_close(shallow, machine.generator.mean(first))
    assert machine.reconstruct(v).shape == v.shape
    q = machine.recognition.units[0].log_prob(
        all_states(3), machine.recognition.layers[0](v)[:, None]
    )
    expected = q.exp() @ machine.generator.mean(all_states(3))
    many = machine.reconstruct(v, depth=1, num_draws=20_000)
    assert (many - expected).abs().max() < 0.02 < (shallow - expected).abs().max()
    with pytest.raises(ValueError, match="depth is 3, but hidden layers are 1 to 2"):
        machine.reconstruct(v, depth=3)


def test_prior_with_hidden_units_inside():
    machine = HelmholtzMachine(
        BeliefNetwork([4, 3]),
        BeliefNetwork([3, 4]),
        QuantumPriorLayer(5, hidden=(1, 3), sampler=ExactSampler()),
    )
    dream = machine.dream(6)
    assert dream[0].shape == (6, 3) and dream[1].shape == (6, 4)
    assert machine.log_prob(dream[1], 5).shape == (6,)


def test_parts_that_do_not_fit_are_named():
    prior = QuantumPriorLayer(2)
    with pytest.raises(ValueError, match=r"\[4, 2\] are not those of the generator \[2, 5\]"):
        HelmholtzMachine(BeliefNetwork([4, 2]), BeliefNetwork([2, 5]), prior)
    with pytest.raises(ValueError, match="2 visible spins, but the deepest layer has 3"):
        HelmholtzMachine(BeliefNetwork([4, 3]), BeliefNetwork([3, 4]), prior)
    with pytest.raises(ValueError, match="no class units"):
        small_machine().classify(all_states(4))
    with pytest.raises(ValueError, match="no class units"):
        small_machine().read_out(all_states(4))


def test_hide_hides_whole_classes_at_the_given_rate():
    v = torch.ones(4000, 5)
    hidden = hide(v, num_pixels=2, probability=0.3)
    assert (hidden[:, :2] == 1).all()
    rows = hidden[:, 2:]
    assert ((rows == 0).all(-1) | (rows == 1).all(-1)).all()
    assert abs((rows[:, 0] == 0).float().mean().item() - 0.3) < 5 * (0.21 / 4000) ** 0.5
