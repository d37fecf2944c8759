r"""Jumps between the samples of another sampler."""

from __future__ import annotations

__all__ = ["Darting"]

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.samplers.gibbs import GibbsSampler
from qahm_torch.samplers.sampler import Sampler, Submission
from qahm_torch.samplers.wrapper import Wrapper


class Darting(Wrapper):
    r"""Gibbs chains that start at the samples of another sampler, and jump from one to another.

    The distinct samples are the darts. In each round a chain that stands at a dart is redrawn from
    all of them, in proportion to the model,

    .. math:: P(a \to a') = p(a') / \sum_{b \in D} p(b), \qquad a, a' \in D,

    and then runs Gibbs sweeps. Both leave the model invariant, whatever law the darts have: so the
    weights of modes become right where a device has found the modes and weighs them wrongly, which
    sweeps alone do not repair. A mode that has not been found stays missing, and where the states
    are so many that chains do not come back to darts, this is no more than sweeps.

    On a bipartite graph the states are those of the first of the two color classes, with the other
    one summed out, so that chains meet darts more often. It is the rejection-free form of an
    independent Metropolis chain whose proposals are the samples.

    Arguments:
        sampler: The sampler that gives the darts, classical or a device.
        num_rounds: The number of rounds.
        num_sweeps: The number of Gibbs sweeps of a round.

    Raises:
        ValueError: If a number is not positive.

    References:
        | Smart darting Monte Carlo (Andricioaei et al., 2001)
        | https://doi.org/10.1063/1.1358861
        | Quantum annealing enhanced Markov-chain Monte Carlo (Arai & Kadowaki, 2025)
        | https://arxiv.org/abs/2502.08060

    Example:
        >>> from qahm_torch import AnnealerSampler, SimulatedAnnealer
        >>> device = SimulatedAnnealer("chimera", 2, beta=2.0, seed=0)
        >>> Darting(AnnealerSampler(device), num_rounds=20).is_billed
        True
    """

    def __init__(self, sampler: Sampler, num_rounds: int = 10, num_sweeps: int = 1):
        super().__init__(sampler)
        if num_rounds < 1:
            raise ValueError(f"num_rounds is {num_rounds}, but chains take at least 1 round")
        self.can_clamp = False
        self.takes_gamma = False
        self.num_rounds = num_rounds
        self.num_sweeps = num_sweeps
        self._sweeps = GibbsSampler(num_sweeps)

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        pending = self.sampler.submit(ising, num_samples, state=state, generator=generator)

        def resolve() -> Samples:
            samples = pending.result()
            spins = self._darted(ising, samples.spins, generator)
            info: SampleInfo = {
                **(samples.info or {}),
                "num_sweeps": self.num_rounds * self.num_sweeps,
            }
            return samples._replace(spins=spins, weights=None, info=info)

        return Submission(resolve)

    def _darted(self, ising: Ising, spins: Tensor, generator: torch.Generator | None) -> Tensor:
        kept, summed = _sides(ising)
        darts = torch.unique(spins[:, kept], dim=0)
        law = _log_weights(ising, darts, kept, summed).softmax(0)
        for _ in range(self.num_rounds):
            at_dart = _among(spins[:, kept], darts)
            choice = torch.multinomial(law, len(spins), replacement=True, generator=generator)
            jumped = spins.clone()
            jumped[:, kept] = darts[choice]
            spins = torch.where(at_dart.unsqueeze(-1), jumped, spins)
            spins = _redrawn(ising, spins, summed, generator)
            count = len(spins)
            spins = self._sweeps.sample(ising, count, state=spins, generator=generator).spins
        return spins

    def __repr__(self) -> str:
        return f"Darting({self.sampler!r}, num_rounds={self.num_rounds})"


def _sides(ising: Ising) -> tuple[Tensor, Tensor]:
    r"""Returns the spins that make a state, and those that are summed out."""
    classes = ising.graph.color_classes
    if len(classes) == 2:
        return classes[0], classes[1]
    return torch.arange(ising.num_spins), torch.arange(0)


def _log_weights(ising: Ising, states: Tensor, kept: Tensor, summed: Tensor) -> Tensor:
    r"""Returns log p of states up to a constant, in double precision, of shape (S,)."""
    spins = states.new_zeros(len(states), ising.num_spins, dtype=torch.float64)
    spins[:, kept] = states.double()
    # Spins of 0 add nothing to the energy, and the fields on them are those of the states.
    fields = ising.fields(spins)[:, summed].abs()
    both = fields + torch.log1p(torch.exp(-2 * fields))
    return both.sum(-1) - ising.energy(spins)


def _among(states: Tensor, darts: Tensor) -> Tensor:
    r"""Returns which states are darts, of shape (S,)."""
    _, index = torch.unique(torch.cat([darts, states]), dim=0, return_inverse=True)
    return torch.isin(index[len(darts) :], index[: len(darts)])


def _redrawn(
    ising: Ising, spins: Tensor, summed: Tensor, generator: torch.Generator | None
) -> Tensor:
    r"""Returns the spins with those that are summed out drawn anew, given the others."""
    if not len(summed):
        return spins
    up = torch.sigmoid(-2 * ising.fields(spins)[:, summed])
    random = torch.rand(up.shape, dtype=up.dtype, device=up.device, generator=generator)
    spins = spins.clone()
    spins[:, summed] = torch.where(random < up, 1.0, -1.0).to(spins)
    return spins
