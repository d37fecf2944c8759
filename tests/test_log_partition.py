import pytest
import torch
from models import F64, random_ising

from qahm_torch import CouplingGraph, Ising, QuantumPriorLayer, Samples, log_partition
from qahm_torch.ising import all_states, exact_log_partition, exact_log_probs, exact_moments


def test_value_and_gradient_and_one_call_in_backward():
    ising = random_ising(CouplingGraph.complete(3))
    h, J = ising.h.requires_grad_(), ising.J.requires_grad_()
    calls = []

    def negative_phase(h, J):
        calls.append(1)
        return exact_moments(Ising(ising.graph, h, J).detach())

    value = log_partition(h, J, torch.tensor(1.5, dtype=F64), negative_phase)
    assert value.item() == 1.5 and not calls
    (2 * value).backward()
    mean, correlation = exact_moments(ising.detach())
    assert len(calls) == 1
    torch.testing.assert_close(h.grad, -2 * mean)
    torch.testing.assert_close(J.grad, -2 * correlation)


def test_moments_without_a_gradient_have_no_second_derivative():
    ising = random_ising(CouplingGraph.complete(3))
    h, J = ising.h.requires_grad_(), ising.J.requires_grad_()
    value = log_partition(h, J, torch.tensor(0.0), lambda h, J: exact_moments(ising.detach()))
    (gradient,) = torch.autograd.grad(value, h, create_graph=True)
    with pytest.raises(RuntimeError, match="needs moments with a gradient"):
        gradient.sum().backward()


def test_second_derivative_of_the_layer_is_exact_given_exact_samples():
    ising = random_ising(CouplingGraph.complete(4), seed=3)
    layer = QuantumPriorLayer(ising.graph).double()
    with torch.no_grad():
        layer.h.copy_(ising.h)
        layer.J.copy_(ising.J)
    states = all_states(4)
    samples = Samples(states, weights=exact_log_probs(ising).exp())

    def hessian(value, parameters):
        (first,) = torch.autograd.grad(value, parameters, create_graph=True)
        rows = [torch.autograd.grad(g, parameters, retain_graph=True)[0] for g in first]
        return torch.stack(rows)

    J = ising.J.clone().requires_grad_()
    expected = hessian(exact_log_partition(Ising(ising.graph, ising.h, J)), J)
    found = hessian(layer.log_partition(samples), layer.J)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_second_derivative_with_a_transverse_field_is_refused():
    layer = QuantumPriorLayer(4, gamma=0.5, num_samples=16)
    with pytest.raises(RuntimeError, match="second derivatives of log Z need gamma = 0"):
        torch.autograd.grad(layer.log_partition(), layer.h, create_graph=True)
