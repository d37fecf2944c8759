r"""The layer within PyTorch: each test is a row of docs/conventions.md."""

import copy
import pickle

import networkx as nx
import pytest
import torch
from models import p_value
from torch import nn
from torch.func import functional_call, grad, hessian, vmap
from torch.nn.utils import parametrize

from qahm_torch import (
    ExactSampler,
    GibbsSampler,
    PathIntegralSampler,
    QuantumGibbsPrior,
    QuantumPriorLayer,
    Sampler,
    Samples,
)
from qahm_torch.ising import Ising, all_states, exact_log_partition, exact_log_probs

SPINS = torch.tensor([[1.0, 1, -1, 1], [-1, 1, 1, -1], [1, -1, -1, -1]], dtype=torch.float64)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = QuantumPriorLayer(4, sampler=ExactSampler(), num_samples=50).double()
    with torch.no_grad():
        layer.h.normal_()
        layer.J.normal_()
    layer.estimate_log_z()
    return layer


class Enumerating(Sampler):
    r"""All states with their probabilities as weights, and the models that were asked for."""

    def __init__(self):
        self.asked = []

    def _sample(self, ising, num_samples, **settings):
        self.asked.append(ising)
        return Samples(all_states(4), weights=exact_log_probs(ising).exp())


class Loss(nn.Module):
    def __init__(self, layer, negative=None):
        super().__init__()
        self.layer, self.negative = layer, negative

    def forward(self, spins):
        return -self.layer.log_prob(spins, self.negative).mean()


def exact_negative(layer):
    model = layer.ising().detach()
    return Samples(all_states(4), weights=exact_log_probs(model).exp())


def enumerated_loss(layer, parameters, spins):
    model = Ising(layer.graph, *parameters)
    return model.energy(spins).mean() + exact_log_partition(model)


def enumerated_gradient(layer, spins):
    parameters = [p.detach().clone().requires_grad_() for p in (layer.h, layer.J)]
    return torch.autograd.grad(enumerated_loss(layer, parameters, spins), parameters)


def test_func_grad_is_the_enumerated_gradient(layer):
    loss = Loss(layer, exact_negative(layer))
    found = grad(lambda p: functional_call(loss, p, (SPINS,)))(dict(loss.named_parameters()))
    for name, expected in zip("hJ", enumerated_gradient(layer, SPINS), strict=True):
        torch.testing.assert_close(found[f"layer.{name}"], expected)


def of_others(layer, factor):
    r"""Returns parameters that are not those of the layer, as `functional_call` takes them."""
    return {name: (factor * p).detach().requires_grad_() for name, p in layer.named_parameters()}


def test_functional_call_samples_the_parameters_that_it_is_given(layer):
    layer.sampler = Enumerating()
    others = of_others(layer, -0.5)
    (-functional_call(layer, others, (SPINS,)).mean()).backward()
    loss = enumerated_loss(layer, list(others.values()), SPINS)
    expected = torch.autograd.grad(loss, others.values())
    for found, value in zip(others.values(), expected, strict=True):
        torch.testing.assert_close(found.grad, value)
    assert layer.h.grad is None


def test_each_model_of_one_backward_pass_is_sampled_once(layer):
    layer.sampler = Enumerating()
    models = [dict(layer.named_parameters()), of_others(layer, -0.5)]
    terms = [functional_call(layer, models[k], (SPINS,)).mean() for k in (0, 1, 0, 1)]
    (-sum(terms)).backward()
    assert len(layer.sampler.asked) == 2
    for parameters in models:
        expected = torch.autograd.grad(
            2 * enumerated_loss(layer, list(parameters.values()), SPINS), parameters.values()
        )
        for found, value in zip(parameters.values(), expected, strict=True):
            torch.testing.assert_close(found.grad, value)


def test_what_is_asked_for_in_advance_is_kept_for_the_parameters_of_the_layer(layer):
    layer.sampler = Enumerating()
    layer.prefetch()
    others = of_others(layer, -0.5)
    (-functional_call(layer, others, (SPINS,)).mean()).backward()
    assert torch.equal(layer.sampler.asked[0].h, others["h"])
    (-layer(SPINS).mean()).backward()
    assert torch.equal(layer.sampler.asked[1].h, layer.h) and len(layer.sampler.asked) == 2


