r"""Averaged weights, with the log-partition function that belongs to them."""

from __future__ import annotations

__all__ = ["AveragedWeights"]

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging

from qahm_torch.training.prior_module import boltzmann_of


class AveragedWeights(EMAWeightAveraging):
    r"""An exponential average of the weights, which validation and checkpoints have.

    It is Lightning's `EMAWeightAveraging`, except that log Z is no average. That of averaged
    weights is estimated anew whenever a checkpoint is written and at the end of the training;
    before a validation, the Lightning module does so itself. Batch statistics are averaged as
    weights are.

    Arguments:
        decay: The factor by which the past counts less with each update.

    Raises:
        ValueError: If the factor is not between 0 and 1.

    References:
        | Acceleration of stochastic approximation by averaging (Polyak & Juditsky, 1992)
        | https://doi.org/10.1137/0330046
    """

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, but a factor from 0 to below 1 is needed")
        super().__init__(decay=decay)
        self.decay = decay

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._average_model is not None:
            _anchor(self._average_model.module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        _anchor(pl_module)


def _anchor(module: Any) -> None:
    prior = boltzmann_of(module)
    if prior is not None:
        # A generator of its own: the random numbers of the training stay as they are.
        generator = torch.Generator(prior.h.device).manual_seed(0)
        prior.estimate_log_z(num_temperatures=200, generator=generator)
