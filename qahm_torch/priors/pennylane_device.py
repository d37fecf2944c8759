r"""Circuits run by a device of PennyLane, which is an optional package."""

from __future__ import annotations

__all__ = ["PennyLanePrior"]

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qahm_torch.kernels.state_vector import ROTATIONS, layer_angles
from qahm_torch.priors.circuit import CircuitPrior


class PennyLanePrior(CircuitPrior):
    r"""A `CircuitPrior` whose circuit is run by a device of PennyLane: a simulator or a machine.

    `read`, and with it `sample` and `SampledMMD`, ask the device for shots. `probabilities`, and
    with it the likelihood, need a device that gives probabilities without shots, as simulators
    do; their gradient is PennyLane's. It has the same parameters as a `CircuitPrior`, so that the
    state dict of one loads into the other. `pip install qahm_torch[pennylane]` brings PennyLane.

    Arguments:
        num_visible: The number of qubits, at most 16.
        layers: The layers of the circuit (see `CircuitPrior`).
        num_samples: The number of samples of an update.
        scale: The standard deviation of the first angles.
        device: A device of PennyLane with wires 0 to N - 1, or its name.

    Raises:
        ImportError: If PennyLane is not installed.
        ValueError: If a setting of `CircuitPrior` is out of its range; in a likelihood, if the
            device takes shots.

    References:
        | PennyLane: automatic differentiation of hybrid quantum-classical computations (Bergholm
          et al., 2018)
        | https://arxiv.org/abs/1811.04968
    """

    def __init__(
        self,
        num_visible: int,
        layers: Sequence[str],
        num_samples: int = 1024,
        scale: float = 0.5,
        device: Any = "default.qubit",
    ):
        qml = _import_pennylane()
        super().__init__(num_visible, layers, num_samples, scale)
        if isinstance(device, str):
            device = qml.device(device, wires=num_visible)
        self.device = device

    def probabilities(self, angles: Tensor | None = None) -> Tensor:
        qml = _import_pennylane()
        if getattr(self.device, "shots", None):
            raise ValueError(
                f"the device takes {self.device.shots}, but a likelihood needs probabilities: a"
                " circuit on it is trained by SampledMMD"
            )

        def read_law(row: Tensor) -> Any:
            self._gates(row)
            # The first wire that is told is the highest bit of the index.
            return qml.probs(wires=range(self.num_visible - 1, -1, -1))

        circuit = qml.QNode(read_law, self.device, interface="torch")
        angles = self.angles if angles is None else angles
        rows = [circuit(row) for row in angles.reshape(-1, angles.shape[-1])]
        law = torch.stack(rows).view(*angles.shape[:-1], -1)
        return law.to(angles.dtype)

    @torch.no_grad()
    def read(
        self, num_samples: int, angles: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns readings by shots of the device, whose randomness is its own."""
        qml = _import_pennylane()

        def read_shots(row: Tensor) -> Any:
            self._gates(row)
            return qml.sample(wires=range(self.num_visible))

        circuit = qml.QNode(read_shots, self.device, interface="torch")
        circuit = qml.set_shots(circuit, shots=num_samples)
        bits = torch.stack([torch.as_tensor(circuit(row)) for row in angles])
        return bits.to(angles) * 2 - 1

    @torch.no_grad()
    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        return self.read(num_samples, self.angles[None], generator=generator)[0]

    def _gates(self, angles: Tensor) -> None:
        qml = _import_pennylane()
        num = self.num_visible
        pairs = torch.triu_indices(num, num, 1).T.tolist()
        counts = [layer_angles(layer, num) for layer in self.layers]
        for layer, own in zip(self.layers, angles.split(counts), strict=True):
            if layer in ROTATIONS:
                for qubit, angle in enumerate(own):
                    getattr(qml, layer)(angle, wires=qubit)
            elif layer == "XX":
                for pair, angle in zip(pairs, own, strict=True):
                    qml.IsingXX(angle, wires=pair)
            else:
                for qubit in range(num - 1):
                    getattr(qml, layer)(wires=[qubit, qubit + 1])


def _import_pennylane() -> Any:
    r"""Returns the package, which is imported only where a device of it is wanted."""
    try:
        return importlib.import_module("pennylane")
    except ImportError as error:
        raise ImportError(
            "PennyLanePrior needs PennyLane: pip install qahm_torch[pennylane]"
        ) from error
