r"""Whether the training of a run has ended, and what it took, said in its folder."""

from __future__ import annotations

__all__ = ["RunStatus"]

import time
from typing import Any

import pytorch_lightning as pl

from qahm_torch.evaluation import write_json
from qahm_torch.nn.newest import FINISHED, STATUS_FILE
from qahm_torch.training.device_callbacks import annealer_of
from qahm_torch.training.processes import run_folder


class RunStatus(pl.Callback):
    r"""Keeps `status.json` in the run folder: "training", and "finished" once it has ended.

    A run that was stopped by an error or an interrupt is "stopped"; one that was killed remains
    "training". Neither, nor one that is still going on, ever counts before one that has ended (see
    `find_checkpoint`). At the end there are also the updates and epochs in all, the seconds since
    this start, and the QPU seconds where an annealer was asked.
    """

    def __init__(self) -> None:
        self._start: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()
        self._say(trainer, status="training")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say(trainer, status=FINISHED, **self.taken(trainer))

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if trainer.training and self._start is not None:
            try:
                self._say(trainer, status="stopped", **self.taken(trainer))
            except OSError:
                # What stopped the training is to be told, not this; "training" is no lie.
                return

    def taken(self, trainer: pl.Trainer) -> dict[str, Any]:
        r"""Returns what a training has taken: epochs, seconds and QPU seconds (None for none)."""
        annealer = annealer_of(trainer.lightning_module)
        return {
            "epochs": trainer.current_epoch,
            "seconds": None if self._start is None else time.perf_counter() - self._start,
            "qpu_seconds": None if annealer is None else annealer.account.spent,
        }

    def _say(self, trainer: pl.Trainer, **told: Any) -> None:
        folder = run_folder(trainer)
        if folder is not None and trainer.is_global_zero:
            write_json(folder / STATUS_FILE, {**told, "updates": trainer.global_step})
