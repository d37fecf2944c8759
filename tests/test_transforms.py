r"""Derivatives of the package's own under torch.func: right, or refused by a sentence."""

import pytest
import torch
from torch.func import functional_call, grad, vmap

from qahm_torch import (
    ConditionalBoltzmann,
    CouplingGraph,
    Ising,
    QuantumGibbsPrior,
    QuantumPriorLayer,
    exact_log_partition,
    exact_log_probs,
)
from qahm_torch.ising.transforms import is_transformed

GRAPH = CouplingGraph.complete(3)
FIELD = torch.tensor([0.5, 1.0, 0.2], dtype=torch.float64)
SPINS = torch.tensor([[1.0, -1, 1], [-1, -1, 1]])


def rows_of(num_rows, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_rows, size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("gamma", [None, FIELD], ids=["classical", "field"])
@pytest.mark.parametrize("function", [exact_log_probs, exact_log_partition])
def test_enumeration_has_the_derivatives_of_torch_autograd(function, gamma):
    def value(h, J):
        return function(Ising(GRAPH, h, J, gamma)).flatten()[-1]

    h, J = rows_of(4, 3), rows_of(4, 3, seed=1)
    found = vmap(grad(value, argnums=(0, 1)))(h, J)
    for k in range(4):
        parameters = [p[k].clone().requires_grad_() for p in (h, J)]
        expected = torch.autograd.grad(value(*parameters), parameters)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one[k], other)
    torch.testing.assert_close(vmap(value)(h, J)[0], value(h[0], J[0]))


def test_so_has_the_law_of_a_quantum_machine():
    prior = QuantumGibbsPrior(3, gamma=FIELD).double()
    spins, parameters = SPINS.double(), dict(prior.named_parameters())

    def value(p, row):
        return functional_call(prior, p, (row,))

    found = vmap(grad(value), (None, 0))(parameters, spins)
    for k, row in enumerate(spins):
        expected = torch.autograd.grad(prior(row), parameters.values())
        for name, other in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found[name][k], other)


SAMPLED = {
    "lines": (lambda: QuantumGibbsPrior(3, exact=False), "draw world lines"),
    "hidden": (
        lambda: QuantumPriorLayer(14, hidden=range(3, 14)),
        "sample a large group of hidden units",
    ),
    "rows": (lambda: ConditionalBoltzmann([3, 3]), "tell rows apart"),
}


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("transform", ["grad", "vmap"])
def test_what_is_sampled_is_refused(kind, transform):
    build, why = SAMPLED[kind]
    module = build()
    parameters = dict(module.named_parameters())

    def value(p, spins):
        if isinstance(module, ConditionalBoltzmann):
            return functional_call(Rows(module), {f"rows.{k}": v for k, v in p.items()}, spins)
        return functional_call(module, p, (spins,)).sum()

    with pytest.raises(RuntimeError, match=f"torch.func must not {why}.*use torch.autograd"):
        if transform == "grad":
            grad(value)(parameters, SPINS)
        else:
            vmap(value, (None, 0))(parameters, SPINS.unsqueeze(1))


class Rows(torch.nn.Module):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, spins):
        return self.rows.log_prob([spins, spins]).sum()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_transform_is_seen_also_without_the_function_of_torch(is_there, monkeypatch):
    if not is_there:
        monkeypatch.delattr(torch._C, "_are_functorch_transforms_active")
    seen = []

    def value(x):
        seen.append(is_transformed(x))
        return x.sum()

    x = torch.ones(3, 2)
    value(x), grad(value)(x), vmap(value)(x), vmap(grad(value))(x), value(x.requires_grad_())
    assert seen == [False, True, True, True, False]
