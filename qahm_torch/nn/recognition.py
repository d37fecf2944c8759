r"""What a recognition is: whatever draws hidden states of data with their probability."""

from __future__ import annotations

__all__ = ["Draw", "Recognition", "without_repeats"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Draw(NamedTuple):
    r"""Hidden states, and how probable they were."""

    states: list[Tensor]  # one (*, width) per layer after the input
    log_prob: Tensor  # (*), in nats, differentiable in the parameters


class Recognition(nn.Module, ABC):
    r"""A law of hidden states given visible ones.

    .. math::
        q(u_1, \dots, u_L \mid v)

    How the states depend on each other is its own affair: layer by layer (`BeliefNetwork`), each
    layer on the data as well, or a layer in groups, one after the other.

    Arguments:
        widths: The numbers of units of the states: visible, first hidden layer, ..., deepest.

    Raises:
        ValueError: If there are fewer than two widths, or one is not positive.

    Example:
        One hidden layer, whose two spins lean the way that the first pixel does:

        >>> from qahm_torch import Spins
        >>> class Leaning(Recognition):
        ...     def __init__(self):
        ...         super().__init__([4, 2])
        ...         self.spins = Spins(2)
        ...
        ...     def given(self, inputs):
        ...         return self.spins(inputs[..., :1].expand(*inputs.shape[:-1], 2))
        ...
        ...     def draw(self, inputs, generator=None):
        ...         u = self.given(inputs).sample(generator=generator)
        ...         return Draw([u], self.log_prob([inputs, u]))
        ...
        ...     def log_prob(self, states):
        ...         v, u = states
        ...         return self.given(v).log_prob(u)
        >>> Leaning().sample(torch.ones(5, 4))[0].shape
        torch.Size([5, 2])
    """

    widths: tuple[int, ...]

    unknown: float = 0.0
    r"""What stands in the inputs for a visible unit that is not known; NaN in `Flagged`."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(int(width) for width in widths)
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(
                f"widths are {list(widths)}, but two or more positive ones are needed"
            )

    @abstractmethod
    def draw(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        r"""Returns hidden states and their log-probability, in one pass.

        The states carry no gradient; the log-probability does.

        Arguments:
            inputs: Visible states of shape (*, N_visible), `unknown` where units are not known.
            generator: The source of randomness, on the device of the inputs.
        """

    @abstractmethod
    def log_prob(self, states: Sequence[Tensor]) -> Tensor:
        r"""Returns :math:`\log q(u_1, \dots, u_L | v)` in nats, of shape (*).

        Arguments:
            states: The states [v, u_1, ..., deepest], each of shape (*, width).
        """

    def rsample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        r"""Returns relaxed hidden states with a gradient, and their log-probability.

        Arguments:
            inputs: Visible states of shape (*, N_visible), `unknown` where units are not known.
            generator: The source of randomness, on the device of the inputs.

        Raises:
            NotImplementedError: If there are no relaxed states.
        """
        raise NotImplementedError(f"{type(self).__name__} has no relaxed states")

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        r"""Returns hidden states, each (*, width), given visible ones (*, N_visible)."""
        return self.draw(inputs, generator).states

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return self.sample(inputs)


def without_repeats(states: Tensor) -> Tensor:
    r"""Returns the first (*, width) of states that leading dimensions repeat without memory."""
    while states.ndim > 2 and len(states) > 1 and states.stride(0) == 0:
        states = states[0]
    return states
