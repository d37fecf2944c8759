import math

import pytest
import torch

from qahm_torch import CouplingGraph, QuantumPriorLayer, SemiQuantumPrior
from qahm_torch.systems import SemiQuantumUnits, reproduce

F64 = torch.float64
PAULI = torch.stack(
    [
        torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
        torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
        torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    ]
)


def prior_of(num_operators, scale=1.0):
    torch.manual_seed(0)
    prior = SemiQuantumPrior(4, 3, num_operators).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape))
    return prior


def all_visible():
    return torch.cartesian_prod(*torch.tensor([-1.0, 1.0], dtype=F64).expand(4, -1))


def traced(prior):
    r"""Returns log p of all visible states, by traces over all qubits at once."""
    weights = []
    for v in all_visible():
        hamiltonian = (v @ prior.visible_field) * torch.eye(8, dtype=torch.complex128)
        for j in range(3):
            for p in range(prior.coupling.shape[-1]):
                factors = [torch.eye(2, dtype=torch.complex128)] * 3
                factors[j] = PAULI[p]
                operator = torch.kron(torch.kron(factors[0], factors[1]), factors[2])
                field = prior.hidden_field[j, p] + v @ prior.coupling[:, j, p]
                hamiltonian = hamiltonian + field * operator
        weights.append(torch.linalg.matrix_exp(-hamiltonian).diagonal().sum().real)
    weights = torch.stack(weights).detach()
    return (weights / weights.sum()).log()


@pytest.mark.parametrize("num_operators", [1, 2, 3])
def test_likelihood_is_that_of_the_density_matrix(num_operators):
    prior = prior_of(num_operators)
    torch.testing.assert_close(prior(all_visible()).detach(), traced(prior))


def test_operators_that_commuted_would_be_found():
    prior = prior_of(2)
    fields = prior.hidden_field + torch.einsum("si,ijp->sjp", all_visible(), prior.coupling)
    commuting = fields.sum(-1).cosh().log().sum(-1) - all_visible() @ prior.visible_field
    wrong = commuting.log_softmax(0).detach()
    assert (wrong - traced(prior)).abs().max() > 0.1


def test_one_operator_is_the_classical_machine():
    prior = prior_of(1)
    graph = CouplingGraph.bipartite(4, 3)
    layer = QuantumPriorLayer(graph, hidden=[4, 5, 6]).double()
    i, j = graph.edges.unbind(-1)
    with torch.no_grad():
        layer.h.copy_(torch.cat([prior.visible_field, prior.hidden_field[:, 0]]))
        layer.J.copy_(prior.coupling[i, j - 4, 0])
    layer.estimate_log_z()
    torch.testing.assert_close(prior(all_visible()), layer(all_visible()))


def test_samples_follow_it():
    prior = prior_of(2, scale=0.3)
    generator = torch.Generator().manual_seed(0)
    spins = prior.sample(20_000, generator=generator)
    found = (spins.unsqueeze(1) == all_visible()).all(-1).double().mean(0)
    law = prior(all_visible()).detach().exp()
    errors = (found - law) / (law * (1 - law) / 20_000).sqrt()
    assert errors.abs().max() < 5
    assert ((found - law.flip(0)) / (law / 20_000).sqrt()).abs().max() > 5


def test_the_gradient_is_finite_where_a_field_vanishes():
    prior = SemiQuantumPrior(2, 1)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.zero_()
    prior(torch.ones(1, 2)).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in prior.parameters())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_visible": 17}, "num_visible is 17, but"),
        ({"num_operators": 4}, "num_operators is 4, but"),
        ({"num_hidden": 0}, "num_hidden is 0, but"),
    ],
)
def test_impossible_settings_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        SemiQuantumPrior(**{"num_visible": 4, "num_hidden": 2, **settings})


def test_fewer_units_and_not_fewer_parameters(tmp_path):
    report = reproduce(SemiQuantumUnits.small(), tmp_path)
    rows = {(row["operators"], row["hidden"]): row for row in report["rows"]}
    assert report["best"] == pytest.approx(-math.log(14))
    quantum, classical, larger = rows[2, 3], rows[1, 3], rows[1, 6]
    assert quantum["nats_range"][0] > classical["nats_range"][1] + 0.5
    assert abs(quantum["nats"] - larger["nats"]) < 0.3
    assert quantum["num_parameters"] == larger["num_parameters"]
