import copy
import io
import math
import pickle

import pytest
import torch
from models import F64, law, p_value, random_ising

from qahm_torch import (
    CouplingGraph,
    ExactSampler,
    GibbsSampler,
    Ising,
    PathIntegralSampler,
    QuantumPriorLayer,
    Sampler,
    Samples,
    TemperingSampler,
)
from qahm_torch.ising import all_states, exact_log_partition, exact_log_probs
from qahm_torch.priors.hidden import HiddenUnits


class Counting(Sampler):
    def __init__(self, child):
        self.child, self.calls = child, 0

    keeps_chains = True

    def _resumes(self, chains):
        return self.child._resumes(chains)

    def _sample(self, ising, num_samples, **kwargs):
        self.calls += 1
        return self.child.sample(ising, num_samples, **kwargs)


def layer_of(ising, **settings):
    gamma = 0.0 if ising.gamma is None else ising.gamma
    layer = QuantumPriorLayer(ising.graph, gamma=gamma, **settings).double()
    with torch.no_grad():
        layer.h.copy_(ising.h)
        layer.J.copy_(ising.J)
    return layer


def exact_samples(ising):
    states = all_states(ising.num_spins)
    return Samples(states, weights=exact_log_probs(ising).exp())


CASES = {
    "visible only": (CouplingGraph.complete(5), (), None),
    "disconnected hidden": (CouplingGraph.bipartite(3, 3), (3, 4, 5), None),
    "connected hidden": (CouplingGraph.complete(6), (0, 2, 5), None),
    "gamma": (CouplingGraph.complete(5), (), 0.8),
    "gamma and hidden": (CouplingGraph.complete(5), (1, 4), 0.8),
}


@pytest.mark.parametrize("case", CASES)
def test_gradient_with_exact_samples_is_that_of_the_enumerated_log_z(case):
    graph, hidden, gamma = CASES[case]
    ising = random_ising(graph, gamma=gamma, seed=7)
    layer = layer_of(ising, hidden=hidden)
    data = all_states(layer.num_visible)[[0, 3, 3, 5]]
    (-layer.log_prob(data, exact_samples(ising)).mean()).backward()

    h, J = ising.h.clone().requires_grad_(), ising.J.clone().requires_grad_()
    units = HiddenUnits(graph, hidden)
    classical = Ising(graph, h, J)
    free_energy = units.free_energy(classical, data, ExactSampler())
    (free_energy.mean() + exact_log_partition(Ising(graph, h, J, gamma))).backward()
    torch.testing.assert_close(layer.h.grad, h.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.J.grad, J.grad, rtol=0, atol=1e-10)


def test_gradient_with_clamped_samples_is_that_of_the_conditional_law():
    # Of log p(free | held): the negative phase is the exact law with a spin held.
    ising = random_ising(CouplingGraph.complete(5), seed=8)
    layer = layer_of(ising)
    states = all_states(5)
    held = states[states[:, 2] == 1]
    data = held[[1, 4, 4]]
    p = torch.softmax(-ising.energy(held), 0)
    (-layer.log_prob(data, Samples(held, weights=p)).mean()).backward()
    h, J = ising.h.clone().requires_grad_(), ising.J.clone().requires_grad_()
    model = Ising(ising.graph, h, J)
    (model.energy(data).mean() + torch.logsumexp(-model.energy(held), 0)).backward()
    torch.testing.assert_close(layer.h.grad, h.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.J.grad, J.grad, rtol=0, atol=1e-10)


def test_bound_with_gamma_is_below_the_exact_log_probability():
    ising = random_ising(CouplingGraph.complete(4), gamma=1.0)
    layer = layer_of(ising)
    layer.estimate_log_z()
    exact = exact_log_probs(ising)
    assert (layer(all_states(4)) <= exact + 1e-9).all()


def test_sampler_runs_once_per_backward_and_never_in_forward():
    sampler = Counting(ExactSampler())
    layer = QuantumPriorLayer(4, sampler=sampler, num_samples=16)
    spins = torch.ones(3, 4)
    loss = -layer(spins).mean()
    layer.eval()(spins)
    assert sampler.calls == 0
    loss.backward()
    assert sampler.calls == 1
    layer.prefetch()
    layer.prefetch()
    assert sampler.calls <= 2
    (-layer(spins).mean()).backward()
    assert sampler.calls == 2
    (-layer(spins).mean()).backward()
    assert sampler.calls == 3


def test_two_terms_of_one_loss_share_a_negative_phase():
    sampler = Counting(ExactSampler())
    layer = QuantumPriorLayer(4, sampler=sampler, num_samples=16)
    up, down = torch.ones(3, 4), -torch.ones(2, 4)
    (-layer(up).mean() - layer(down).mean()).backward()
    assert sampler.calls == 1
    # Two backward passes are two calls,
    (-layer(up).mean()).backward()
    (-layer(down).mean()).backward()
    assert sampler.calls == 3
    # unless they are said to share one.
    with layer.shared_negative():
        (-layer(up).mean()).backward()
        dreams = layer.draw()
        (-layer(down).mean()).backward()
        with layer.shared_negative():
            assert layer.draw() is dreams
    assert sampler.calls == 4
    layer.draw()
    assert sampler.calls == 5


