r"""A sampler from outside the package: Metropolis, with chains that count their moves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qahm_torch import Chains, Sampler, Samples


@dataclass(frozen=True)
class CountedChains(Chains):
    moves: Tensor  # (S,), the number of accepted flips of each chain


class Metropolis(Sampler):
    r"""Flips spins one after the other, each by its Metropolis probability.

    Arguments:
        num_sweeps: The number of times that each spin is tried.
    """

    keeps_chains = True

    def __init__(self, num_sweeps: int = 5):
        self.num_sweeps = num_sweeps

    def _sample(self, ising, num_samples, *, clamp, state, generator):
        spins, moves = _start(ising, num_samples, clamp, state, generator)
        free = torch.ones_like(spins) if clamp is None else (clamp == 0).expand_as(spins)
        for _ in range(self.num_sweeps):
            for i in range(ising.num_spins):
                flipped = spins.clone()
                flipped[:, i].neg_()
                gain = ising.energy(spins) - ising.energy(flipped)
                uniform = torch.rand(num_samples, generator=generator, device=spins.device)
                accepted = (uniform < gain.exp()) & free[:, i].bool()
                spins = torch.where(accepted.unsqueeze(-1), flipped, spins)
                moves = moves + accepted
        return Samples(spins, state=CountedChains(spins, moves), info={"backend": "toy"})

    def _resumes(self, chains):
        return isinstance(chains, CountedChains)


def _start(ising, num_samples, clamp, state, generator):
    if state is None:
        size = (num_samples, ising.num_spins)
        spins = torch.randint(2, size, generator=generator, device=ising.h.device) * 2 - 1
    else:
        spins = state.spins
    spins = spins.to(ising.h)
    spins = spins if clamp is None else torch.where(clamp == 0, spins, clamp.to(spins))
    moves = getattr(state, "moves", torch.zeros(num_samples, device=spins.device))
    return spins, moves
