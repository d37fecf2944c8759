r"""State vectors of quantum circuits, layer by layer, written for autograd and for batches."""

from __future__ import annotations

__all__ = ["LAYERS", "ROTATIONS", "amplitudes", "apply_gates", "hadamards", "layer_angles"]

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qahm_torch.ising import all_states

ROTATIONS = ("RX", "RY", "RZ")
LAYERS = (*ROTATIONS, "CZ", "CNOT", "XX")
# Gates of so many qubits are one matrix, which is quicker than one gate after the other.
QUBITS_PER_MATRIX = 4


def layer_angles(layer: str, num_qubits: int) -> int:
    r"""Returns the number of angles of a layer.

    Arguments:
        layer: One of `LAYERS`: "RX", "RY" and "RZ" rotate each qubit by an angle of its own,
            :math:`e^{-i \theta P / 2}`; "XX" is :math:`e^{-i \theta XX / 2}` on each pair; "CZ"
            and "CNOT" act on neighbors of a line and have no angle.
        num_qubits: The number of qubits.

    Raises:
        ValueError: If there is no such layer.
    """
    if layer not in LAYERS:
        raise ValueError(f"a layer is {layer!r}, but layers are {', '.join(LAYERS)}")
    if layer == "XX":
        return num_qubits * (num_qubits - 1) // 2
    return num_qubits if layer in ROTATIONS else 0


def amplitudes(layers: Sequence[str], angles: Tensor, num_qubits: int) -> Tensor:
    r"""Returns the state that a circuit makes of :math:`|0 \dots 0\rangle`.

    Arguments:
        layers: The layers, the first one first (see `layer_angles`).
        angles: Their angles one layer after the other, of shape (*, P); those of "XX" are of the
            pairs (0, 1), (0, 2), ..., (1, 2), ...
        num_qubits: The number of qubits N.

    Returns:
        Complex amplitudes of shape (*, 2^N); qubit i is bit i of the index, as in `all_states`.
    """
    counts = [layer_angles(layer, num_qubits) for layer in layers]
    state = torch.zeros(*angles.shape[:-1], 2**num_qubits, dtype=angles.dtype.to_complex())
    state = state.to(angles.device)
    state[..., 0] = 1
    waiting: Tensor | None = None  # rotations that are one gate with those that follow
    for layer, own in zip(layers, angles.split(counts, -1), strict=True):
        if layer in ROTATIONS:
            gates = _rotations(layer, own)
            waiting = gates if waiting is None else gates @ waiting
            continue
        state, waiting = _rotated(state, waiting), None
        state = _entangled(layer, state, own)
    return _rotated(state, waiting)


def apply_gates(state: Tensor, gates: Tensor) -> Tensor:
    r"""Returns the state after a gate on each qubit.

    Arguments:
        state: Amplitudes of shape (*, 2^N).
        gates: A matrix for each qubit, of shape (*, N, 2, 2).
    """
    shape = state.shape
    for group in gates.split(QUBITS_PER_MATRIX, -3):
        # The lowest qubits become the highest, so that all have had their turn as the lowest,
        # and are in order again, at the end.
        matrix = functools.reduce(_kron, group.unbind(-3))
        rows = state.view(*shape[:-1], -1, matrix.shape[-1])
        state = (matrix @ rows.mT).reshape(shape)
    return state


def hadamards(num_qubits: int, like: Tensor) -> Tensor:
    r"""Returns a Hadamard gate for each qubit, (N, 2, 2), of the dtype and device of another."""
    gate = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).to(like) / math.sqrt(2)
    return gate.expand(num_qubits, 2, 2)


def _rotated(state: Tensor, gates: Tensor | None) -> Tensor:
    return state if gates is None else apply_gates(state, gates)


def _kron(low: Tensor, high: Tensor) -> Tensor:
    r"""Returns the matrix (*, A B, A B) of gates (*, A, A) on low and (*, B, B) on high qubits."""
    product = high[..., :, None, :, None] * low[..., None, :, None, :]
    size = high.shape[-1] * low.shape[-1]
    return product.reshape(*product.shape[:-4], size, size)


def _rotations(layer: str, angles: Tensor) -> Tensor:
    r"""Returns matrices of shape (*, N, 2, 2)."""
    cos, sin = torch.cos(angles / 2), torch.sin(angles / 2)
    zero = torch.zeros_like(cos)
    if layer == "RZ":
        low, high = torch.complex(cos, -sin), torch.complex(cos, sin)
        rows = [low, torch.zeros_like(low), torch.zeros_like(low), high]
    elif layer == "RY":
        rows = [torch.complex(part, zero) for part in (cos, -sin, sin, cos)]
    else:
        across = torch.complex(zero, -sin)
        rows = [torch.complex(cos, zero), across, across, torch.complex(cos, zero)]
    return torch.stack(rows, -1).view(*angles.shape, 2, 2)


def _entangled(layer: str, state: Tensor, angles: Tensor) -> Tensor:
    num_qubits = state.shape[-1].bit_length() - 1
    if layer == "CNOT":
        return state[..., _cnot_sources(num_qubits).to(state.device)]
    if layer == "CZ":
        return state * _cz_signs(num_qubits).to(state.device, state.real.dtype)
    # The gates commute, and are phases in the basis of X.
    turn = hadamards(num_qubits, state)
    half = _pair_sums(angles, num_qubits) / 2
    return apply_gates(
        apply_gates(state, turn) * torch.complex(torch.cos(half), -torch.sin(half)), turn
    )


def _pair_sums(angles: Tensor, num_qubits: int) -> Tensor:
    r"""Returns the sum of angle times spins over pairs, for all states: (*, P) -> (*, 2^N)."""
    states = _states(num_qubits).to(angles)
    i, j = torch.triu_indices(num_qubits, num_qubits, 1, device=angles.device)
    places = (i * num_qubits + j).expand(angles.shape)
    matrix = angles.new_zeros(*angles.shape[:-1], num_qubits**2).scatter(-1, places, angles)
    matrix = matrix.view(*angles.shape[:-1], num_qubits, num_qubits)
    return ((states @ matrix) * states).sum(-1)


@functools.lru_cache(maxsize=4)
def _states(num_qubits: int) -> Tensor:
    return all_states(num_qubits, torch.float32)


@functools.lru_cache(maxsize=4)
def _cz_signs(num_qubits: int) -> Tensor:
    ones = _states(num_qubits) > 0
    both = (ones[:, 1:] & ones[:, :-1]).sum(-1)
    return 1.0 - 2.0 * (both % 2)


@functools.lru_cache(maxsize=4)
def _cnot_sources(num_qubits: int) -> Tensor:
    r"""Returns, for each state, that which becomes it by CNOT from 0 to 1, from 1 to 2, ..."""
    sources = torch.arange(2**num_qubits)
    # Backward, since the last gate is the first to be undone.
    for control in range(num_qubits - 2, -1, -1):
        sources = sources ^ ((sources >> control & 1) << (control + 1))
    return sources