def test_terms_that_share_samples_add_up():
    # The gradient of the sum is that with one set of samples for both.
    ising = random_ising(CouplingGraph.complete(4), seed=5)
    layer = layer_of(ising, sampler=ExactSampler(), num_samples=50)
    data = all_states(4)[[1, 2]]
    torch.manual_seed(0)
    (-layer(data[:1]).sum() - layer(data[1:]).sum()).backward()
    shared = layer.J.grad.clone()
    layer.zero_grad()
    torch.manual_seed(0)
    samples = layer.draw()
    (-layer.log_prob(data, samples).sum()).backward()
    torch.testing.assert_close(shared, layer.J.grad)


@pytest.mark.parametrize(
    "samplers",
    [
        (GibbsSampler(2), TemperingSampler(2)),
        (TemperingSampler(2), GibbsSampler(2)),
        (PathIntegralSampler(2), GibbsSampler(2)),
        (GibbsSampler(2), PathIntegralSampler(2)),
        (TemperingSampler(2), PathIntegralSampler(2)),
        (GibbsSampler(2), ExactSampler()),
        (ExactSampler(), GibbsSampler(2)),
    ],
)
def test_the_sampler_may_be_replaced_at_any_time(samplers):
    layer = QuantumPriorLayer(4, sampler=samplers[0], num_samples=8)
    layer.draw()
    layer.sampler = samplers[1]
    start = layer.draw().info["start"]
    exact = any(isinstance(sampler, ExactSampler) for sampler in samplers)
    assert start == ("fresh" if exact else "spins")
    assert layer.sample(20).shape == (20, 4)


def test_draw_takes_what_was_prefetched():
    layer = QuantumPriorLayer(4, num_samples=16)
    torch.manual_seed(1)
    layer.prefetch()
    first = layer.draw().spins
    layer.forget_chains()
    torch.manual_seed(1)
    assert torch.equal(layer.draw().spins, first)


def test_chains_run_on_only_if_persistent():
    for persistent in (True, False):
        layer = QuantumPriorLayer(6, num_samples=8, persistent=persistent)
        (-layer(torch.ones(2, 6)).mean()).backward()
        assert (layer.chains is not None) == persistent


def test_chains_adapt_to_another_number():
    layer = QuantumPriorLayer(4, num_samples=8, sampler=GibbsSampler(1))
    layer.draw()
    for number in (3, 20):
        layer.num_samples = number
        assert layer.draw().spins.shape == (number, 4) and len(layer.chains) == number


def test_sample_leaves_the_chains():
    layer = QuantumPriorLayer(4, num_samples=8)
    layer.draw()
    kept = layer.chains.spins.clone()
    assert layer.sample(30).shape == (30, 4)
    clamp = torch.tensor([1.0, 0, 0, -1.0])
    held = layer.sample(30, clamp=clamp)
    assert (held[:, 0] == 1).all() and (held[:, 3] == -1).all()
    assert torch.equal(layer.chains.spins, kept)


def test_default_initialization_equilibrates_within_10_sweeps():
    # From all spins up, the farthest start: exactly on 8 spins, by its magnetization on 60.
    layer = QuantumPriorLayer(8, sampler=GibbsSampler(10))
    start = torch.ones(20_000, 8)
    ising = layer.ising().detach()
    spins = GibbsSampler(10).sample(ising, 20_000, state=start).spins
    assert p_value(spins, law(ising)) > 1e-3
    layer = QuantumPriorLayer(60)
    start = torch.ones(4000, 60)
    spins = GibbsSampler(10).sample(layer.ising().detach(), 4000, state=start).spins
    assert spins.mean().abs() < 5 / (4000 * 60) ** 0.5 * 1.2
    twin = GibbsSampler(10).sample(layer.ising().detach().scaled(8.0), 4000, state=start).spins
    assert twin.mean().abs() > 5 / (4000 * 60) ** 0.5 * 1.2


def test_expectation_and_its_gradient_are_exact_given_exact_samples():
    ising = random_ising(CouplingGraph.complete(4), seed=2)
    layer = layer_of(ising)

    def statistic(s):
        return torch.stack([s[:, 0] * s[:, 3], s.sum(-1).tanh()], -1)

    value = layer.expectation(statistic, exact_samples(ising))
    value.sum().backward()
    h, J = ising.h.clone().requires_grad_(), ising.J.clone().requires_grad_()
    states = all_states(4)
    p = torch.softmax(-Ising(ising.graph, h, J).energy(states), 0)
    expected = (p.unsqueeze(-1) * statistic(states)).sum(0)
    expected.sum().backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(layer.h.grad, h.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.J.grad, J.grad, rtol=0, atol=1e-10)


