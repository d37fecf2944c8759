r"""Maximum likelihood for a prior alone, as a Lightning module."""

from __future__ import annotations

__all__ = ["MaximumLikelihood"]

from functools import partial
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.priors import BoltzmannPrior as Prior
from qahm_torch.training.prior_module import PriorModule


class MaximumLikelihood(PriorModule):
    r"""Trains a Boltzmann machine on spins directly.

    The negative phase is what the layer's sampler gives: with `negative="sampler"` its own chains
    (persistent contrastive divergence if the layer is persistent and the sampler Gibbs), with
    `negative="data"` chains that start at the data in every step (contrastive divergence; k is the
    number of sweeps of the sampler, which must take chains as its state).

    Arguments:
        layer: The Boltzmann machine.
        negative: Where the chains of the negative phase start, "sampler" or "data".
        optimizer: Returns the optimizer of parameter groups.
        lr_scheduler: Returns the learning-rate schedule, stepped per epoch.

    Raises:
        ValueError: If `negative` is neither of the two.

    References:
        | Training products of experts by minimizing contrastive divergence (Hinton, 2002)
        | https://doi.org/10.1162/089976602760128018
        | Training restricted Boltzmann machines using approximations to the likelihood gradient
          (Tieleman, 2008)
        | https://doi.org/10.1145/1390156.1390290
    """

    def __init__(
        self,
        layer: Prior,
        negative: Literal["sampler", "data"] = "sampler",
        optimizer: OptimizerCallable = partial(torch.optim.Adam, lr=1e-2, fused=True),  # noqa: B008
        lr_scheduler: LRSchedulerCallable | None = None,
    ):
        super().__init__(optimizer, lr_scheduler, None)
        if negative not in ("sampler", "data"):
            raise ValueError(f"negative is {negative!r}, not 'sampler' or 'data'")
        self.layer = layer
        self.start = negative

    @property
    def prior(self) -> Prior:
        return self.layer

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.negative = self.draw_negative() if self.start == "sampler" else self._from_data(batch)
        loss = -self.layer.log_prob(batch, self.negative).mean()
        self._log_train({"loss": loss})
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/log_likelihood", self.layer(batch).mean(), prog_bar=True)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test/log_likelihood", self.layer(batch).mean(), prog_bar=True)

    @torch.no_grad()
    def _from_data(self, batch: Tensor) -> Samples:
        start = self.layer.from_visible(batch.to(self.layer.h))
        return self.layer.sampler.sample(self.layer.ising().detach(), len(batch), state=start)
