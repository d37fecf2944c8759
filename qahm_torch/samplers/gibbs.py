r"""Block Gibbs sampling on any graph."""

from __future__ import annotations

__all__ = ["GibbsSampler"]

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.kernels.backends import check_backend
from qahm_torch.kernels.population import populate
from qahm_torch.samplers.sampler import Sampler


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
        ValueError: If `num_sweeps` is not positive or there is no such backend.

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

    keeps_chains = True

    def __init__(self, num_sweeps: int = 10, backend: str = "auto"):
        if num_sweeps < 1:
            raise ValueError(f"num_sweeps is {num_sweeps}, but at least 1 sweep is needed")
        check_backend(backend)
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
        chains = populate(
            ising,
            num_samples,
            state=None if state is None else state.spins,
            clamp=clamp,
            generator=generator,
            backend=self.backend,
        )
        chains.sweep(torch.ones(self.num_sweeps))
        spins = chains.spins
        info: SampleInfo = {"backend": chains.backend, "num_sweeps": self.num_sweeps}
        return Samples(spins.to(ising.h.dtype), state=Chains(spins), info=info)