def test_log_z_is_right_at_construction():
    layer = QuantumPriorLayer(6)
    assert float(layer.log_z) == pytest.approx(
        float(exact_log_partition(layer.ising().detach())), abs=1e-5
    )
    large = QuantumPriorLayer(40)
    assert float(large.log_z) == pytest.approx(large.estimate_log_z().value, abs=0.1)


def test_construction_leaves_the_seed_alone():
    torch.manual_seed(3)
    QuantumPriorLayer(30)
    after = torch.rand(())
    torch.manual_seed(3)
    torch.empty(30 * 29 // 2).normal_()
    assert torch.equal(after, torch.rand(()))


def test_state_dict_is_safe_and_refuses_another_graph():
    layer = QuantumPriorLayer(CouplingGraph.bipartite(3, 3), hidden=(3, 4, 5))
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    twin = QuantumPriorLayer(CouplingGraph.bipartite(3, 3), hidden=(3, 4, 5))
    twin.load_state_dict(state)
    assert torch.equal(twin.J, layer.J) and torch.equal(twin.log_z, layer.log_z)
    for other in (
        QuantumPriorLayer(CouplingGraph.bipartite(3, 3)),
        QuantumPriorLayer(CouplingGraph(6, layer.graph.edges.flip(0)), hidden=(3, 4, 5)),
    ):
        before = other.J.clone()
        with pytest.raises(ValueError, match="another graph"):
            other.load_state_dict(state)
        assert torch.equal(other.J, before)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_train_on_their_own(clone):
    layer = QuantumPriorLayer(5, num_samples=16)
    layer.prefetch()
    twin = clone(layer)
    (-twin(torch.ones(2, 5)).mean()).backward()
    assert layer.h.grad is None and twin.h.grad is not None


# Dynamo looks at `.grad` of what is between two graphs.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compile_around_the_layer():
    layer = QuantumPriorLayer(5, num_samples=16)
    spins = torch.ones(3, 5)

    @torch.compile(backend="eager")
    def loss(spins):
        return -layer(spins).mean() + layer.energy(2 * spins).sum()

    torch.testing.assert_close(loss(spins), -layer(spins).mean() + layer.energy(2 * spins).sum())
    loss(spins).backward()
    assert layer.J.grad is not None


def test_autocast_keeps_float32_energies():
    layer = QuantumPriorLayer(60)
    with torch.no_grad():
        layer.J.normal_()
    spins = torch.randint(2, (9, 60)).float() * 2 - 1
    expected = layer(spins)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(spins), expected)


def test_beta_of_the_layers_own_samples_is_1():
    layer = QuantumPriorLayer(8, sampler=ExactSampler(), num_samples=4000)
    with torch.no_grad():
        layer.J.normal_(0, 0.4)
    beta = layer.estimate_beta()
    assert abs(beta.value - 1) < 5 * beta.stderr < 0.2


@pytest.mark.parametrize(
    ("spins", "message"),
    [
        (torch.ones(2, 5), r"shape \(2, 5\) do not fit 4 visible spins"),
        (torch.tensor([[0.0, 1.0, 1.0, 0.0]]), "bits, 0 and 1"),
        (torch.full((2, 4), torch.nan), "spins hold nan"),
        (torch.full((2, 4), -3.0), r"spins hold -3\.0"),
    ],
)
def test_what_is_no_spins_is_refused(spins, message):
    with pytest.raises(ValueError, match=message):
        QuantumPriorLayer(4)(spins)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="num_samples is 0"):
        QuantumPriorLayer(4, num_samples=0)
    with pytest.raises(ValueError, match="20 spins with a transverse field"):
        QuantumPriorLayer(20, gamma=1.0)
    with pytest.raises(ValueError, match=r"negative has shape \(3, 5\)"):
        (-QuantumPriorLayer(4).log_prob(torch.ones(1, 4), torch.ones(3, 5)).mean()).backward()
    with pytest.raises(ValueError, match="gamma = 0"):
        QuantumPriorLayer(4, gamma=1.0).expectation(lambda s: s)


def test_diverged_parameters_are_not_sampled_from():
    layer = QuantumPriorLayer(4)
    with torch.no_grad():
        layer.h[2] = math.nan
    with pytest.raises(ValueError, match=r"h\[2\] is nan"):
        layer.draw()


def test_training_by_gibbs_learns_one_hot_states():
    target = all_states(4)[[1, 2, 4, 8]].float()
    layer = QuantumPriorLayer(4, num_samples=512)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (-layer(target).mean()).backward()
        optimizer.step()
    layer.estimate_log_z()
    assert math.log(4) <= -layer(target).mean().item() < math.log(4) + 0.25


def test_double_precision_and_repr():
    layer = QuantumPriorLayer(5, gamma=0.5).double()
    assert layer(torch.ones(1, 5, dtype=F64)).dtype == F64
    assert "num_spins=5" in repr(layer) and "ExactSampler" in repr(layer)
