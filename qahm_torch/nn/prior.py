r"""What a prior is: all that a machine, an objective or a training module may ask of one."""

from __future__ import annotations

__all__ = ["Prior"]

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from qahm_torch.ising import Samples


class Prior(nn.Module, ABC):
    r"""A law of spins with a log-probability and samples.

    Samples are of the prior's own spins, (S, N). How the visible ones, (*, N_visible), lie in them
    is the prior's own affair: some may be hidden, or several may copy a visible one.

    Example:
        Independent spins with a field each:

        >>> class Independent(Prior):
        ...     def __init__(self, num_visible):
        ...         super().__init__()
        ...         self.field = nn.Parameter(torch.zeros(num_visible))
        ...
        ...     @property
        ...     def num_visible(self):
        ...         return len(self.field)
        ...
        ...     def log_prob(self, spins, negative=None):
        ...         return nn.functional.logsigmoid(2 * self.field * spins).sum(-1)
        ...
        ...     def draw(self):
        ...         return Samples(self.sample(100))
        ...
        ...     def sample(self, num_samples, *, generator=None):
        ...         p = torch.sigmoid(2 * self.field.detach()).expand(num_samples, -1)
        ...         return 2 * torch.bernoulli(p, generator=generator) - 1
        ...
        ...     def to_visible(self, spins):
        ...         return spins
        >>> Independent(3)(torch.ones(2, 3))
        tensor([-2.0794, -2.0794], grad_fn=<SumBackward1>)
    """

    is_multilinear: bool = False
    r"""Whether the log-probability extends to relaxed spins so that it is linear in each of them:
    its mean over independent spins is then that of their means."""

    @property
    @abstractmethod
    def num_visible(self) -> int:
        r"""The number of visible spins."""

    @abstractmethod
    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        r"""Returns the log-probability, or a bound of it, of visible spins: (*, N_visible) -> (*).

        Arguments:
            spins: The visible spins; relaxed ones lie between -1 and +1.
            negative: Samples of the prior, (S, N), for a gradient that needs some; None to draw
                them in the backward pass. A prior whose gradient is exact has no use for them.
        """

    @abstractmethod
    def draw(self) -> Samples:
        r"""Returns the samples of one update: its negative phase, and the seeds of its dreams."""

    @abstractmethod
    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        r"""Returns samples of all spins, of shape (n, N), which leave the prior as it is."""

    @abstractmethod
    def to_visible(self, spins: Tensor) -> Tensor:
        r"""Returns the visible spins (*, N_visible) of all spins (*, N)."""

    def forward(self, spins: Tensor) -> Tensor:
        return self.log_prob(spins)
