import copy

import pytest
import torch

from qahm_torch import (
    AnnealerSampler,
    CouplingGraph,
    ExactSampler,
    GibbsSampler,
    QuantumPriorLayer,
    SemiQuantumPrior,
    SimulatedAnnealer,
    WakeSleep,
    stack,
)
from qahm_torch.ising import all_states

F64 = torch.float64


def restricted(num_visible, num_hidden, scale=0.6, **settings):
    graph = CouplingGraph.bipartite(num_visible, num_hidden)
    hidden = range(num_visible, num_visible + num_hidden)
    layer = QuantumPriorLayer(graph, hidden=hidden, **settings).double()
    with torch.no_grad():
        layer.h.normal_(0, scale)
        layer.J.normal_(0, scale)
    layer.estimate_log_z()
    return layer


def transposed(layer):
    r"""Returns the machine whose visible spins are the hidden ones of another, and vice versa."""
    n, m = layer.num_visible, len(layer.hidden_units.hidden)
    other = restricted(m, n)
    with torch.no_grad():
        other.h.copy_(torch.cat([layer.h[n:], layer.h[:n]]))
        other.J.copy_(layer.J.view(n, m).T.reshape(-1))
    other.estimate_log_z()
    return other


def log_p(machine):
    r"""Returns log p of all visible states of a machine of one hidden layer, by enumeration."""
    visible = all_states(machine.generator.widths[-1], F64).unsqueeze(1)
    hidden = all_states(machine.generator.widths[0], F64).unsqueeze(0)
    pairs = [x.expand(len(visible), hidden.shape[1], -1) for x in (visible, hidden)]
    return machine.log_joint(pairs).logsumexp(1).detach()


def test_a_lower_machine_under_its_transposed_one_keeps_its_law():
    lower = restricted(5, 4)
    found = log_p(stack([lower, transposed(lower)]))
    expected = lower(all_states(5, F64)).detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert found.exp().sum() == pytest.approx(1)


def test_another_upper_machine_would_be_found():
    lower = restricted(5, 4)
    upper = transposed(lower)
    with torch.no_grad():
        upper.h.neg_()
    upper.estimate_log_z()
    found = log_p(stack([lower, upper]))
    assert found.exp().sum() == pytest.approx(1)
    assert (found - lower(all_states(5, F64)).detach()).abs().max() > 0.1


def test_recognition_is_the_posterior_of_the_lower_machine():
    lower = restricted(5, 4)
    machine = stack([lower, restricted(4, 3)])
    v, u = torch.ones(16, 5, dtype=F64), all_states(4, F64)
    v[:, ::2] = -1
    exact = (-lower.energy(torch.cat([v, u], -1))).log_softmax(0)
    torch.testing.assert_close(machine.recognition.log_prob([v, u]), exact)
    wrong = (-lower.energy(torch.cat([-v, u], -1))).log_softmax(0)
    assert (machine.recognition.log_prob([v, u]) - wrong).abs().max() > 0.1


def test_three_machines_make_the_conditionals_of_each():
    machines = [restricted(6, 5), restricted(5, 4), restricted(4, 3)]
    machine = stack(machines)
    assert machine.recognition.widths == (6, 5, 4)
    assert machine.generator.widths == (4, 5, 6)
    u, v = torch.ones(32, 4, dtype=F64), all_states(5, F64)
    exact = (-machines[1].energy(torch.cat([v, u], -1))).log_softmax(0)
    torch.testing.assert_close(machine.generator.conditional(0, u).log_prob(v), exact)
    states = [torch.ones(1, 6), v[:1], u[:1]]
    assert torch.isfinite(machine.log_joint(states)).all()


def test_spins_may_be_hidden_anywhere_in_the_graph():
    plain = restricted(3, 2)
    order = [2, 4, 0, 1, 3]  # the spin of the plain graph at each place
    edges = torch.tensor(order).argsort()[plain.graph.edges]
    moved = QuantumPriorLayer(CouplingGraph(5, edges), hidden=[1, 4]).double()
    with torch.no_grad():
        moved.h.copy_(plain.h[order])
        moved.J.copy_(plain.J)
    machine = stack([moved, restricted(2, 2)])
    # Its visible spins are 2, 0 and 1 of the plain one, and its hidden ones 4 and 3.
    v, u = all_states(3, F64), torch.ones(8, 2, dtype=F64)
    u[:, 0] = -1
    there = torch.cat([v[:, [1, 2, 0]], u.flip(-1)], -1)
    exact = (-plain.energy(there)).log_softmax(0)
    torch.testing.assert_close(machine.generator.conditional(0, u).log_prob(v), exact)


