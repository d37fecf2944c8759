r"""Restricted machines whose hidden units are qubits."""

from __future__ import annotations

__all__ = ["SemiQuantumPrior"]

import torch
from torch import Tensor, nn

from qahm_torch.ising import Samples
from qahm_torch.nn import Prior

MAX_VISIBLE = 16  # all their states are enumerated


class SemiQuantumPrior(Prior):
    r"""A restricted Boltzmann machine of classical visible and quantum hidden units.

    Each hidden qubit couples to the visible spins through one to three Pauli operators, which do
    not commute:

    .. math::
        H = \sum_i a_i v_i + \sum_j \sum_{P} \Big( b^P_j + \sum_i v_i W^P_{ij} \Big) P_j, \qquad
        p(v) = \frac{e^{-a \cdot v}}{Z} \prod_j 2 \cosh \sqrt{\textstyle\sum_P
        \big( b^P_j + \sum_i v_i W^P_{ij} \big)^2}

    for P among Z, X and Y. The trace over the qubits is in closed form, since qubits that do not
    couple to each other each see one field, of which only the length counts. With one operator it
    is the classical restricted machine. The likelihood and its gradient are exact, by enumeration
    of the visible spins.

    Arguments:
        num_visible: The number of visible spins, at most 16.
        num_hidden: The number of hidden qubits.
        num_operators: The number of Pauli operators of a qubit, from 1 to 3.
        num_samples: The number of samples of an update.

    Raises:
        ValueError: If a number is out of its range.

    References:
        | Expressive equivalence of classical and quantum restricted Boltzmann machines (Demidik et
          al., 2025)
        | https://arxiv.org/abs/2502.17562

    Example:
        >>> prior = SemiQuantumPrior(4, num_hidden=2)
        >>> (-prior(torch.ones(3, 4)).mean()).backward()
        >>> prior.coupling.grad.shape
        torch.Size([4, 2, 2])
    """

    def __init__(
        self, num_visible: int, num_hidden: int, num_operators: int = 2, num_samples: int = 1024
    ):
        super().__init__()
        if not 1 <= num_visible <= MAX_VISIBLE:
            raise ValueError(
                f"num_visible is {num_visible}, but enumeration takes 1 to {MAX_VISIBLE} spins"
            )
        if num_operators not in (1, 2, 3):
            raise ValueError(f"num_operators is {num_operators}, but a qubit has 1 to 3 of them")
        for name, value in (("num_hidden", num_hidden), ("num_samples", num_samples)):
            if value < 1:
                raise ValueError(f"{name} is {value}, but it is at least 1")
        self.num_samples = num_samples
        shape = num_hidden, num_operators
        self.visible_field = nn.Parameter(torch.zeros(num_visible))
        self.hidden_field = nn.Parameter(0.1 * torch.randn(shape))
        self.coupling = nn.Parameter(0.1 * torch.randn(num_visible, *shape))

    @property
    def num_visible(self) -> int:
        return len(self.visible_field)

    @property
    def num_hidden(self) -> int:
        return self.hidden_field.shape[0]

    @property
    def num_operators(self) -> int:
        return self.hidden_field.shape[1]

    @property
    def num_parameters(self) -> int:
        r"""The number of trained numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        return self._log_weight(spins) - self._log_weight(self._states()).logsumexp(0)

    def draw(self) -> Samples:
        return Samples(self.sample(self.num_samples))

    @torch.no_grad()
    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        states = self._states()
        law = self._log_weight(states).softmax(0)
        return states[torch.multinomial(law, num_samples, True, generator=generator)]

    def to_visible(self, spins: Tensor) -> Tensor:
        return spins

    def _log_weight(self, spins: Tensor) -> Tensor:
        r"""Returns the log-probability up to log Z, (*, N) -> (*)."""
        fields = self.hidden_field + torch.einsum("...i,ijp->...jp", spins, self.coupling)
        # The length has no gradient at 0, where log cosh is flat.
        square = fields.square().sum(-1)
        length = square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()
        log_trace = length + nn.functional.softplus(-2 * length)
        return log_trace.sum(-1) - spins @ self.visible_field

    def _states(self) -> Tensor:
        bits = torch.arange(2**self.num_visible, device=self.visible_field.device)
        places = torch.arange(self.num_visible, device=bits.device)
        return ((bits.unsqueeze(-1) >> places) & 1).to(self.visible_field) * 2 - 1
