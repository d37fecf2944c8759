r"""What a training that ends or is stopped leaves behind."""

from __future__ import annotations

__all__ = ["CheckpointAtEnd", "CheckpointOnException"]

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_info

from qahm_torch.training.processes import leave, run_folder, save_alone


class CheckpointAtEnd(pl.Callback):
    r"""Writes the last checkpoint once more at the end of a training, if there were updates since.

    A `ModelCheckpoint` writes at validations, or each so many epochs, so that the epochs after the
    last of them would be in no file. Those with `save_last` are meant: of others one file would be
    more than was asked for. It stands ahead of callbacks that change weights in the end, as
    `AveragedWeights` does.
    """

    def __init__(self) -> None:
        self._saved = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = trainer.global_step

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._saved = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._saved == trainer.global_step:
            return
        for callback in trainer.checkpoint_callbacks:
            # Where nothing was written before, Lightning writes it.
            if isinstance(callback, ModelCheckpoint) and callback.last_model_path:
                trainer.save_checkpoint(callback.last_model_path)


class CheckpointOnException(pl.Callback):
    r"""Saves `checkpoints/on_exception.ckpt` in the run folder when training stops by an error.

    An interrupt from the keyboard counts as one, and so does SIGTERM, so that nothing trained is
    lost. Before the first update there is nothing to save, and nothing is saved. Of several
    processes the first one saves what it has, since others may not answer any more.
    """

    def __init__(self) -> None:
        self._start: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = trainer.global_step

    def has_learned(self, trainer: pl.Trainer) -> bool:
        r"""Returns whether there was an update since the training began, or was resumed."""
        return self._start is not None and trainer.global_step > self._start

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        leave(trainer)
        folder = run_folder(trainer)
        if folder is None or not trainer.training:
            return
        if not self.has_learned(trainer):
            rank_zero_info("stopped before the first update, so that there is nothing to save")
            return
        path = folder / "checkpoints" / "on_exception.ckpt"
        try:
            save_alone(trainer, path)
        except OSError as error:
            # What stopped the training is to be told, not this.
            rank_zero_info(f"what was learned is not saved: {error}")
            return
        rank_zero_info(
            f"saved {path} after {trainer.global_step} updates; {_advice(folder, path)}"
        )


def _advice(folder: Path, path: Path) -> str:
    config = folder / "config.yaml"
    if config.is_file():
        return f"resume with: qahm fit --config {config} --ckpt_path {path}"
    return f"resume with --ckpt_path {path}"
