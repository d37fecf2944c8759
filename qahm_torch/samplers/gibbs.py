r"""Block Gibbs sampling on any graph."""

from __future__ import annotations

__all__ = ["GibbsSampler"]

from typing import Any

import torch
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.samplers.base import Sampler, Samples, check_request
from qahm_torch.samplers.kernels import arrange, logistic_noise, random_spins, sweep_


class GibbsSampler(Sampler):
    r"""Runs chains of heat-bath sweeps, a color class of spins at a time.

    Each spin is drawn from its law given the others,
    :math:`p(s_i = 1) = \sigma(-2 (h_i + \sum_j J_{ij} s_j))`; spins of one color do not interact
    and are drawn at once. Complete graphs take a sequential path, bipartite ones two matrix
    products per sweep, sparse ones gather neighbors.

    Without `state`, chains start from uniform random spins, and the samples are biased towards
    those by too few sweeps. With `state`, the chains run on (persistent chains). There is one
    sample per chain, its last state.

    Arguments:
        num_sweeps: The number of sweeps per call.

    Raises:
        ValueError: If `num_sweeps` is not positive; in `sample` if the model has a transverse
            field, or `state` holds another number of chains than samples are asked for.

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

    def __init__(self, num_sweeps: int = 10):
        if num_sweeps < 1:
            raise ValueError(f"num_sweeps is {num_sweeps}, but at least 1 sweep is needed")
        self.num_sweeps = num_sweeps

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
            blocks = arrange(ising)
            spins = _start(ising, num_samples, state, blocks.h, generator)[blocks.order]
            hold = None if clamp is None else _hold(clamp, num_samples, blocks.h)[blocks.order]
            for _ in range(self.num_sweeps):
                noise = logistic_noise((ising.num_spins, num_samples), blocks.h, generator)
                sweep_(spins, blocks, noise if hold is None else noise + hold)
            rows = torch.empty_like(spins)
            rows[blocks.order] = spins
        answer = rows.T.contiguous()
        info: dict[str, Any] = {"backend": blocks.backend, "num_sweeps": self.num_sweeps}
        return Samples(answer.to(ising.h.dtype), state=answer.to(torch.int8), info=info)


def _start(
    ising: Ising,
    num_samples: int,
    state: Tensor | None,
    like: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    if state is None:
        return random_spins((ising.num_spins, num_samples), like, generator)
    if tuple(state.shape) != (num_samples, ising.num_spins):
        raise ValueError(
            f"state of shape {tuple(state.shape)} does not hold {num_samples} chains of "
            f"{ising.num_spins} spins"
        )
    return state.to(like).T


def _hold(clamp: Tensor, num_samples: int, like: Tensor) -> Tensor:
    r"""Returns what to add to the noise: +-inf where a spin is held, 0 elsewhere; (N, S)."""
    clamp = clamp.to(like).expand(num_samples, -1).T
    return torch.where(clamp == 0, clamp, clamp * torch.inf)
