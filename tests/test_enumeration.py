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


DEGENERATE = {
    "free spins": (0.0, 0.0, 1.0),
    "uniform ferromagnet": (0.0, -0.5, 0.7),
    "uniform field": (0.3, 0.0, 0.4),
    "random": (None, None, 1.2),
}


def log_law(graph, h, J, gamma):
    r"""The logarithm of the diagonal of the density matrix, by torch's own matrix exponential."""
    rho = density(Ising(graph, h, J, gamma))
    return (rho.diagonal() / rho.trace()).log()


@pytest.mark.parametrize("case", DEGENERATE)
def test_gradient_of_the_quantum_law_holds_where_levels_are_degenerate(case):
    h, J, gamma = DEGENERATE[case]
    graph = CouplingGraph.complete(3)
    start = random_ising(graph)
    parameters = [
        (start.h if h is None else torch.full((3,), h, dtype=F64)).requires_grad_(),
        (start.J if J is None else torch.full((3,), J, dtype=F64)).requires_grad_(),
        torch.full((3,), gamma, dtype=F64, requires_grad=True),
    ]
    weights = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=F64)
    ours, theirs = (
        torch.autograd.grad((weights * law_of(graph, *parameters)).sum(), parameters)
        for law_of in (lambda *p: exact_log_probs(Ising(*p)), log_law)
    )
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_second_derivatives_of_the_quantum_law_are_refused():
    graph = CouplingGraph.complete(3)
    J = torch.ones(3, dtype=F64, requires_grad=True)
    value = exact_log_probs(Ising(graph, torch.zeros(3, dtype=F64), J, gamma=1.0))[0]
    (gradient,) = torch.autograd.grad(value, J, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative with a transverse field"):
        gradient.sum().backward()


def test_too_many_spins_are_refused():
    with pytest.raises(ValueError, match="21 spins are too many"):
        exact_log_partition(random_ising(CouplingGraph(21, [])))
    with pytest.raises(ValueError, match="13 spins with a transverse field"):
        exact_log_partition(random_ising(CouplingGraph(13, []), gamma=1.0))
