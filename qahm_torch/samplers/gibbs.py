r"""Block Gibbs sampling on any graph."""

from __future__ import annotations

__all__ = ["GibbsSampler"]

from typing import Any

import torch
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.samplers.base import Sampler, Samples, check_request
from qahm_torch.samplers.kernels.backends import check_backend
from qahm_torch.samplers.kernels.population import populate


class GibbsSampler(Sampler):
    r"""Runs chains of heat-bath sweeps.

    Each spin is drawn from its law given the others,
    :math:`p(s_i = 1) = \sigma(-2 (h_i + \sum_j J_{ij} s_j))`. On the CPU, kernels compiled by
    numba draw the spins one by one and many chains at once, in single precision. Elsewhere, torch
    draws the spins of one color at once, which do not interact.

    Without `state`, chains start from uniform random spins, and the samples are biased towards
    those by too few sweeps. With `state`, the chains run on (persistent chains). There is one
    sample per chain, its last state.

    Arguments:
        num_sweeps: The number of sweeps per call.
        backend: "numba" on the CPU, "triton" on CUDA (tested in its interpreter only), "torch"
            anywhere, or "auto" for numba on the CPU wherever it works and torch elsewhere.

    Raises:
        ValueError: If `num_sweeps` is not positive or there is no such backend; in `sample` if the
            model has a transverse field, or `state` holds another number of chains than samples
            are asked for.

    References:
        | Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images
          (Geman & Geman, 1984)
        | https://doi.org/10.1109/TPAMI.1984.4767596

    Example:
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3))
        >>> GibbsSampler(num_sweeps=10).sample(ising, 5).spins.shape
        torch.Size([5, 3])
    """

    def __init__(self, num_sweeps: int = 10, backend: str = "auto"):
        if num_sweeps < 1:
            raise ValueError(f"num_sweeps is {num_sweeps}, but at least 1 sweep is needed")
        check_backend(backend)
        self.num_sweeps = num_sweeps
        self.backend = backend

    @torch.no_grad()
    def sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None = None,
        state: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Samples:
        check_request(ising, num_samples, clamp)
        if not ising.is_classical:
            raise ValueError(
                "Gibbs sampling needs a classical model, but gamma is not 0; "
                f"ExactSampler draws from one with a transverse field, and this one has "
                f"{ising.num_spins} spins"
            )
        with torch.autocast(ising.h.device.type, enabled=False):
            chains = populate(
                ising,
                num_samples,
                state=state,
                clamp=clamp,
                generator=generator,
                backend=self.backend,
            )
            chains.sweep(torch.ones(self.num_sweeps))
        spins = chains.spins
        info: dict[str, Any] = {"backend": chains.backend, "num_sweeps": self.num_sweeps}
        return Samples(spins.to(ising.h.dtype), state=spins, info=info)