def test_world_lines_are_those_of_the_parameters_that_are_given():
    class Recording(PathIntegralSampler):
        def _sample(self, ising, num_samples, **settings):
            asked.append(ising)
            return super()._sample(ising, num_samples, **settings)

    asked, sampler = [], Recording()
    prior = QuantumGibbsPrior(4, exact=False, sampler=sampler, held_sampler=sampler, num_samples=9)
    others = {name: (2 * p).detach().requires_grad_() for name, p in prior.named_parameters()}
    functional_call(prior, others, (SPINS.float(),)).mean().backward()
    assert len(asked) == 2
    assert all(torch.equal(ising.J, others["J"]) for ising in asked)
    assert all(torch.equal(ising.gamma, others["gamma"].expand(4)) for ising in asked)


def test_second_derivative_of_the_parameters_that_are_given(layer):
    layer.sampler = Enumerating()
    others = of_others(layer, -0.5)
    loss = -functional_call(layer, others, (SPINS,)).mean()
    (first,) = torch.autograd.grad(loss, others["h"], create_graph=True)
    (found,) = torch.autograd.grad(first[0], others["h"])
    h, J = (p.detach() for p in others.values())
    exact = torch.autograd.functional.hessian(lambda x: enumerated_loss(layer, (x, J), SPINS), h)
    torch.testing.assert_close(found, exact[0])


def test_per_sample_gradients_are_those_of_each_row(layer):
    loss = Loss(layer, exact_negative(layer))
    of_row = grad(lambda p, row: functional_call(loss, p, (row[None],)))
    found = vmap(of_row, (None, 0))(dict(loss.named_parameters()), SPINS)
    for k, row in enumerate(SPINS):
        for name, expected in zip("hJ", enumerated_gradient(layer, row[None]), strict=True):
            torch.testing.assert_close(found[f"layer.{name}"][k], expected)


def test_func_grad_without_samples_is_refused(layer):
    loss = Loss(layer)
    with pytest.raises(RuntimeError, match="pass them as `negative`"):
        grad(lambda p: functional_call(loss, p, (SPINS,)))(dict(loss.named_parameters()))


def test_second_derivatives_under_func_are_the_enumerated_ones(layer):
    loss = Loss(layer, exact_negative(layer))
    parameters = dict(loss.named_parameters())
    first = grad(lambda p: functional_call(loss, p, (SPINS,)))
    found = grad(lambda p: first(p)["layer.h"][0])(parameters)
    h, J = (p.detach() for p in parameters.values())
    hessian_of = torch.autograd.functional.hessian
    exact = hessian_of(lambda *x: enumerated_loss(layer, x, SPINS), (h, J))
    torch.testing.assert_close(found["layer.h"], exact[0][0][0])
    torch.testing.assert_close(found["layer.J"], exact[0][1][0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_forward_over_reverse_is_refused_by_torch(layer):
    loss = Loss(layer, exact_negative(layer))
    with pytest.raises(NotImplementedError, match="forward mode"):
        hessian(lambda p: functional_call(loss, p, (SPINS,)))(dict(loss.named_parameters()))


def test_second_derivative_is_the_enumerated_one(layer):
    loss = Loss(layer, exact_negative(layer))(SPINS)
    (first,) = torch.autograd.grad(loss, layer.h, create_graph=True)
    (found,) = torch.autograd.grad(first[0], layer.h)
    h, J = (p.detach().clone().requires_grad_() for p in (layer.h, layer.J))
    exact = torch.autograd.functional.hessian(lambda x: enumerated_loss(layer, (x, J), SPINS), h)
    torch.testing.assert_close(found, exact[0])


@pytest.mark.parametrize("method", ["free_energy", "log_prob"])
def test_compile_of_the_full_graph(layer, method):
    arguments = (exact_negative(layer),) if method == "log_prob" else ()
    function = getattr(layer, method)
    compiled = torch.compile(lambda x: function(x, *arguments), fullgraph=True, backend="eager")
    values = compiled(SPINS), function(SPINS, *arguments)
    torch.testing.assert_close(*values)
    gradients = [torch.autograd.grad(x.mean(), [layer.h, layer.J]) for x in values]
    torch.testing.assert_close(*gradients)


def test_export_of_the_free_energy(layer):
    class FreeEnergy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, spins):
            return self.layer.free_energy(spins)

    exported = torch.export.export(FreeEnergy(), (SPINS,)).module()
    torch.testing.assert_close(exported(SPINS), layer.free_energy(SPINS))


@pytest.mark.slow
@pytest.mark.parametrize("graph", [5, nx.cycle_graph(6)], ids=["complete", "bipartite"])
def test_export_of_samples(graph):
    torch.manual_seed(0)
    layer = QuantumPriorLayer(graph, sampler=GibbsSampler(num_sweeps=20))
    nn.init.normal_(layer.h, std=0.5)
    nn.init.normal_(layer.J, std=0.5)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, scale):
            return scale * self.layer.sample(4000)

    exported = torch.export.export(Decoder(), (torch.ones(1),)).module()
    spins = torch.cat([exported(torch.ones(1)) for _ in range(5)])
    law = exact_log_probs(layer.ising()).exp().detach()
    assert p_value(spins, law) > 1e-3
    assert p_value(spins, law.flip(0)) < 1e-3
    # Nothing that was traced is left in the layer.
    assert p_value(layer.sample(20_000), law) > 1e-3


