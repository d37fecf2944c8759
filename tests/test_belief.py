import pytest
import torch
from models import F64
from torch import nn

from qahm_torch import BeliefNetwork, Concatenated, ContinuousSpins, OneHot
from qahm_torch.ising import all_states


def test_log_prob_is_normalized_over_all_states():
    network = BeliefNetwork([3, 2, 2]).double()
    x = all_states(3)[5].expand(16, 3)
    grid = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    u, v = all_states(2)[grid[:, 0]], all_states(2)[grid[:, 1]]
    torch.testing.assert_close(
        network.log_prob([x, u, v]).exp().sum(), torch.tensor(1.0, dtype=F64)
    )


def test_draw_returns_the_probability_of_what_it_drew():
    network = BeliefNetwork([3, 4, 2])
    x = torch.ones(50, 3)
    states, log_prob = network.draw(x)
    torch.testing.assert_close(log_prob, network.log_prob([x, *states]))
    assert log_prob.requires_grad and not any(s.requires_grad for s in states)


def test_samples_follow_the_conditionals():
    network = BeliefNetwork([2, 3]).double()
    x = torch.tensor([1.0, -1.0], dtype=F64)
    spins = network.sample(x.expand(20_000, 2))[0]
    expected = torch.tanh(network.layers[0](x))
    assert (spins.mean(0) - expected).abs().max() < 5 / 20_000**0.5
    assert (spins.mean(0) - 0.8 * expected - 0.2).abs().max() > 5 / 20_000**0.5


def test_unobserved_units_of_the_last_layer_are_summed_out():
    network = BeliefNetwork([2, 3]).double()
    x = all_states(2)[1].expand(2, 2)
    v = torch.tensor([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0]], dtype=F64)
    observed = torch.tensor([True, True, False])
    part = network.log_prob([x, v], observed)
    torch.testing.assert_close(part[0], torch.logsumexp(network.log_prob([x, v]), 0))


def test_draws_follow_a_generator():
    network, x = BeliefNetwork([3, 4, 2]), torch.ones(50, 3)
    before = torch.get_rng_state()
    for method in (network.sample, lambda *given: network.draw(*given).states):
        first, again, other = (method(x, torch.Generator().manual_seed(s)) for s in (7, 7, 8))
        assert all(map(torch.equal, first, again)) and not all(map(torch.equal, first, other))
    assert torch.equal(torch.get_rng_state(), before)


def test_repeated_rows_are_seen_once_and_drawn_as_if_all_had_been():
    network, x = BeliefNetwork([3, 4, 2]).double(), all_states(3).double()
    seen = []
    for layer in network.layers:
        layer.register_forward_hook(lambda layer, inputs, rows: seen.append(len(rows)))
    results = []
    for rows in (x.expand(5, 8, 3), x.expand(5, 8, 3).contiguous()):
        network.zero_grad()
        states, log_prob = network.draw(rows, torch.Generator().manual_seed(1))
        (log_prob * torch.arange(40).reshape(5, 8)).sum().backward()
        results.append([*states, log_prob, *(p.grad for p in network.parameters())])
    assert seen == [8, 40, 40, 40]
    torch.testing.assert_close(*results)
    # Particles of one datum are draws of their own.
    assert not torch.equal(results[0][0][0], results[0][0][1])


def test_relaxed_states_have_a_gradient():
    network = BeliefNetwork([3, 4, 2], temperature=0.5).double()
    x = torch.ones(50, 3, dtype=F64, requires_grad=True)
    states, log_prob = network.rsample(x, torch.Generator().manual_seed(1))
    assert all(state.abs().max() < 1 for state in states)
    torch.testing.assert_close(log_prob, network.log_prob([x, *states]))
    states[-1].sum().backward()
    assert (x.grad != 0).any() and all((p.grad != 0).any() for p in network.parameters())
    # Without relaxation, no gradient comes through.
    assert not any(state.requires_grad for state in network.sample(x))


def test_relaxed_states_tend_to_states():
    network, x = BeliefNetwork([2, 3], temperature=1e-3).double(), torch.ones(20_000, 2, dtype=F64)
    relaxed = network.rsample(x).states[0]
    expected = network.conditional(0, x[0]).mean
    assert (relaxed.sign().mean(0) - expected).abs().max() < 5 / 20_000**0.5
    assert (relaxed.abs() > 0.9).double().mean() > 0.99


def test_relaxed_states_of_hard_units_are_refused_by_layer():
    network = BeliefNetwork([3, 4, 2], output=OneHot(2), temperature=0.5)
    with pytest.raises(NotImplementedError, match="layer 2 is OneHot.*, but relaxed states need"):
        network.rsample(torch.ones(3))
    with pytest.raises(NotImplementedError, match="layer 1 is Spins"):
        BeliefNetwork([3, 4, 2]).rsample(torch.ones(3))


def test_any_module_and_any_output():
    class Picture(nn.Module):
        r"""A small convolutional decoder: 6 spins to 16 pixels and 3 classes."""

        def __init__(self):
            super().__init__()
            self.classes = nn.Linear(6, 3)
            self.pixels = nn.Sequential(
                nn.Linear(6, 8), nn.Unflatten(-1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 2, stride=2)
            )

        def forward(self, x):
            return torch.cat([self.pixels(x).flatten(1), self.classes(x)], -1)

    mlp = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))
    output = Concatenated([ContinuousSpins(16), OneHot(3)])
    network = BeliefNetwork([4, 6, 19], layers=[mlp, Picture()], output=output)
    x = torch.ones(5, 7, 4)
    u, v = network(x)
    assert u.shape == (5, 7, 6) and v.shape == (5, 7, 19)
    assert network.log_prob([x, u, v]).shape == (5, 7)
    assert (v[..., 16:].sum(-1) == -1).all() and network.mean(u).shape == (5, 7, 19)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"widths are \[3\]"):
        BeliefNetwork([3])
    with pytest.raises(ValueError, match="4 units, but the last width is 3"):
        BeliefNetwork([2, 3], output=OneHot(4))
    with pytest.raises(ValueError, match=r"layers are 1 modules, but widths \[2, 3, 4\] need 2"):
        BeliefNetwork([2, 3, 4], layers=[nn.Linear(2, 3)])
    with pytest.raises(ValueError, match="states are 2, but 3 are needed"):
        BeliefNetwork([2, 3, 4]).log_prob([torch.ones(2), torch.ones(3)])
