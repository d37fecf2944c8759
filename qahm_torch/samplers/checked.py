r"""A sampler whose answers are compared with those of another one."""

from __future__ import annotations

__all__ = ["Checked"]

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples, agreement
from qahm_torch.samplers.sampler import Sampler, Submission
from qahm_torch.samplers.wrapper import Wrapper


class Checked(Wrapper):
    r"""Compares the moments of each answer with those of a reference, and says if they disagree.

    The reference is asked for as many samples, and `agreement` tests whether both sets have the
    same moments. An answer disagrees where the p-value is below `level`, which is the probability
    of a false alarm per answer of a sampler that is right. In `info` are `p_value`, `disagrees`
    and `device_weight`, the weight of the samples in the mixture with the reference that errs
    least, which `mixed_samples` makes.

    The test sees what differs by more than the noise of the samples: the more samples, the smaller
    the errors that are told, also such as do no harm. Whether they spoil a gradient is the
    question of `gradient_direction`. Answers with held spins, and single samples, which have no
    scatter to compare with, are handed on unchecked.

    Arguments:
        sampler: The sampler that is checked, such as an `AnnealerSampler`, whose samples are
            independent.
        reference: A sampler of the law that is meant, whose samples are independent, too. It has
            no chains that run on: a `GibbsSampler` needs sweeps enough to forget its start.
        level: The probability of a false alarm.
        replace: Whether an answer that disagrees is replaced by the samples of the reference.

    Raises:
        ValueError: If `level` is not between 0 and 1; in `sample`, if samples are weighted.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> from qahm_torch import AnnealerSampler, ExactSampler, SimulatedAnnealer
        >>> device = SimulatedAnnealer("chimera", 2, beta=2.0, seed=0)
        >>> Checked(AnnealerSampler(device), ExactSampler()).is_billed
        True
    """

    def __init__(
        self, sampler: Sampler, reference: Sampler, level: float = 1e-3, replace: bool = False
    ):
        super().__init__(sampler)
        if not 0 < level < 1:
            raise ValueError(f"level is {level}, but a probability is between 0 and 1")
        self.takes_gamma = sampler.takes_gamma and reference.takes_gamma
        self.reference = reference
        self.level = level
        self.replace = replace

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        pending = self.sampler.submit(
            ising, num_samples, clamp=clamp, state=state, generator=generator
        )
        if clamp is not None:
            return pending

        def resolve() -> Samples:
            return self._compared(pending.result(), ising, generator)

        return Submission(resolve)

    def _compared(
        self, samples: Samples, ising: Ising, generator: torch.Generator | None
    ) -> Samples:
        if len(samples.spins) < 2:
            return samples
        other = self.reference.sample(ising, len(samples.spins), generator=generator)
        for name, answer in (("sampler", samples), ("reference", other)):
            if answer.weights is not None:
                raise ValueError(
                    f"the {name} gives weighted samples, but only those of equal weights are "
                    "compared"
                )
        found = agreement(ising.graph, samples.spins, other.spins)
        disagrees = found.p_value < self.level
        info: SampleInfo = {
            **(samples.info or {}),
            "p_value": found.p_value,
            "disagrees": disagrees,
            "device_weight": found.weight,
        }
        spins = other.spins if self.replace and disagrees else samples.spins
        return samples._replace(spins=spins, info=info)

    def __repr__(self) -> str:
        return f"Checked({self.sampler!r}, {self.reference!r}, level={self.level})"