def test_meta_device_is_refused():
    with pytest.raises(NotImplementedError, match="build it on the CPU"), torch.device("meta"):
        QuantumPriorLayer(4)


def test_partial_state_is_loaded_where_not_strict(layer):
    missing = layer.load_state_dict({"h": torch.ones(4)}, strict=False).missing_keys
    assert "J" in missing
    assert torch.equal(layer.h, torch.ones(4).double())


def test_refused_state_leaves_all_as_it_was(layer):
    before = copy.deepcopy([layer.h, layer.J, layer.log_z])
    wrong = {**layer.state_dict(), "h": torch.ones(4), "J": torch.ones(3)}
    with pytest.raises(RuntimeError, match="size mismatch for J"):
        layer.load_state_dict(wrong)
    assert all(map(torch.equal, before, [layer.h, layer.J, layer.log_z]))


def test_parametrized_couplings_learn(layer):
    class Halved(nn.Module):
        def forward(self, x):
            return x / 2

    parametrize.register_parametrization(layer, "J", Halved())
    Loss(layer, exact_negative(layer))(SPINS).backward()
    expected = enumerated_gradient(layer, SPINS)[1] / 2
    torch.testing.assert_close(layer.parametrizations.J.original.grad, expected)


def test_empty_batch(layer):
    assert layer.free_energy(SPINS[:0]).shape == layer(SPINS[:0]).shape == (0,)
    assert layer.from_visible(SPINS[:0]).shape == (0, 4)
    layer(SPINS[:0]).sum().backward()
    assert not layer.h.grad.any()


def test_lbfgs_reaches_the_gradient_zero(layer):
    def closure():
        optimizer.zero_grad()
        loss = Loss(layer, exact_negative(layer))(data)
        loss.backward()
        return loss

    data = torch.cat([SPINS, all_states(4)])
    before = max(g.abs().max() for g in enumerated_gradient(layer, data))
    optimizer = torch.optim.LBFGS(layer.parameters(), lr=0.5, max_iter=40)
    optimizer.step(closure)
    assert max(g.abs().max() for g in enumerated_gradient(layer, data)) < before / 20


def test_averaged_model_has_the_right_log_z_once_it_is_estimated(layer):
    averaged = torch.optim.swa_utils.AveragedModel(layer)
    with torch.no_grad():
        layer.h.add_(2)
    averaged.update_parameters(layer)
    averaged.module.estimate_log_z()
    exact = exact_log_partition(averaged.module.ising().detach())
    torch.testing.assert_close(averaged.module.log_z, exact)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_the_same_values(layer, copied):
    assert torch.equal(copied(layer)(SPINS), layer(SPINS))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_learn_and_are_clipped(layer, dtype):
    layer.to(dtype)
    layer(SPINS.to(dtype)).mean().backward()
    nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
    norm = nn.utils.parameters_to_vector(p.grad for p in layer.parameters()).double().norm()
    assert layer.h.grad.dtype == dtype
    assert norm == pytest.approx(0.1, rel=0.02)
