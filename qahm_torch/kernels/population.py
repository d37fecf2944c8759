r"""Populations of chains run by heat bath: by kernels for the CPU or for CUDA, or by torch."""

from __future__ import annotations

__all__ = ["Population", "populate"]

import os
from abc import ABC, abstractmethod
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.kernels.backends import compiled_form
from qahm_torch.kernels.plain import arrange, logistic_noise, random_spins, sweep_
from qahm_torch.kernels.tiles import arrange_chains


class Start(NamedTuple):
    r"""A model and where its chains are."""

    ising: Ising
    spins: Tensor  # (S, N), as int8
    base: Tensor | None  # the fields b of independent spins, of shape (N,)
    clamp: Tensor | None  # spins to hold, of shape (S, N), as int8
    generator: torch.Generator | None


class Population(ABC):
    r"""Chains of a model, changed in place, on the path from independent spins to it.

    At the inverse temperature :math:`\beta` the energy is
    :math:`E_\beta = (1 - \beta) E_0 + \beta E`, where :math:`E_0 = \sum_i b_i s_i` is that of
    independent spins.
    """

    backend: str

    def __init__(self, start: Start):
        self._start = start

    @abstractmethod
    def sweep(self, betas: Tensor) -> None:
        r"""Sweeps once at each inverse temperature, of shape (T,), or (T, S) for each chain."""

    @property
    @abstractmethod
    def spins(self) -> Tensor:
        r"""The spins as int8, of shape (S, N)."""

    @property
    def energies(self) -> Tensor:
        r"""The energies :math:`E - E_0` of shape (S,), in float64."""
        ising, values, base = self._start.ising, self.spins.double(), self._start.base
        h = ising.h.double() if base is None else ising.h.double() - base.double()
        fields = Ising(ising.graph, h, ising.J.double()).fields(values)
        return (values * (h + fields)).sum(-1) / 2

    def anneal(self, betas: Tensor) -> Tensor:
        r"""Returns the log-weights (S,) of annealed importance sampling along `betas` (T,).

        The chains are taken to be at the first inverse temperature, and are swept at the others.
        """
        log_weights = self.spins.new_zeros(len(self.spins), dtype=torch.float64)
        for step, beta in zip(betas.double().diff(), betas[1:], strict=True):
            log_weights -= step * self.energies
            self.sweep(beta.unsqueeze(0))
        return log_weights


