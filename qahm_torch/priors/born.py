r"""What the priors share that are the square of a state vector."""

from __future__ import annotations

__all__ = ["BornPrior", "check_qubits", "index_of"]

from abc import abstractmethod

import torch
from torch import Tensor

from qahm_torch.ising import Samples, all_states
from qahm_torch.nn import Prior

MAX_QUBITS = 16  # of which all amplitudes are held


class BornPrior(Prior):
    r"""A Born machine: the law of reading all qubits of a state at once.

    .. math::
        p(s) = |\langle s | \psi \rangle|^2

    A qubit that is read as 1 is a spin of +1, and qubit i is spin i. The likelihood and its
    gradient are exact, through all :math:`2^N` amplitudes.

    Arguments:
        num_samples: The number of samples of an update.

    Raises:
        ValueError: If there is no sample.

    References:
        | Unsupervised generative modeling using matrix product states (Han et al., 2018)
        | https://arxiv.org/abs/1709.01662
    """

    def __init__(self, num_samples: int = 1024):
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}, but it is at least 1")
        self.num_samples = num_samples

    @property
    def num_parameters(self) -> int:
        r"""The number of trained numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    @abstractmethod
    def probabilities(self) -> Tensor:
        r"""Returns the probabilities of all states, (2^N,), in the order of `all_states`."""

    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        law = self.probabilities()
        # A state that the circuit cannot reach has the least number instead of minus infinity.
        return law.clamp(min=torch.finfo(law.dtype).tiny).log()[index_of(spins, self.num_visible)]

    def draw(self) -> Samples:
        return Samples(self.sample(self.num_samples))

    @torch.no_grad()
    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        law = self.probabilities()
        index = torch.multinomial(law, num_samples, True, generator=generator)
        return all_states(self.num_visible, law.dtype, law.device)[index]

    def to_visible(self, spins: Tensor) -> Tensor:
        return spins


def index_of(spins: Tensor, num_spins: int) -> Tensor:
    r"""Returns the index of states in `all_states`: (*, N) -> (*).

    Raises:
        ValueError: If they are of another number of spins, or not of +-1.
    """
    if spins.shape[-1] != num_spins:
        raise ValueError(
            f"spins have shape {tuple(spins.shape)}, but the last dimension is {num_spins}"
        )
    # Reading values stops a compiler and stalls a GPU; there the shape must do.
    if not torch.compiler.is_compiling() and spins.device.type == "cpu":
        wrong = spins[spins.abs() != 1]
        if len(wrong):
            raise ValueError(f"spins hold {wrong[0].item():g}, but readings are -1 or +1")
    return (spins > 0).long() @ (1 << torch.arange(num_spins, device=spins.device))


def check_qubits(num_qubits: int) -> int:
    r"""Returns the number of qubits of a state vector.

    Raises:
        ValueError: If there is none, or too many amplitudes to be held.
    """
    if not 1 <= num_qubits <= MAX_QUBITS:
        raise ValueError(
            f"num_visible is {num_qubits}, but a state vector is held for 1 to {MAX_QUBITS} qubits"
        )
    return num_qubits
