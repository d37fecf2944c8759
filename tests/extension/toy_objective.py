r"""An objective from outside the package: a bound by several particles, and dreams."""

from __future__ import annotations

import torch
from torch import Tensor

from qahm_torch import HelmholtzMachine, Objective, Samples, sleep_loss


class ImportanceWeighted(Objective):
    r"""Maximizes the importance-weighted bound; the recognition network learns from dreams.

    Arguments:
        num_particles: The number of hidden states per datum.
    """

    def __init__(self, num_particles: int = 3):
        self.num_particles = num_particles

    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        states, log_q = machine.infer(batch, self.num_particles, generator=generator)
        rows = batch.expand(self.num_particles, *batch.shape)
        log_w = machine.log_joint([rows, *states], negative) - log_q.detach()
        bound = (log_w.logsumexp(0) - torch.tensor(float(self.num_particles)).log()).mean()
        seeds = machine.prior.to_visible(negative.spins.to(batch))
        dreams = sleep_loss(machine, seeds, generator=generator)
        return {"loss": dreams - bound, "bound": bound, "dreams": dreams}
