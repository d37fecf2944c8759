import pytest
import torch
from models import F64, law, random_ising

from qahm_torch import CouplingGraph, Ising
from qahm_torch.ising import all_states, exact_log_partition, exact_log_probs, exact_moments

X = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=F64)
Z = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=F64)  # bit 1 is spin +1
ONE = torch.eye(2, dtype=F64)


def operator(factors, n):
    r"""The Kronecker product in which spin i is bit i."""
    matrix = torch.ones(1, 1, dtype=F64)
    for spin in range(n):
        matrix = torch.kron(factors.get(spin, ONE), matrix)
    return matrix


def density(ising):
    n = ising.num_spins
    H = torch.zeros(2**n, 2**n, dtype=F64)
    for i in range(n):
        H += ising.h[i] * operator({i: Z}, n) - ising.gamma[i] * operator({i: X}, n)
    for coupling, (i, j) in zip(ising.J, ising.graph.edges.tolist(), strict=True):
        H += coupling * operator({i: Z, j: Z}, n)
    return torch.linalg.matrix_exp(-H)


def test_states_count_up_in_bits():
    assert all_states(2).tolist() == [[-1, -1], [1, -1], [-1, 1], [1, 1]]


@pytest.mark.parametrize("n", [3, 12])
def test_classical_law(n):
    ising = random_ising(CouplingGraph.complete(n), seed=n)
    torch.testing.assert_close(exact_log_probs(ising).exp(), law(ising))
    energies = ising.energy(all_states(n))
    torch.testing.assert_close(exact_log_partition(ising), torch.logsumexp(-energies, 0))


def test_law_of_edges_written_backwards():
    graph = CouplingGraph(12, [(11, 0), (5, 2), (3, 10)])
    torch.testing.assert_close(
        exact_log_probs(random_ising(graph)).exp(), law(random_ising(graph))
    )


def test_quantum_law_is_the_diagonal_of_the_density_matrix():
    ising = random_ising(CouplingGraph.complete(4), gamma=torch.tensor([0.3, 1.0, 0.0, 2.0]))
    rho = density(ising)
    torch.testing.assert_close(exact_log_partition(ising), rho.trace().log())
    torch.testing.assert_close(exact_log_probs(ising).exp(), rho.diagonal() / rho.trace())


def test_small_gamma_tends_to_the_classical_law():
    graph = CouplingGraph.complete(4)
    quantum = exact_log_probs(random_ising(graph, gamma=1e-4))
    torch.testing.assert_close(quantum, exact_log_probs(random_ising(graph)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [None, 0.7])
def test_moments_are_the_gradient_of_log_z(gamma):
    graph = CouplingGraph.complete(4)
    ising = random_ising(graph, gamma=gamma)
    h, J = ising.h.requires_grad_(), ising.J.requires_grad_()
    exact_log_partition(Ising(graph, h, J, gamma)).backward()
    mean, correlation = exact_moments(ising.detach())
    torch.testing.assert_close(-h.grad, mean)
    torch.testing.assert_close(-J.grad, correlation)


def test_too_many_spins_are_refused():
    with pytest.raises(ValueError, match="21 spins are too many"):
        exact_log_partition(random_ising(CouplingGraph(21, [])))
    with pytest.raises(ValueError, match="13 spins with a transverse field"):
        exact_log_partition(random_ising(CouplingGraph(13, []), gamma=1.0))
