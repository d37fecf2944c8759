r"""Populations of chains run by heat bath: by kernels for the CPU or for CUDA, or by torch."""

from __future__ import annotations

__all__ = ["Population", "populate"]

import os
from abc import ABC, abstractmethod
from types import ModuleType

import torch
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.kernels.backends import compiled_form
from qahm_torch.kernels.plain import arrange, logistic_noise, random_spins, sweep_


class Population(ABC):
    r"""Chains of a model, changed in place, on the path from independent spins to it.

    At the inverse temperature :math:`\beta` the energy is
    :math:`E_\beta = (1 - \beta) E_0 + \beta E`, where :math:`E_0 = \sum_i b_i s_i` is that of
    independent spins.
    """

    backend: str

    @abstractmethod
    def sweep(self, betas: Tensor) -> None:
        r"""Sweeps once at each inverse temperature, of shape (T,), or (T, S) for each chain."""

    @abstractmethod
    def anneal(self, betas: Tensor) -> Tensor:
        r"""Returns the log-weights (S,) of annealed importance sampling along `betas` (T,).

        The chains are taken to be at the first inverse temperature, and are swept at the others.
        """

    @property
    @abstractmethod
    def spins(self) -> Tensor:
        r"""The spins as int8, of shape (S, N)."""

    @property
    @abstractmethod
    def energies(self) -> Tensor:
        r"""The energies :math:`E - E_0` of shape (S,), in float64."""


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
    spins = _start(ising, num_chains, state, generator)
    if clamp is not None:
        clamp = clamp.to(torch.int8).to(spins.device).expand(num_chains, -1)
        spins = torch.where(clamp == 0, spins, clamp)
    if kernels is None:
        return _TorchPopulation(ising, spins, base, clamp, generator)
    if backend == "triton":
        return _TritonPopulation(kernels, ising, spins, base, clamp, generator)
    return _CompiledPopulation(kernels, ising, spins, base, clamp, generator)


class _CompiledPopulation(Population):
    def __init__(
        self,
        kernels: ModuleType,
        ising: Ising,
        spins: Tensor,
        base: Tensor | None,
        clamp: Tensor | None,
        generator: torch.Generator | None,
    ):
        self._kernels, self._ising, self._base, self._size = kernels, ising, base, spins.shape
        frozen, hold = _frozen(clamp)
        self._panels = kernels.arrange_panels(ising, base, frozen)
        self._lanes = kernels.fill_lanes(spins, self._panels, hold, generator)
        # The sweeps keep energies up to date, once there are some.
        self._has_energies = False
        self.backend = "numba-sparse" if self._panels.own.shape[1] == 1 else "numba-tiles"

    def sweep(self, betas: Tensor) -> None:
        self._kernels.sweep_lanes(self._lanes, self._panels, betas)

    def anneal(self, betas: Tensor) -> Tensor:
        self._start_energies()
        self._lanes.log_weights[:] = 0
        self._kernels.sweep_lanes(self._lanes, self._panels, betas, weigh=True)
        return torch.from_numpy(self._lanes.log_weights.reshape(-1)[: self._size[0]].copy())

    @property
    def spins(self) -> Tensor:
        return self._kernels.spins_of_lanes(self._lanes, *self._size)

    @property
    def energies(self) -> Tensor:
        self._start_energies()
        return torch.from_numpy(self._lanes.energies.reshape(-1)[: self._size[0]].copy())

    def _start_energies(self) -> None:
        if not self._has_energies:
            energies = _energies(self._ising, self._base, self.spins)
            self._lanes.energies.reshape(-1)[: self._size[0]] = energies.numpy()
            self._has_energies = True


