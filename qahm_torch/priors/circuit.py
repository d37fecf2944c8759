r"""Born machines of parameterized circuits, simulated by their state vector."""

from __future__ import annotations

__all__ = ["CircuitPrior", "hardware_efficient", "trapped_ion"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qahm_torch.ising import all_states
from qahm_torch.kernels.state_vector import amplitudes, layer_angles
from qahm_torch.priors.born import BornPrior, check_qubits


def hardware_efficient(
    num_layers: int, rotations: Sequence[str] = ("RX", "RZ"), entangler: str = "CZ"
) -> tuple[str, ...]:
    r"""Returns layers of rotations and of entangling gates on a line, and last rotations.

    Arguments:
        num_layers: The number of layers of entangling gates.
        rotations: The rotations of each qubit before them; the first of these also come last.
        entangler: "CZ" or "CNOT".

    Example:
        >>> hardware_efficient(1)
        ('RX', 'RZ', 'CZ', 'RX')

    References:
        | Hardware-efficient variational quantum eigensolver for small molecules and quantum
          magnets (Kandala et al., 2017)
        | https://arxiv.org/abs/1704.05018
    """
    return (*(*rotations, entangler) * num_layers, rotations[0])


def trapped_ion(num_layers: int) -> tuple[str, ...]:
    r"""Returns layers of rotations and of XX gates on all pairs, and last rotations.

    Arguments:
        num_layers: The number of layers of XX gates.

    Example:
        >>> trapped_ion(1)
        ('RX', 'RZ', 'XX', 'RZ', 'RX')

    References:
        | A generative modeling approach for benchmarking and training shallow quantum circuits
          (Benedetti et al., 2019)
        | https://arxiv.org/abs/1801.07686
    """
    return (*("RX", "RZ", "XX") * num_layers, "RZ", "RX")


class CircuitPrior(BornPrior):
    r"""A Born machine whose state is made by a circuit with trained angles.

    .. math::
        p(s) = |\langle s | U_L(\theta_L) \cdots U_1(\theta_1) | 0 \dots 0 \rangle|^2

    The state vector is simulated in torch, so that the likelihood is exact and its gradient that
    of backpropagation. `read` gives samples for any angles instead, as a device does: with
    `SampledMMD` the circuit is trained by these alone.

    Arguments:
        num_visible: The number of qubits, at most 16.
        layers: The layers of the circuit, such as those of `hardware_efficient` or `trapped_ion`:
            "RX", "RY", "RZ" with an angle per qubit, "XX" with an angle per pair, and "CZ" and
            "CNOT" on the neighbors of a line. All angles are those of :math:`e^{-i \theta P / 2}`.
        num_samples: The number of samples of an update.
        scale: The standard deviation of the first angles.

    Raises:
        ValueError: If a number is out of its range, there is no such layer, or no angle.

    References:
        | A generative modeling approach for benchmarking and training shallow quantum circuits
          (Benedetti et al., 2019)
        | https://arxiv.org/abs/1801.07686
        | Differentiable learning of quantum circuit Born machines (Liu & Wang, 2018)
        | https://arxiv.org/abs/1804.04168

    Example:
        >>> prior = CircuitPrior(4, hardware_efficient(2))
        >>> (-prior(torch.ones(3, 4)).mean()).backward()
        >>> prior.angles.grad.shape
        torch.Size([20])
    """

    def __init__(
        self,
        num_visible: int,
        layers: Sequence[str],
        num_samples: int = 1024,
        scale: float = 0.5,
    ):
        super().__init__(num_samples)
        self._num_visible = check_qubits(num_visible)
        self.layers = tuple(layers)
        self.scale = scale
        num_angles = sum(layer_angles(layer, num_visible) for layer in self.layers)
        if num_angles == 0:
            raise ValueError(f"layers are {self.layers}, but without an angle nothing is learned")
        self.angles = nn.Parameter(scale * torch.randn(num_angles))

    @property
    def num_visible(self) -> int:
        return self._num_visible

    def probabilities(self, angles: Tensor | None = None) -> Tensor:
        r"""Returns the probabilities of all states in the order of `all_states`.

        Arguments:
            angles: Other angles than the circuit's own, of shape (*, P).

        Returns:
            The probabilities, of shape (*, 2^N).
        """
        angles = self.angles if angles is None else angles
        state = amplitudes(self.layers, angles, self.num_visible)
        return state.real.square() + state.imag.square()

    @torch.no_grad()
    def read(
        self, num_samples: int, angles: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns readings of the circuit at other angles: (K, P) -> (K, S, N)."""
        law = self.probabilities(angles)
        index = torch.multinomial(law, num_samples, True, generator=generator)
        return all_states(self.num_visible, law.dtype, law.device)[index]

    def shifted_angles(self) -> Tensor:
        r"""Returns the angles at which the circuit is read for its gradient, (2, P, P).

        .. math::
            \frac{\partial p}{\partial \theta_k} = \tfrac12 \big(
            p(\theta + \tfrac{\pi}{2} e_k) - p(\theta - \tfrac{\pi}{2} e_k) \big)

        References:
            | Quantum circuit learning (Mitarai et al., 2018)
            | https://arxiv.org/abs/1803.00745
        """
        angles = self.angles.detach()
        shifts = torch.eye(len(angles)).to(angles) * math.pi / 2
        return torch.stack([angles + shifts, angles - shifts])

    def extra_repr(self) -> str:
        return f"num_visible={self.num_visible}, layers={' '.join(self.layers)}"
