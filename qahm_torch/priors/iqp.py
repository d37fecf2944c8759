r"""Circuits of commuting gates, which are trained classically past what can be simulated."""

from __future__ import annotations

__all__ = ["IQPCircuit", "ParityMMD"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qahm_torch.ising import all_states
from qahm_torch.kernels.state_vector import apply_gates, hadamards
from qahm_torch.priors.born import BornPrior, check_qubits
from qahm_torch.priors.mmd import check_bandwidths
from qahm_torch.priors.parities import ParityMoments, draw_subsets, moments_of, parity_moments


class IQPCircuit(BornPrior):
    r"""An instantaneous quantum polynomial circuit: gates of X that commute with each other.

    .. math::
        p(s) = \Big| \langle s | \prod_g e^{i \theta_g X_g} | 0 \dots 0 \rangle \Big|^2, \qquad
        X_g = \prod_{i \in g} X_i

    To draw from it is hard for a classical computer, but the mean of a parity is not,

    .. math::
        \langle Z_a \rangle = E_z \Big[ \cos \Big( 2 \sum_{g : |g \cap a| \text{ odd}}
        \theta_g (-1)^{|g \cap z|} \Big) \Big]

    over uniformly random subsets z of the qubits. So it is trained by `ParityMMD` on hundreds of
    qubits, and read on a device. Up to 16 qubits, it has its log-probability and samples by the
    state vector, like other Born machines.

    Arguments:
        num_visible: The number of qubits.
        generators: The qubits of each gate.
        num_samples: The number of samples of an update, where it can be sampled.
        scale: The standard deviation of the first angles.

    Raises:
        ValueError: If a gate has no qubit, or one that does not exist; in what needs the state
            vector, if there are too many qubits.

    References:
        | Train on classical, deploy on quantum: scaling generative quantum machine learning to a
          thousand qubits (Recio-Armengol et al., 2025)
        | https://arxiv.org/abs/2503.02934

    Example:
        >>> circuit = IQPCircuit(200, [[0], [0, 1], [1, 199]], scale=0.0)
        >>> circuit.moments(torch.ones(1, 200), num_draws=10).mean
        tensor([1.], grad_fn=<DivBackward0>)
    """

    masks: Tensor

    def __init__(
        self,
        num_visible: int,
        generators: Sequence[Sequence[int]],
        num_samples: int = 1024,
        scale: float = 0.1,
    ):
        super().__init__(num_samples)
        self.scale = scale
        self.register_buffer("masks", _masks(num_visible, generators))
        self.angles = nn.Parameter(scale * torch.randn(len(generators)))

    @property
    def num_visible(self) -> int:
        return self.masks.shape[-1]

    @property
    def generators(self) -> list[list[int]]:
        r"""The qubits of each generator."""
        return [mask.nonzero().flatten().tolist() for mask in self.masks]

    def probabilities(self) -> Tensor:
        num_qubits = check_qubits(self.num_visible)
        bits = all_states(num_qubits, self.masks.dtype, self.masks.device) > 0
        phases = self._signs(bits.to(self.masks)) @ self.angles
        state = torch.complex(torch.cos(phases), torch.sin(phases)) / 2 ** (num_qubits / 2)
        state = apply_gates(state, hadamards(num_qubits, state))
        return state.real.square() + state.imag.square()

    def moments(
        self, subsets: Tensor, num_draws: int, *, generator: torch.Generator | None = None
    ) -> ParityMoments:
        r"""Returns unbiased estimates of parities, differentiable in the angles.

        Arguments:
            subsets: 1 where a qubit is in a subset and 0 elsewhere, of shape (A, N).
            num_draws: The number of random z, at least 2, which all subsets share.
            generator: The source of random numbers, on the CPU.
        """
        z = torch.randint(2, (num_draws, self.num_visible), generator=generator)
        odd = (subsets @ self.masks.T) % 2
        phases = 2 * (odd * self.angles) @ self._signs(z.to(self.masks)).T
        return moments_of(torch.cos(phases))

    def _signs(self, bits: Tensor) -> Tensor:
        r"""Returns the eigenvalues of the gates' X at states of the X basis: (Z, N) -> (Z, G)."""
        return 1 - 2 * ((bits @ self.masks.T) % 2)

    def extra_repr(self) -> str:
        return f"num_visible={self.num_visible}, num_generators={len(self.masks)}"


class ParityMMD:
    r"""The squared maximum mean discrepancy of an IQP circuit and data, by means of parities.

    It is a mixture of squared gaps of parities (see `draw_subsets`), some of which are drawn
    anew at each call. Value and gradient are unbiased, and need no sample of the circuit.

    Arguments:
        bandwidths: The bandwidths of a mean of Gaussian kernels.
        num_subsets: The number of parities.
        num_draws: The number of draws by which the circuit's parities are estimated, at least 2.

    Raises:
        ValueError: If a bandwidth is not positive, or another number is too small.

    References:
        | Train on classical, deploy on quantum: scaling generative quantum machine learning to a
          thousand qubits (Recio-Armengol et al., 2025)
        | https://arxiv.org/abs/2503.02934

    Example:
        >>> circuit = IQPCircuit(100, [[i] for i in range(100)])
        >>> ParityMMD([3.0])(circuit, torch.ones(10, 100)).backward()
        >>> circuit.angles.grad.shape
        torch.Size([100])
    """

    def __init__(self, bandwidths: Sequence[float], num_subsets: int = 64, num_draws: int = 256):
        check_bandwidths(bandwidths)
        for name, value, least in (("num_subsets", num_subsets, 1), ("num_draws", num_draws, 2)):
            if value < least:
                raise ValueError(f"{name} is {value}, but at least {least} are needed")
        self.bandwidths = tuple(bandwidths)
        self.num_subsets = num_subsets
        self.num_draws = num_draws

    def __call__(
        self, circuit: IQPCircuit, data: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns the estimate for data of shape (B, N), at least 2 rows."""
        subsets = draw_subsets(
            self.num_subsets, circuit.num_visible, self.bandwidths, generator=generator
        ).to(circuit.masks)
        of_circuit = circuit.moments(subsets, self.num_draws, generator=generator)
        return of_circuit.squared_gaps(parity_moments(data, subsets)).mean()


def _masks(num_qubits: int, generators: Sequence[Sequence[int]]) -> Tensor:
    r"""Returns 1 where a gate acts on a qubit and 0 elsewhere, of shape (G, N)."""
    masks = torch.zeros(len(generators), num_qubits)
    for mask, qubits in zip(masks, generators, strict=True):
        wrong = [q for q in qubits if not 0 <= q < num_qubits]
        if wrong or len(set(qubits)) != len(qubits) or not qubits:
            raise ValueError(
                f"a generator is of qubits {list(qubits)}, but needs different ones of 0 to"
                f" {num_qubits - 1}"
            )
        mask[list(qubits)] = 1
    return masks