def populate(
    ising: Ising,
    num_chains: int,
    *,
    state: Tensor | None = None,
    base: Tensor | None = None,
    clamp: Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Population:
    r"""Returns chains of a classical model.

    Arguments:
        ising: The model.
        num_chains: The number of chains S.
        state: Where the chains start, of shape (S, N); None for uniform random spins.
        base: The fields b of independent spins, of shape (N,); None for zero.
        clamp: Spins to hold, of shape (N,) or (S, N): +-1, or 0 for free.
        generator: The source of random numbers.
        backend: "numba", "triton", "torch", or "auto" for numba on the CPU wherever it works and
            torch elsewhere. The Triton kernels are tested in its interpreter, but have not been
            run on a GPU so far, and so are taken only where they are asked for.

    Raises:
        ValueError: If `state` is not of S chains, or the model not on the device of the backend.
        RuntimeError: If what the backend needs does not work here.
    """
    if backend == "triton":
        kernels: ModuleType | None = _cuda_kernels(ising)
    else:
        kernels = compiled_form("panels", ising.h.device, backend)
    ising = Ising(ising.graph, ising.h.detach(), ising.J.detach())
    spins = _starting_spins(ising, num_chains, state, generator)
    if clamp is not None:
        clamp = clamp.to(torch.int8).to(spins.device).expand(num_chains, -1)
        spins = torch.where(clamp == 0, spins, clamp)
    start = Start(ising, spins, base, clamp, generator)
    if kernels is None:
        return _TorchPopulation(start)
    return (_TritonPopulation if backend == "triton" else _CompiledPopulation)(start, kernels)


class _CompiledPopulation(Population):
    def __init__(self, start: Start, kernels: ModuleType):
        super().__init__(start)
        frozen, hold = _frozen(start.clamp)
        self._kernels, self._size = kernels, start.spins.shape
        self._panels = kernels.arrange_panels(start.ising, start.base, frozen)
        self._lanes = kernels.fill_lanes(start.spins, self._panels, hold, start.generator)
        # The sweeps keep energies up to date, once there are some.
        self._has_energies = False
        self.backend = "numba-sparse" if self._panels.own.shape[1] == 1 else "numba-tiles"

    def sweep(self, betas: Tensor) -> None:
        self._kernels.sweep_lanes(self._lanes, self._panels, betas)

    @property
    def spins(self) -> Tensor:
        spins: Tensor = self._kernels.spins_of_lanes(self._lanes, *self._size)
        return spins

    @property
    def energies(self) -> Tensor:
        self._begin_energies()
        return torch.from_numpy(self._lanes.energies.reshape(-1)[: self._size[0]].copy())

    def anneal(self, betas: Tensor) -> Tensor:
        self._begin_energies()
        self._lanes.log_weights[:] = 0
        self._kernels.sweep_lanes(self._lanes, self._panels, betas, weigh=True)
        return torch.from_numpy(self._lanes.log_weights.reshape(-1)[: self._size[0]].copy())

    def _begin_energies(self) -> None:
        if not self._has_energies:
            self._lanes.energies.reshape(-1)[: self._size[0]] = super().energies.numpy()
            self._has_energies = True


class _TritonPopulation(Population):
    def __init__(self, start: Start, kernels: ModuleType):
        super().__init__(start)
        self._kernels, self._spins = kernels, start.spins
        self._model = arrange_chains(start.ising, start.base)
        self.backend = f"triton-{type(self._model).__name__.lower()}"

    def sweep(self, betas: Tensor) -> None:
        # Drawn where the generator is: a seed on the GPU is never waited for.
        generator, clamp = self._start.generator, self._start.clamp
        device = self._spins.device if generator is None else generator.device
        seed = torch.randint(2**63 - 1, (1,), generator=generator, device=device)
        betas = betas if betas.ndim == 2 else betas.unsqueeze(-1)
        self._spins = self._kernels.sweep_chains(
            self._model, self._spins, len(betas), seed, hold=clamp, betas=betas
        )

    @property
    def spins(self) -> Tensor:
        return self._spins


class _TorchPopulation(Population):
    def __init__(self, start: Start):
        super().__init__(start)
        blocks = arrange(start.ising)
        if start.base is not None:
            self._base = start.base.unsqueeze(-1)[blocks.order].to(blocks.h)
            blocks = blocks._replace(h=blocks.h - self._base)
        self._blocks, self.backend = blocks, blocks.backend
        self._state = start.spins.T[blocks.order].to(blocks.h)
        if start.clamp is not None:
            # Now +-inf where a spin is held and NaN where it is free.
            self._hold = start.clamp.T[blocks.order].to(blocks.h) * torch.inf

    def sweep(self, betas: Tensor) -> None:
        for beta in betas.to(self._state):
            sweep_(self._state, self._blocks, self._noise(beta))

    @property
    def spins(self) -> Tensor:
        rows = torch.empty_like(self._state, dtype=torch.int8)
        rows[self._blocks.order] = self._state.to(torch.int8)
        return rows.T.contiguous()

    def _noise(self, beta: Tensor) -> Tensor:
        # The kernel compares noise with fields, so that at beta it is the noise that is scaled.
        num_spins, num_chains = self._state.shape
        noise = logistic_noise((num_spins, num_chains), self._state, self._start.generator)
        if self._start.base is not None:
            noise -= self._base
        noise = noise / beta
        if self._start.clamp is None:
            return noise
        return torch.where(self._hold.isnan(), noise, self._hold)


def _cuda_kernels(ising: Ising) -> ModuleType:
    device = ising.h.device.type
    if device != "cuda" and not os.environ.get("TRITON_INTERPRET"):
        raise ValueError(f"backend is 'triton', but it runs on CUDA and the model is on {device}")
    try:
        from qahm_torch.kernels import cuda
    except ImportError as error:
        raise RuntimeError(
            f"backend is 'triton', but triton does not work here: {error}"
        ) from error
    return cuda


def _starting_spins(
    ising: Ising, num_chains: int, state: Tensor | None, generator: torch.Generator | None
) -> Tensor:
    size = (num_chains, ising.num_spins)
    if state is None:
        return random_spins((size[1], num_chains), ising.h, generator).T.to(torch.int8)
    if tuple(state.shape) != size:
        raise ValueError(
            f"state has shape {tuple(state.shape)}, but {num_chains} chains of {ising.num_spins} "
            f"spins have shape {size}"
        )
    return state.to(ising.h.device, torch.int8)


def _frozen(clamp: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    r"""Returns the spins (N,) that all chains hold, and `clamp` if some chains hold others too."""
    if clamp is None:
        return None, None
    held = clamp != 0
    frozen = held.all(0)
    return frozen, None if torch.equal(held.any(0), frozen) else clamp
