import functools
import math

import pytest
import torch

from qahm_torch.kernels.state_vector import LAYERS, amplitudes, apply_gates, layer_angles

C128 = torch.complex128
EYE = torch.eye(2, dtype=C128)
PAULI = {
    "X": torch.tensor([[0, 1], [1, 0]], dtype=C128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=C128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=C128),
}
CIRCUITS = [
    *([layer, "RX", "RZ", layer, "RY"] for layer in LAYERS),
    ["RX", "RY", "RZ", "XX", "CNOT", "RY", "CZ", "RX"],
    ["XX"],
]


def on(operators, num_qubits):
    r"""Returns the matrix of operators by qubit; qubit 0 is the lowest bit, so the last factor."""
    factors = [operators.get(q, EYE) for q in reversed(range(num_qubits))]
    return functools.reduce(torch.kron, factors)


def gates_of(layer, angles, n):
    r"""Returns the matrices of a layer, the first one first."""
    if layer == "XX":
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
        generators = [on({i: PAULI["X"], j: PAULI["X"]}, n) for i, j in pairs]
    elif layer in ("CZ", "CNOT"):
        target = PAULI["Z" if layer == "CZ" else "X"]
        one = torch.diag(torch.tensor([0, 1], dtype=C128))
        zero = EYE - one
        return [on({q: zero}, n) + on({q: one, q + 1: target}, n) for q in range(n - 1)]
    else:
        generators = [on({q: PAULI[layer[1]]}, n) for q in range(n)]
    return [torch.linalg.matrix_exp(-0.5j * a * g) for a, g in zip(angles, generators)]


def by_matrices(layers, angles, n):
    state = torch.zeros(2**n, dtype=C128)
    state[0] = 1
    for layer, own in zip(layers, angles.split([layer_angles(la, n) for la in layers])):
        for gate in gates_of(layer, own, n):
            state = gate @ state
    return state


def random_angles(layers, n, *shape):
    generator = torch.Generator().manual_seed(0)
    size = sum(layer_angles(layer, n) for layer in layers)
    return torch.randn(*shape, size, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("layers", CIRCUITS, ids="-".join)
@pytest.mark.parametrize("num_qubits", [1, 3, 5])
def test_amplitudes_are_those_of_matrices(layers, num_qubits):
    angles = random_angles(layers, num_qubits)
    expected = by_matrices(layers, angles, num_qubits)
    torch.testing.assert_close(amplitudes(layers, angles, num_qubits), expected)


def test_other_angles_would_be_found():
    angles = random_angles(CIRCUITS[-2], 3)
    wrong = by_matrices(CIRCUITS[-2], -angles, 3)
    assert (amplitudes(CIRCUITS[-2], angles, 3) - wrong).abs().max() > 0.1


def test_batches_are_circuits_of_their_own():
    layers = CIRCUITS[-2]
    angles = random_angles(layers, 4, 2, 3)
    rows = [amplitudes(layers, row, 4) for row in angles.flatten(0, 1)]
    torch.testing.assert_close(amplitudes(layers, angles, 4), torch.stack(rows).view(2, 3, -1))


def test_gates_of_many_qubits_keep_their_order():
    n = 9
    flips = torch.stack([PAULI["X"] if q in (0, 5) else EYE for q in range(n)])
    state = torch.zeros(2**n, dtype=C128)
    state[0] = 1
    assert apply_gates(state, flips).abs().argmax() == 1 + 2**5


@pytest.mark.parametrize("layers", CIRCUITS, ids="-".join)
def test_gradients_are_those_of_finite_differences(layers):
    angles = random_angles(layers, 3).requires_grad_()
    weights = torch.arange(8.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a: (amplitudes(layers, a, 3).abs().square() * weights).sum(), angles
    )


def test_lengths_stay_1():
    layers = ["RX", "RZ", "XX", "CZ", "RY"] * 20
    state = amplitudes(layers, random_angles(layers, 6).float(), 6)
    assert state.dtype == torch.complex64
    assert math.isclose(state.abs().square().sum().item(), 1, abs_tol=1e-4)


def test_an_unknown_layer_is_told():
    with pytest.raises(ValueError, match="a layer is 'RXX', but layers are RX, RY, RZ"):
        layer_angles("RXX", 3)