class _TritonPopulation(Population):
    def __init__(
        self,
        kernels: ModuleType,
        ising: Ising,
        spins: Tensor,
        base: Tensor | None,
        clamp: Tensor | None,
        generator: torch.Generator | None,
    ):
        self._kernels, self._ising, self._base = kernels, ising, base
        self._spins, self._clamp, self._generator = spins, clamp, generator
        self._model = kernels.arrange_chains(ising, base)
        self.backend = f"triton-{type(self._model).__name__.lower()}"

    def sweep(self, betas: Tensor) -> None:
        # Drawn where the generator is: a seed on the GPU is never waited for.
        device = self._spins.device if self._generator is None else self._generator.device
        seed = torch.randint(2**63 - 1, (1,), generator=self._generator, device=device)
        betas = betas if betas.ndim == 2 else betas.unsqueeze(-1)
        self._spins = self._kernels.sweep_chains(
            self._model, self._spins, len(betas), seed, hold=self._clamp, betas=betas
        )

    def anneal(self, betas: Tensor) -> Tensor:
        log_weights = torch.zeros(len(self._spins), dtype=torch.float64, device=self._spins.device)
        for step, beta in zip(betas.double().diff(), betas[1:], strict=True):
            log_weights -= step * self.energies
            self.sweep(beta.unsqueeze(0))
        return log_weights

    @property
    def spins(self) -> Tensor:
        return self._spins

    @property
    def energies(self) -> Tensor:
        return _energies(self._ising, self._base, self._spins)


class _TorchPopulation(Population):
    def __init__(
        self,
        ising: Ising,
        spins: Tensor,
        base: Tensor | None,
        clamp: Tensor | None,
        generator: torch.Generator | None,
    ):
        self._ising, self._base, self._generator = ising, base, generator
        self._blocks = arrange(ising)
        if base is not None:
            rows = base.unsqueeze(-1)[self._blocks.order].to(self._blocks.h)
            self._blocks = self._blocks._replace(h=self._blocks.h - rows)
            self._base_rows = rows
        order = self._blocks.order
        self._state = spins.T[order].to(self._blocks.h)
        self._hold = None if clamp is None else clamp.T[order].to(self._blocks.h) * torch.inf
        # Now +-inf where a spin is held and NaN where it is free.
        self.backend = self._blocks.backend

    def sweep(self, betas: Tensor) -> None:
        for beta in betas.to(self._state):
            sweep_(self._state, self._blocks, self._noise(beta))

    def anneal(self, betas: Tensor) -> Tensor:
        log_weights = torch.zeros_like(self._state[0], dtype=torch.float64)
        for step, beta in zip(betas.double().diff(), betas[1:], strict=True):
            log_weights -= step * self.energies
            self.sweep(beta.unsqueeze(0))
        return log_weights

    @property
    def spins(self) -> Tensor:
        rows = torch.empty_like(self._state, dtype=torch.int8)
        rows[self._blocks.order] = self._state.to(torch.int8)
        return rows.T.contiguous()

    @property
    def energies(self) -> Tensor:
        return _energies(self._ising, self._base, self.spins)

    def _noise(self, beta: Tensor) -> Tensor:
        # The kernel compares noise with fields, so that at beta it is the noise that is scaled.
        noise = logistic_noise(
            (len(self._state), self._state.shape[1]), self._state, self._generator
        )
        if self._base is not None:
            noise -= self._base_rows
        noise = noise / beta
        return noise if self._hold is None else torch.where(self._hold.isnan(), noise, self._hold)


def _cuda_kernels(ising: Ising) -> ModuleType:
    device = ising.h.device.type
    if device != "cuda" and not os.environ.get("TRITON_INTERPRET"):
        raise ValueError(f"backend 'triton' runs on CUDA, but the model is on {device}")
    try:
        from qahm_torch.kernels import cuda
    except ImportError as error:
        raise RuntimeError(f"backend 'triton' does not work here: {error}") from error
    return cuda


def _start(
    ising: Ising, num_chains: int, state: Tensor | None, generator: torch.Generator | None
) -> Tensor:
    size = (num_chains, ising.num_spins)
    if state is None:
        return random_spins(size[::-1], ising.h, generator).T.to(torch.int8)
    if tuple(state.shape) != size:
        raise ValueError(
            f"state of shape {tuple(state.shape)} does not hold {num_chains} chains of "
            f"{ising.num_spins} spins"
        )
    return state.to(ising.h.device, torch.int8)


def _frozen(clamp: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    r"""Returns the spins (N,) that all chains hold, and `clamp` if some chains hold others too."""
    if clamp is None:
        return None, None
    held = clamp != 0
    frozen = held.all(0)
    return frozen, None if torch.equal(held.any(0), frozen) else clamp


def _energies(ising: Ising, base: Tensor | None, spins: Tensor) -> Tensor:
    values = spins.double()
    h = ising.h.double() if base is None else ising.h.double() - base.double()
    return (values * (h + Ising(ising.graph, h, ising.J.double()).fields(values))).sum(-1) / 2
