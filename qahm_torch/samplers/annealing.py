r"""Annealing of populations of chains, from independent spins to a model and back."""

from __future__ import annotations

__all__ = ["AnnealedSampler", "AnnealingPath", "annealing_path", "log_2cosh"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.kernels.backends import check_backend
from qahm_torch.kernels.plain import logistic_noise
from qahm_torch.kernels.population import Population, populate
from qahm_torch.samplers.sampler import Sampler

MIN_POPULATION = 512
# States of the chains that the means of the independent spins are taken from.
NUM_MEANS = 5


class AnnealedSampler(Sampler):
    r"""Anneals a population of chains and resamples it by importance weights.

    Unlike chains of Gibbs sampling, which may stay in the mode where they started, a population
    that cools down from independent spins spreads over the modes, and its weights correct the
    numbers that ended in each. It is slow, so it is the sampler of final pictures and of checks
    rather than of training. There are no chains. Where spins are held, independent free spins cool
    down to the law of those given the held ones, a population for each distinct row of the clamp.

    Arguments:
        num_temperatures: The number of inverse temperatures between 0 and 1, a sweep at each.
        num_sweeps: The number of sweeps after resampling, which part the copies of a chain.
        backend: "numba" on the CPU, "triton" on CUDA (tested in its interpreter only), "torch"
            anywhere, or "auto" for numba on the CPU wherever it works and torch elsewhere.

    Raises:
        ValueError: If a number is too small or there is no such backend.

    References:
        | Annealed importance sampling (Neal, 1998)
        | https://arxiv.org/abs/physics/9803008

    Example:
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3))
        >>> AnnealedSampler(num_temperatures=20).sample(ising, 5).spins.shape
        torch.Size([5, 3])
    """

    def __init__(self, num_temperatures: int = 200, num_sweeps: int = 50, backend: str = "auto"):
        if num_temperatures < 2 or num_sweeps < 1:
            raise ValueError(
                f"{num_temperatures} temperatures and {num_sweeps} sweeps; annealing needs at "
                "least 2 and 1"
            )
        check_backend(backend)
        self.num_temperatures = num_temperatures
        self.num_sweeps = num_sweeps
        self.backend = backend

    def _sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Samples:
        if clamp is None or clamp.ndim == 1:
            return self._resampled(ising, num_samples, clamp, generator)
        rows, member = clamp.unique(dim=0, return_inverse=True)
        places = [(member == k).nonzero().squeeze(-1) for k in range(len(rows))]
        parts = [
            self._resampled(ising, len(place), row, generator)
            for row, place in zip(rows, places, strict=True)
        ]
        order = torch.cat(places).argsort()
        smallest = min(parts, key=_effective_population)
        return smallest._replace(spins=torch.cat([part.spins for part in parts])[order])

    def _resampled(
        self,
        ising: Ising,
        num_samples: int,
        clamp: Tensor | None,
        generator: torch.Generator | None,
    ) -> Samples:
        r"""Returns samples with the same spins held in all, by a clamp of shape (N,)."""
        population = max(num_samples, MIN_POPULATION)
        path = annealing_path(ising, population, generator, self.backend, clamp)
        betas = torch.linspace(0, 1, self.num_temperatures)
        ends, log_weights = path.anneal(path.base_samples(population, generator), betas, generator)
        p = torch.softmax(log_weights, 0)
        drawn = torch.multinomial(p, num_samples, replacement=True, generator=generator)
        settled = path.chains(ends[drawn], generator)
        settled.sweep(torch.ones(self.num_sweeps))
        ess = float(1 / p.square().sum())
        info: SampleInfo = {"backend": settled.backend, "effective_population": ess}
        return Samples(settled.spins.to(ising.h.dtype), info=info)


class AnnealingPath(NamedTuple):
    r"""The path :math:`E_\beta = (1 - \beta) E_0 + \beta E` from independent spins to a model.

    States are int8 of shape (S, N).
    """

    ising: Ising
    base: Tensor  # fields of the independent spins, of shape (N,)
    backend: str
    clamp: Tensor | None = None  # the spins that are held, of shape (N,), 0 for free ones

    def base_log_z(self) -> float:
        r"""Returns log Z of the independent spins."""
        return float(log_2cosh(self.base.double()).sum())

    def base_samples(self, num_chains: int, generator: torch.Generator | None) -> Tensor:
        r"""Returns samples of the independent spins, all of which are free."""
        noise = logistic_noise((num_chains, len(self.base)), self.base, generator)
        return torch.where(noise > self.base, 1, -1).to(torch.int8)

    def chains(self, state: Tensor, generator: torch.Generator | None) -> Population:
        r"""Returns chains on the path that start at `state`."""
        return populate(
            self.ising,
            len(state),
            state=state,
            base=self.base,
            clamp=self.clamp,
            generator=generator,
            backend=self.backend,
        )

    def anneal(
        self, state: Tensor, betas: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        r"""Returns the end states and the log-weights of chains run along the path."""
        chains = self.chains(state, generator)
        log_weights = chains.anneal(betas)
        return chains.spins, log_weights


def annealing_path(
    ising: Ising,
    num_chains: int,
    generator: torch.Generator | None = None,
    backend: str = "auto",
    clamp: Tensor | None = None,
) -> AnnealingPath:
    r"""Returns the path to a classical model; its independent spins have about the same means."""
    chains = populate(ising, num_chains, clamp=clamp, generator=generator, backend=backend)
    chains.sweep(torch.ones(20))
    total = torch.zeros_like(ising.h, dtype=torch.promote_types(ising.h.dtype, torch.float32))
    for _ in range(NUM_MEANS):
        chains.sweep(torch.ones(4))
        total += chains.spins.to(total).mean(0)
    # Away from +-1, so that the base keeps reaching all states.
    base = -torch.atanh((total / NUM_MEANS).clamp(-0.95, 0.95))
    return AnnealingPath(ising.detach(), base, backend, clamp)


def _effective_population(samples: Samples) -> float:
    return (samples.info or SampleInfo()).get("effective_population", 0.0)


def log_2cosh(x: Tensor) -> Tensor:
    r"""Returns :math:`\log 2 \cosh x` without overflow."""
    return torch.logaddexp(x, -x)
