r"""The oracle: exact quantities of small models by enumeration or diagonalization."""

from __future__ import annotations

__all__ = [
    "MAX_CLASSICAL_SPINS",
    "MAX_QUANTUM_SPINS",
    "all_states",
    "exact_log_partition",
    "exact_log_probs",
    "exact_moments",
]

from typing import Any

import torch
from torch import Tensor

from qahm_torch.ising.derivatives import only_once
from qahm_torch.ising.model import Ising, Moments, moments

MAX_CLASSICAL_SPINS = 20
MAX_QUANTUM_SPINS = 12


def all_states(
    num_spins: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    r"""Returns all spin states of shape (2^N, N); spin i of state k is bit i of k."""
    index = torch.arange(2**num_spins, device=device).unsqueeze(-1)
    bits = (index >> torch.arange(num_spins, device=device)) & 1
    return bits.to(dtype) * 2 - 1


def exact_log_partition(ising: Ising) -> Tensor:
    r"""Returns :math:`\log \operatorname{Tr} e^{-H}`, differentiable in h, J and Gamma.

    Raises:
        ValueError: If the model has more spins than can be enumerated (20 classical, 12 with a
            transverse field).
    """
    if ising.is_classical:
        return torch.logsumexp(_classical_log_weights(ising), 0)
    return torch.logsumexp(-torch.linalg.eigvalsh(_hamiltonian(ising)), 0)


def exact_log_probs(ising: Ising) -> Tensor:
    r"""Returns :math:`\log \langle s | e^{-H} | s \rangle / Z` for all states, of shape (2^N,).

    The order is that of `all_states`. Differentiable in h, J and Gamma; twice only where there is
    no transverse field.

    Raises:
        ValueError: If the model has too many spins (see `exact_log_partition`).
    """
    if ising.is_classical:
        return torch.log_softmax(_classical_log_weights(ising), 0)
    return torch.log_softmax(_LogDiagonal.apply(_hamiltonian(ising))[0], 0)


def exact_moments(ising: Ising) -> Moments:
    r"""Returns the exact moments of the model.

    Raises:
        ValueError: If the model has too many spins (see `exact_log_partition`).
    """
    states = all_states(ising.num_spins, ising.h.dtype, ising.h.device)
    return moments(ising.graph, states, exact_log_probs(ising).exp())


class _LogDiagonal(torch.autograd.Function):
    r"""The logarithm of the diagonal of :math:`e^{-H}`, up to a constant.

    With eigenvalues :math:`\lambda` and eigenvectors V, and :math:`\circ` the product by elements,

    .. math::
        d e^{-H} = -V (F \circ V^T dH \, V) V^T, \qquad
        F_{kl} = \int_0^1 e^{-t \lambda_k - (1 - t) \lambda_l} \, dt
        = e^{-(\lambda_k + \lambda_l) / 2} \, \frac{\sinh \delta}{\delta}, \quad
        \delta = \frac{\lambda_k - \lambda_l}{2},

    which holds at degenerate levels too, where the derivative of the eigenvectors does not.

    References:
        | Functions of matrices: theory and computation (Higham, 2008), theorem 3.11
        | https://doi.org/10.1137/1.9780898717778
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(hamiltonian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels, vectors = torch.linalg.eigh(hamiltonian)
        levels = levels - levels[0]
        return (vectors.square() * torch.exp(-levels)).sum(-1).log(), levels, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        log_diagonal, levels, vectors = output
        ctx.mark_non_differentiable(levels, vectors)
        ctx.save_for_backward(*inputs, levels, vectors, log_diagonal)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> Tensor:
        hamiltonian, levels, vectors, log_diagonal = ctx.saved_tensors
        diagonal = log_diagonal.detach().exp()
        weighted = vectors.T @ ((grad.detach() / diagonal).unsqueeze(-1) * vectors)
        gradient = -(vectors @ (_divided(levels) * weighted) @ vectors.T)
        why = "exact_log_probs has no second derivative with a transverse field"
        return only_once(gradient, hamiltonian, why)


def _divided(levels: Tensor) -> Tensor:
    r"""Returns :math:`(e^{-\lambda_l} - e^{-\lambda_k}) / (\lambda_k - \lambda_l)`, (K, K)."""
    gap = (levels - levels.unsqueeze(-1)).abs()
    least = torch.minimum(levels, levels.unsqueeze(-1))
    tiny = torch.finfo(levels.dtype).eps
    return torch.exp(-least) * torch.where(gap < tiny, 1.0, -torch.expm1(-gap) / gap.clamp(tiny))


def _classical_log_weights(ising: Ising) -> Tensor:
    n = ising.num_spins
    if n > MAX_CLASSICAL_SPINS:
        raise ValueError(
            f"{n} spins are too many to enumerate; the limit is {MAX_CLASSICAL_SPINS}"
        )
    # The low spins repeat for every setting of the high ones, so the cost is 2^N products with
    # the cross couplings only, instead of 2^N full energies.
    low = min(n, 10)
    states = all_states(low, ising.h.dtype, ising.h.device)
    couplings = ising.upper_couplings()
    couplings = torch.triu(couplings + couplings.T, 1)
    energy = _energies(states, ising.h[:low], couplings[:low, :low])
    if n == low:
        return -energy
    high = all_states(n - low, ising.h.dtype, ising.h.device)
    high_energy = _energies(high, ising.h[low:], couplings[low:, low:])
    cross = high @ couplings[:low, low:].T @ states.T
    return -(high_energy.unsqueeze(-1) + energy + cross).flatten()


def _energies(states: Tensor, h: Tensor, upper: Tensor) -> Tensor:
    return (states * (h + states @ upper)).sum(-1)


def _hamiltonian(ising: Ising) -> Tensor:
    n = ising.num_spins
    if n > MAX_QUANTUM_SPINS:
        raise ValueError(
            f"{n} spins with a transverse field are too many to diagonalize; "
            f"the limit is {MAX_QUANTUM_SPINS}"
        )
    assert ising.gamma is not None
    classical = Ising(ising.graph, ising.h, ising.J)
    matrix = torch.diag(-_classical_log_weights(classical))
    index = torch.arange(2**n, device=ising.h.device)
    for spin in range(n):
        flip = torch.zeros_like(matrix)
        flip[index, index ^ (1 << spin)] = 1
        matrix = matrix - ising.gamma[spin] * flip
    return matrix
