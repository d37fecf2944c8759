r"""Parallel tempering: ladders of chains at rising temperatures that swap their places."""

from __future__ import annotations

__all__ = ["Ladders", "TemperingSampler"]

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.kernels.backends import check_backend
from qahm_torch.kernels.population import populate
from qahm_torch.samplers.sampler import Sampler

# The chains that cool down to tell where the temperatures of the ladders should be.
NUM_PILOT_CHAINS = 64
NUM_PILOT_BETAS = 40


@dataclass(frozen=True)
class Ladders(Chains):
    r"""Ladders of chains, each with one chain per inverse temperature.

    Arguments:
        spins: The spins at :math:`\beta = 1`, of shape (S, N).
        rungs: The spins at all temperatures, of shape (S, K, N).
        betas: The inverse temperatures from 0 to 1, of shape (K,), of all ladders.
    """

    rungs: Tensor
    betas: Tensor

    def rows(self, index: Tensor) -> Ladders:
        index = index.to(self.spins.device)
        return replace(self, spins=self.spins[index], rungs=self.rungs[index])


class TemperingSampler(Sampler):
    r"""Runs ladders of chains at inverse temperatures from 0 to 1 that swap their places.

    The chain at :math:`\beta = 0` forgets all at each sweep, and what it finds rises to
    :math:`\beta = 1`, so that samples leave a mode that Gibbs sampling stays in. Chains at
    neighboring temperatures swap with the probability
    :math:`\min(1, e^{(\beta - \beta')(E - E')})` after each sweep, even and odd pairs in turn.
    There is one sample per ladder, its chain at 1.

    Temperatures are placed for equal rates of rejection: at first by the energies E and E' of
    a pilot run, from which the rate is about
    :math:`\frac12 \int \langle |E - E'| \rangle_\beta \, d\beta`, and after each call by the
    rates seen in it. A call costs as many chains of Gibbs sampling as samples
    times temperatures.

    Arguments:
        num_sweeps: The number of sweeps per call.
        num_temperatures: The number of temperatures; by default such that about a half of the
            swaps succeed.
        backend: "numba" on the CPU, "triton" on CUDA (tested in its interpreter only), "torch"
            anywhere, or "auto" for numba on the CPU wherever it works and torch elsewhere.

    Raises:
        ValueError: If a number is too small or there is no such backend.

    References:
        | Exchange Monte Carlo method and application to spin glass simulations
          (Hukushima & Nemoto, 1996)
        | https://arxiv.org/abs/cond-mat/9512035
        | Non-reversible parallel tempering: a scalable highly parallel MCMC scheme
          (Syed et al., 2019)
        | https://arxiv.org/abs/1905.02939

    Example:
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3))
        >>> TemperingSampler(num_sweeps=10).sample(ising, 5).spins.shape
        torch.Size([5, 3])
    """

    keeps_chains = True

    def __init__(
        self,
        num_sweeps: int = 100,
        num_temperatures: int | None = None,
        backend: str = "auto",
    ):
        if num_sweeps < 1:
            raise ValueError(f"num_sweeps is {num_sweeps}, but at least 1 sweep is needed")
        if num_temperatures is not None and num_temperatures < 2:
            raise ValueError(
                f"num_temperatures is {num_temperatures}, but a ladder has at least 2"
            )
        check_backend(backend)
        self.num_sweeps = num_sweeps
        self.num_temperatures = num_temperatures
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
        placed = state.betas if isinstance(state, Ladders) else None
        betas = self._place(ising, clamp, generator) if placed is None else placed
        rungs = len(betas)
        start = None if state is None else _start(state, rungs)
        chains = populate(
            ising,
            num_samples * rungs,
            state=start,
            clamp=_repeated(clamp, rungs),
            generator=generator,
            backend=self.backend,
        )
        swaps = _Swaps(betas, num_samples)
        for step in range(self.num_sweeps):
            chains.sweep(swaps.temperatures())
            swaps.swap(chains.energies, step % 2, generator)
        spins = chains.spins.view(num_samples, rungs, -1)
        spins = spins.gather(1, swaps.order.unsqueeze(-1).expand_as(spins))
        info: SampleInfo = {
            "backend": chains.backend,
            "num_sweeps": self.num_sweeps,
            "betas": betas.tolist(),
            "rejection_rates": swaps.rejection_rates().tolist(),
        }
        placed = _placed(betas, swaps.rejection_rates(), rungs)
        following = Ladders(spins[:, -1], spins, placed)
        return Samples(spins[:, -1].to(ising.h.dtype), state=following, info=info)

    def _resumes(self, chains: Chains) -> bool:
        wanted = self.num_temperatures
        return isinstance(chains, Ladders) and wanted in (None, len(chains.betas))

    def _place(
        self, ising: Ising, clamp: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        r"""Returns inverse temperatures (K,) by the energies of chains that cool down."""
        if clamp is not None and clamp.ndim == 2:
            clamp = clamp[torch.arange(NUM_PILOT_CHAINS, device=clamp.device) % len(clamp)]
        pilot = populate(
            ising, NUM_PILOT_CHAINS, clamp=clamp, generator=generator, backend=self.backend
        )
        betas = torch.linspace(0, 1, NUM_PILOT_BETAS, dtype=torch.float64, device=ising.h.device)
        energies = pilot.energies
        barriers = []
        for beta in betas:
            before = energies
            pilot.sweep(beta.expand(5))
            energies = pilot.energies
            are_alike = clamp is None or clamp.ndim == 1
            barriers.append(_barrier(energies, before, are_alike))
        barrier = torch.stack(barriers)
        rates = (barrier[1:] + barrier[:-1]) / 2 * betas.diff()
        # With this many, about a half of the swaps succeed.
        best = max(2, 1 + math.ceil(2 * float(rates.sum())))
        return _placed(betas, rates, self.num_temperatures or best)


class _Swaps:
    r"""Who is at which temperature: `order[s, k]` is the chain of ladder s at the k-th one."""

    def __init__(self, betas: Tensor, num_ladders: int):
        self.betas = betas
        self.order = torch.arange(len(betas), device=betas.device).repeat(num_ladders, 1)
        self._rejections = torch.zeros_like(betas[1:])
        self._tries = torch.zeros_like(betas[1:])

    def temperatures(self) -> Tensor:
        r"""Returns the inverse temperature of each chain, of shape (1, S * K)."""
        values = self.betas.expand_as(self.order)
        return torch.empty_like(values).scatter(1, self.order, values).view(1, -1)

    def swap(self, energies: Tensor, parity: int, generator: torch.Generator | None) -> None:
        r"""Swaps neighbors from the k-th on, k of one parity, by their energies (S * K,)."""
        by_place = energies.view_as(self.order).gather(1, self.order)
        low = torch.arange(parity, len(self.betas) - 1, 2, device=energies.device)
        gain = (by_place[:, low + 1] - by_place[:, low]) * (self.betas[low + 1] - self.betas[low])
        uniform = torch.rand(gain.shape, dtype=gain.dtype, device=gain.device, generator=generator)
        swapped = uniform.log() < gain
        first, second = self.order[:, low], self.order[:, low + 1]
        self.order[:, low] = torch.where(swapped, second, first)
        self.order[:, low + 1] = torch.where(swapped, first, second)
        self._rejections[low] += 1 - gain.exp().clamp(max=1).mean(0)
        self._tries[low] += 1

    def rejection_rates(self) -> Tensor:
        r"""Returns the mean probability that a swap fails, of shape (K - 1,).

        Where none was tried, as in a single sweep, it is the mean of the others.
        """
        rates = self._rejections / self._tries
        return torch.where(self._tries > 0, rates, rates.nanmean())


def _barrier(energies: Tensor, before: Tensor, are_alike: bool) -> Tensor:
    r"""Returns half of the mean gap between two energies of one law, over the first dimension.

    Chains of one law are compared with each other, and others with themselves some time before.
    """
    other = energies.roll(1, 0) if are_alike else before
    return (energies - other).abs().mean(0) / 2


def _placed(betas: Tensor, rates: Tensor, num_temperatures: int) -> Tensor:
    r"""Returns inverse temperatures from 0 to 1 between which equal rates of rejection are due.

    Rates (K - 1,) of neighbors among `betas` (K,) about add up.
    """
    # Where energies do not change, any place will do, but no two may fall together.
    rates = rates + 0.01 * betas.diff()
    reached = torch.cat([rates.new_zeros(1), rates.cumsum(0)])
    wanted = torch.linspace(0, 1, num_temperatures, dtype=betas.dtype, device=betas.device)
    wanted = wanted[1:-1] * reached[-1]
    k = torch.searchsorted(reached, wanted).clamp(1, len(betas) - 1)
    part = (wanted - reached[k - 1]) / rates[k - 1]
    inner = betas[k - 1] + part * (betas[k] - betas[k - 1])
    return torch.cat([betas[:1], inner, betas[-1:]])


def _repeated(clamp: Tensor | None, rungs: int) -> Tensor | None:
    return clamp if clamp is None or clamp.ndim == 1 else clamp.repeat_interleave(rungs, 0)


def _start(state: Chains, rungs: int) -> Tensor:
    r"""Returns the spins of all chains, (S * K, N); on a new ladder all start from the same."""
    if isinstance(state, Ladders):
        return state.rungs.flatten(0, 1)
    return state.spins.repeat_interleave(rungs, 0)
