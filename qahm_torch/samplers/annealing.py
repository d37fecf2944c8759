r"""Annealing of populations of chains, from independent spins to a model and back."""

from __future__ import annotations

__all__ = ["AnnealedSampler", "AnnealingPath", "annealing_path", "log_2cosh"]

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.samplers.base import Sampler, Samples, check_request
from qahm_torch.samplers.kernels import Blocks, arrange, logistic_noise, random_spins, sweep_

MIN_POPULATION = 512


class AnnealedSampler(Sampler):
    r"""Anneals a population of chains and resamples it by importance weights.

    Unlike chains of Gibbs sampling, which may stay in the mode where they started, a population
    that cools down from independent spins spreads over the modes, and its weights correct the
    numbers that ended in each. It is slow, so it is the sampler of final pictures and of checks
    rather than of training. There are no chains: `state` is ignored and comes back as None.

    Arguments:
        num_temperatures: The number of inverse temperatures between 0 and 1, a sweep at each.
        num_sweeps: The number of sweeps after resampling, which part the copies of a chain.

    Raises:
        ValueError: If a number is too small; in `sample` if the model has a transverse field or
            spins are clamped.

    References:
        | Annealed importance sampling (Neal, 1998)
        | https://arxiv.org/abs/physics/9803008

    Example:
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3))
        >>> AnnealedSampler(num_temperatures=20).sample(ising, 5).spins.shape
        torch.Size([5, 3])
    """

    def __init__(self, num_temperatures: int = 200, num_sweeps: int = 50):
        if num_temperatures < 2 or num_sweeps < 1:
            raise ValueError(
                f"{num_temperatures} temperatures and {num_sweeps} sweeps; annealing needs at "
                "least 2 and 1"
            )
        self.num_temperatures = num_temperatures
        self.num_sweeps = num_sweeps

    @torch.no_grad()
    def sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None = None,
        state: Any = None,
        generator: torch.Generator | None = None,
    ) -> Samples:
        check_request(ising, num_samples, clamp)
        if clamp is not None or not ising.is_classical:
            raise ValueError(
                "annealing takes classical models with no spin clamped; use GibbsSampler for "
                "clamped spins and ExactSampler for a transverse field"
            )
        population = max(num_samples, MIN_POPULATION)
        path = annealing_path(ising, population, generator)
        betas = torch.linspace(0, 1, self.num_temperatures).tolist()
        ends, log_weights = path.anneal(path.base_samples(population, generator), betas, generator)
        p = torch.softmax(log_weights, 0)
        drawn = torch.multinomial(p, num_samples, replacement=True, generator=generator)
        ends = path.settle(ends[:, drawn], self.num_sweeps, generator)
        spins = torch.empty_like(ends)
        spins[path.blocks.order] = ends
        ess = float(1 / p.square().sum())
        info = {"backend": path.blocks.backend, "effective_population": ess}
        return Samples(spins.T.contiguous().to(ising.h.dtype), info=info)


class AnnealingPath(NamedTuple):
    r"""The path :math:`E_\beta = (1 - \beta) E_0 + \beta E` from independent spins to a model.

    States have shape (N, S), in the order of `blocks`.
    """

    blocks: Blocks
    base: Tensor  # fields of the independent spins, in row order, of shape (N, 1)
    energy: Callable[[Tensor], Tensor]  # of states (N, S) in row order

    def base_log_z(self) -> float:
        r"""Returns log Z of the independent spins."""
        return float(log_2cosh(self.base.double()).sum())

    def base_samples(self, num_chains: int, generator: torch.Generator | None) -> Tensor:
        r"""Returns samples of the independent spins."""
        noise = logistic_noise((len(self.base), num_chains), self.base, generator)
        return torch.copysign(self.base.new_ones(()), noise - self.base)

    def settle(self, state: Tensor, sweeps: int, generator: torch.Generator | None) -> Tensor:
        r"""Returns the states after some sweeps of the model itself; changes them in place."""
        for _ in range(sweeps):
            sweep_(state, self.blocks, self._noise(state, generator))
        return state

    def anneal(
        self, state: Tensor, betas: list[float], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        r"""Returns the end states and the log-weights of chains run along the path."""
        log_weights = state.new_zeros(state.shape[1], dtype=torch.float64)
        for beta, following in itertools.pairwise(betas):
            log_weights -= (following - beta) * self._gap(state)
            noise = self._noise(state, generator)
            sweep_(state, self.blocks.scaled(following, self.base), noise)
        return state, log_weights

    def _noise(self, state: Tensor, generator: torch.Generator | None) -> Tensor:
        return logistic_noise((len(state), state.shape[1]), self.base, generator)

    def _gap(self, state: Tensor) -> Tensor:
        return self.energy(state) - (self.base * state).sum(0).double()


def annealing_path(
    ising: Ising, num_chains: int, generator: torch.Generator | None = None
) -> AnnealingPath:
    r"""Returns the path to a classical model; its independent spins have about the same means."""
    double = Ising(ising.graph, ising.h.detach().double(), ising.J.detach().double())
    blocks = arrange(ising)
    base = _base_fields(blocks, num_chains, generator)
    return AnnealingPath(blocks, base, _energy(double, blocks))


def log_2cosh(x: Tensor) -> Tensor:
    r"""Returns :math:`\log 2 \cosh x` without overflow."""
    return torch.logaddexp(x, -x)


def _energy(ising: Ising, blocks: Blocks) -> Callable[[Tensor], Tensor]:
    if blocks.matrix is not None:
        matrix = blocks.matrix / 2
        return lambda state: (state * (blocks.h + matrix @ state)).sum(0).double()
    row = torch.empty_like(blocks.order)
    row[blocks.order] = torch.arange(len(row), device=row.device)
    return lambda state: ising.energy(state[row].T.double())


def _base_fields(blocks: Blocks, num_chains: int, generator: torch.Generator | None) -> Tensor:
    r"""Returns fields of independent spins with about the mean spins of the model."""
    size = (len(blocks.h), num_chains)
    state = random_spins(size, blocks.h, generator)
    total = torch.zeros_like(blocks.h)
    sweeps = 20
    for step in range(2 * sweeps):
        sweep_(state, blocks, logistic_noise(size, blocks.h, generator))
        if step >= sweeps:
            total += state.mean(1, keepdim=True)
    # Away from +-1, so that the base keeps reaching all states.
    return -torch.atanh((total / sweeps).clamp(-0.95, 0.95))
