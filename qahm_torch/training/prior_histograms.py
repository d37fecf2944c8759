r"""How the parameters of a prior spread, as histograms on a board."""

from __future__ import annotations

__all__ = ["PriorHistograms"]

import pytorch_lightning as pl
import torch

from qahm_torch.training.boards import show_histograms
from qahm_torch.training.prior_module import boltzmann_of


class PriorHistograms(pl.Callback):
    r"""Shows histograms of a Boltzmann machine's parameters after training epochs.

    They are `prior/h`, `prior/J` and, with a transverse field, `prior/gamma`, in TensorBoard and
    W&B. Couplings whose tails grow from epoch to epoch are the usual reason of chains that stop to
    mix. Of a prior that is no Boltzmann machine, and without such a logger, nothing is shown.

    Arguments:
        every_n_epochs: How often to show them.

    Raises:
        ValueError: If `every_n_epochs` is not positive.

    Example:
        >>> trainer = pl.Trainer(callbacks=[PriorHistograms(every_n_epochs=5)], logger=False)
    """

    def __init__(self, every_n_epochs: int = 1):
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs is {every_n_epochs}, but at least 1 is needed")
        self.every_n_epochs = every_n_epochs

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        prior = boltzmann_of(pl_module)
        if prior is None or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        # In all processes: parameters that are cut into parts are put together here.
        model = prior.ising().detach()
        if trainer.is_global_zero:
            values = {"prior/h": model.h, "prior/J": model.J}
            field = {} if model.gamma is None else {"prior/gamma": model.gamma}
            show_histograms(trainer, {**values, **field})
