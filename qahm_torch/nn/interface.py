r"""The interface of priors: what the Helmholtz machine and the training ask of one."""

from __future__ import annotations

__all__ = ["Prior"]

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from qahm_torch.ising import Beta, CouplingGraph, Ising
from qahm_torch.samplers import LogZ, Sampler, Samples


class Prior(nn.Module, ABC):
    r"""A law of visible spins that a Boltzmann machine on a graph stands behind.

    The samples are spins of the graph, (*, N). How the visible ones, (*, N_visible), lie in them
    is the prior's own affair: some spins may be hidden, or several may copy a visible one.
    """

    graph: CouplingGraph
    h: nn.Parameter
    J: nn.Parameter
    gamma: Tensor | None
    log_z: Tensor
    sampler: Sampler
    num_samples: int
    chains: Any  # the state of the sampler, from which the next negative phase starts

    @property
    @abstractmethod
    def num_visible(self) -> int: ...

    @abstractmethod
    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        r"""Returns the log-probability, or a bound of it, of visible spins: (*, N_visible) -> (*).

        Arguments:
            spins: The visible spins.
            negative: Samples to use for the gradient instead of calling the sampler, (S, N).
        """

    @abstractmethod
    def ising(self) -> Ising:
        r"""Returns the model of the present parameters, differentiable in them."""

    @abstractmethod
    def to_visible(self, spins: Tensor) -> Tensor:
        r"""Returns the visible spins (*, N_visible) of all spins (*, N)."""

    @abstractmethod
    def from_visible(self, spins: Tensor) -> Tensor:
        r"""Returns all spins (B, N) of visible ones (B, N_visible)."""

    @abstractmethod
    def draw(self) -> Samples:
        r"""Runs the negative phase now: `num_samples` samples, for which the chains run on."""

    @abstractmethod
    def prefetch(self) -> None:
        r"""Submits the negative phase; the next `draw` or backward pass uses its samples."""

    @abstractmethod
    def sample(
        self,
        num_samples: int,
        clamp: Tensor | None = None,
        sampler: Sampler | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns samples of all spins, of shape (n, N), which leave the chains as they are."""

    @abstractmethod
    def estimate_log_z(
        self,
        *,
        num_chains: int = 512,
        num_temperatures: int = 500,
        generator: torch.Generator | None = None,
    ) -> LogZ:
        r"""Estimates log Z, stores the value in `log_z` and returns the estimate."""

    @abstractmethod
    def estimate_beta(self, samples: Samples | None = None) -> Beta:
        r"""Returns the inverse temperature of samples of the prior, new ones by default."""

    @abstractmethod
    def forget_chains(self) -> None:
        r"""Drops the chains and any samples asked for: the next negative phase starts fresh."""

    def forward(self, spins: Tensor) -> Tensor:
        return self.log_prob(spins)
