r"""A run that goes on in its own folder."""

from __future__ import annotations

__all__ = ["GoOn", "own_run"]

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from qahm_torch.nn.newest import run_of, step_of, version_of
from qahm_torch.training.curves import ContinuedCurves
from qahm_torch.training.processes import run_folder


class GoOn(pl.Callback):
    r"""Takes up the curves and the checkpoints of a run where its checkpoint is.

    Rows of metrics.csv of later updates are forgotten, since these are made again. Later
    checkpoints are renamed to `*.ckpt.superseded`, so that none of them counts as the newest, and
    none is lost. Nothing is touched before the checkpoint has been loaded. Lightning is told where
    the folder goes by another path than when the run began.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint.get("callbacks", {}).get(callback.state_key)
            here = getattr(callback, "dirpath", None)
            if here is not None and state is not None and state.get("dirpath") is not None:
                _move(state, str(here))

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, ContinuedCurves):
                logger.cut(step)
        folder = run_folder(trainer)
        for file in sorted(folder.rglob("*.ckpt")) if folder is not None else ():
            if _is_later(file, step):
                file.replace(file.with_name(f"{file.name}.superseded"))


def own_run(checkpoint: Any, name: str) -> Path | None:
    r"""Returns the folder of the run that a checkpoint resumes; None if it begins another one.

    Arguments:
        checkpoint: The path, or a word of Lightning's such as "last", or None.
        name: The name of the run that is about to start. One of another name is another run.
    """
    if checkpoint is None or not Path(checkpoint).is_file():
        return None
    run = run_of(Path(checkpoint))
    return run if version_of(run) is not None and run.parent.name == name else None


def _move(state: dict[str, Any], here: str) -> None:
    r"""Writes another folder into what a `ModelCheckpoint` remembers of its files."""
    former, state["dirpath"] = Path(state["dirpath"]), here

    def moved(path: str) -> str:
        inside = former in Path(path).parents
        return str(Path(here, Path(path).relative_to(former))) if inside else path

    for name in ("best_model_path", "last_model_path", "kth_best_model_path"):
        state[name] = moved(state[name])
    state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}


def _is_later(file: Path, step: int) -> bool:
    try:
        return step_of(file) > step
    except (OSError, ValueError):
        # Cut short by what ended the run.
        return True
