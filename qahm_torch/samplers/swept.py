r"""Sweeps of the model after another sampler."""

from __future__ import annotations

__all__ = ["Swept"]

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.samplers.gibbs import GibbsSampler
from qahm_torch.samplers.sampler import Sampler, Submission
from qahm_torch.samplers.wrapper import Wrapper


class Swept(Wrapper):
    r"""Runs Gibbs sweeps from the samples of another sampler.

    They bring samples closer to the model, and make it explicit: where the other sampler is a
    device that is only about thermal (a gray box), what comes back is of the model that is written
    down. The sampler underneath goes on from its own samples and not from the swept ones.

    Arguments:
        sampler: The sampler that gives the starts.
        num_sweeps: The number of sweeps.

    Raises:
        ValueError: If `num_sweeps` is not positive.

    Example:
        >>> from qahm_torch import AnnealerSampler, SimulatedAnnealer
        >>> device = SimulatedAnnealer("chimera", 2, beta=2.0, seed=0)
        >>> Swept(AnnealerSampler(device), num_sweeps=10).is_billed
        True
    """

    def __init__(self, sampler: Sampler, num_sweeps: int = 10):
        super().__init__(sampler)
        self.takes_gamma = False
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
        pending = self.sampler.submit(
            ising, num_samples, clamp=clamp, state=state, generator=generator
        )

        def resolve() -> Samples:
            samples = pending.result()
            swept = self._sweeps.sample(
                ising, len(samples.spins), clamp=clamp, state=samples.spins, generator=generator
            )
            info: SampleInfo = {**(samples.info or {}), "num_sweeps": self.num_sweeps}
            return samples._replace(spins=swept.spins, info=info)

        return Submission(resolve)

    def __repr__(self) -> str:
        return f"Swept({self.sampler!r}, num_sweeps={self.num_sweeps})"
