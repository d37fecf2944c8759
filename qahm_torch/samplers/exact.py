r"""Independent draws from the exact law."""

from __future__ import annotations

__all__ = ["ExactSampler"]

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, Samples, all_states, exact_log_probs
from qahm_torch.samplers.sampler import Sampler


class ExactSampler(Sampler):
    r"""Draws independent samples of :math:`\langle s | e^{-H} | s \rangle / Z` by enumeration.

    Classical models of up to 20 spins are enumerated, models with a transverse field of up to 12
    spins are diagonalized. This is the sampler that the others are tested against. It has no
    chains.

    Example:
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3))
        >>> ExactSampler().sample(ising, 5).spins.shape
        torch.Size([5, 3])
    """

    takes_gamma = True

    def _sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Samples:
        log_probs = exact_log_probs(ising)
        if clamp is None:
            clamp = ising.h.new_zeros(ising.num_spins)
        index = _draw(log_probs, clamp.to(ising.h), num_samples, generator)
        states = all_states(ising.num_spins, ising.h.dtype, ising.h.device)
        return Samples(states[index], info={"backend": "enumeration"})


def _draw(
    log_probs: Tensor, clamp: Tensor, num_samples: int, generator: torch.Generator | None
) -> Tensor:
    if clamp.ndim == 1:
        return _draw_conditional(log_probs, clamp.unsqueeze(0), num_samples, generator).flatten()
    # Rows that hold the same set of spins share the states of the spins that are free.
    index = torch.empty(num_samples, dtype=torch.int64, device=clamp.device)
    patterns, member = (clamp != 0).unique(dim=0, return_inverse=True)
    for k in range(len(patterns)):
        rows = member == k
        index[rows] = _draw_conditional(log_probs, clamp[rows], 1, generator).flatten()
    return index


def _draw_conditional(
    log_probs: Tensor, clamp: Tensor, num_samples: int, generator: torch.Generator | None
) -> Tensor:
    r"""Returns indices of states of shape (R, S) for clamps (R, N) that hold the same spins."""
    bit = 2 ** torch.arange(clamp.shape[-1], device=clamp.device)
    free = clamp[0] == 0
    held_index = ((clamp > 0) * bit).sum(-1, keepdim=True)
    bits = (all_states(int(free.sum()), clamp.dtype, clamp.device) > 0).to(bit.dtype)
    index = held_index + bits @ bit[free]
    conditional = torch.softmax(log_probs[index], -1)
    drawn = torch.multinomial(conditional, num_samples, replacement=True, generator=generator)
    return index.gather(-1, drawn)