def test_gradients_reach_all_parts_and_the_machines_stay_as_they_are():
    machines = [restricted(5, 4), restricted(4, 3)]
    before = copy.deepcopy([dict(m.named_parameters()) for m in machines])
    machine = stack(machines)
    optimizer = torch.optim.SGD(machine.parameters(), lr=0.1)
    data = torch.ones(8, 5, dtype=F64)
    WakeSleep()(machine, data, machine.prior.draw())["loss"].backward()
    for name, parameter in machine.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    optimizer.step()
    assert not torch.equal(machine.prior.J, machines[1].J)
    for layer, old in zip(machines, before, strict=True):
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(parameter, old[name], rtol=0, atol=0)
            assert parameter.grad is None


def test_a_state_goes_round():
    machine = stack([restricted(5, 4), restricted(4, 3)])
    other = stack([restricted(5, 4), restricted(4, 3)])
    assert (log_p(other) - log_p(machine)).abs().max() > 0.1
    other.load_state_dict(machine.state_dict())
    torch.testing.assert_close(log_p(other), log_p(machine), rtol=0, atol=0)


def test_no_random_number_is_drawn():
    machines = [restricted(5, 4), restricted(4, 3)]
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    stack(machines)
    assert torch.equal(torch.rand(3), expected)


def test_the_last_machine_may_have_a_transverse_field():
    upper = restricted(4, 3, gamma=0.5, sampler=ExactSampler())
    assert stack([restricted(5, 4), upper]).prior.gamma.tolist() == [0.5] * 7


def test_machines_that_a_device_has_trained_are_stacked_with_it():
    device = AnnealerSampler(SimulatedAnnealer("chimera", 2, seed=0))
    layer = QuantumPriorLayer(
        CouplingGraph.bipartite(4, 3), hidden=range(4, 7), sampler=device, num_samples=50
    )
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (-layer(torch.ones(8, 4)).mean()).backward()
        optimizer.step()
    machine = stack([restricted(5, 4).float(), layer])
    assert machine.prior.sampler is device
    assert torch.equal(machine.prior.h, layer.h)
    spent = device.account.spent
    assert machine.generate(20).shape == (20, 5)
    assert device.account.spent > spent


def lacking():
    return QuantumPriorLayer(5)


def inside(spins):
    graph = CouplingGraph(5, [(0, 3), (1, 4), spins])
    return QuantumPriorLayer(graph, hidden=[3, 4])


@pytest.mark.parametrize(
    ("machines", "told"),
    [
        ([], "machines are 0, but a stack needs at least 2"),
        ([(5, 4)], "machines are 1, but"),
        ([(5, 4), (3, 2)], "machine 0 has 4 hidden spins, but machine 1 has 3 visible"),
        ([(5, 4), (4, 3), (4, 2)], "machine 1 has 3 hidden spins, but machine 2 has 4 visible"),
        ([lacking, (5, 4)], "machine 0 has no hidden spins, but"),
        ([(5, 5), lacking], "machine 1 has no hidden spins, but"),
        ([lambda: inside((0, 2)), (2, 2)], "machine 0 couples the visible spins 0 and 2, but"),
        ([lambda: inside((3, 4)), (2, 2)], "machine 0 couples the hidden spins 3 and 4, but"),
        ([lambda: restricted(3, 2, gamma=0.5), (2, 2)], "machine 0 has gamma .*0.5.*, but only"),
    ],
)
def test_machines_that_do_not_fit_are_told(machines, told):
    built = [restricted(*m) if isinstance(m, tuple) else m() for m in machines]
    with pytest.raises(ValueError, match=told):
        stack(built)


def test_other_priors_are_told():
    with pytest.raises(TypeError, match="machine 1 is SemiQuantumPrior, but"):
        stack([restricted(5, 4, sampler=GibbsSampler()), SemiQuantumPrior(4, 3)])
