import torch
from models import F64, random_ising

from qahm_torch import CouplingGraph, log_partition
from qahm_torch.ising import exact_moments


def test_value_and_gradient_and_one_call_in_backward():
    ising = random_ising(CouplingGraph.complete(3))
    h, J = ising.h.requires_grad_(), ising.J.requires_grad_()
    calls = []

    def negative_phase():
        calls.append(1)
        return exact_moments(ising.detach())

    value = log_partition(h, J, torch.tensor(1.5, dtype=F64), negative_phase)
    assert value.item() == 1.5 and not calls
    (2 * value).backward()
    mean, correlation = exact_moments(ising.detach())
    assert len(calls) == 1
    torch.testing.assert_close(h.grad, -2 * mean)
    torch.testing.assert_close(J.grad, -2 * correlation)
