r"""Whether the training of a run has ended, said in its folder."""

from __future__ import annotations

__all__ = ["RunStatus"]

from typing import Any

import pytorch_lightning as pl

from qahm_torch.evaluation import write_json
from qahm_torch.nn.newest import FINISHED, STATUS_FILE
from qahm_torch.training.processes import run_folder


class RunStatus(pl.Callback):
    r"""Keeps `status.json` in the run folder: "training", and "finished" once it has ended.

    A run that was stopped, killed, or that is still going on never counts before one that has
    ended (see `find_checkpoint`).
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say(trainer, status="training")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say(trainer, status=FINISHED)

    def _say(self, trainer: pl.Trainer, **told: Any) -> None:
        folder = run_folder(trainer)
        if folder is not None and trainer.is_global_zero:
            write_json(folder / STATUS_FILE, {**told, "updates": trainer.global_step})
