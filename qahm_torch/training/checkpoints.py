r"""Checkpoint files: found, read, and refused where they are of an older form."""

from __future__ import annotations

__all__ = [
    "CONFIG_KEY",
    "SafeCheckpoints",
    "find_checkpoint",
    "read_checkpoint",
    "refuse_older",
    "secure",
]

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import CheckpointIO

from qahm_torch.nn.newest import newest_checkpoint
from qahm_torch.trust import local_path, read_weights

CONFIG_KEY = "qahm_config"

# What the configurations of 0.1 named, and where its embedded priors had their parameters.
_OLD_CLASSES = tuple(
    f"qahm_torch.training.{name}"
    for name in ("WakeSleep", "OptDigits", "MNIST16", "MNIST28", "BarsAndStripes")
)
_OLD_KEY = "prior.layer.h"


def find_checkpoint(path: str | Path) -> Path:
    r"""Returns a checkpoint file: the path itself, or the one of a folder that counts.

    Of a folder it is the last checkpoint of the highest version whose training has ended; where
    none has, of the highest version, with a warning.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the folder has runs of several names.
    """
    path = local_path(path)
    if path.is_dir():
        return newest_checkpoint(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; `qahm fit` leaves checkpoints in runs/NAME/version_N"
        )
    return path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    r"""Returns the content of a checkpoint, on the CPU, without running code that is in it.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If the file is not a whole checkpoint.
    """
    checkpoint = read_weights(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} holds no Lightning checkpoint: it has no 'state_dict'")
    return checkpoint


def refuse_older(checkpoint: dict[str, Any], name: str | Path = "the checkpoint") -> None:
    r"""Raises ValueError, in one sentence, if a checkpoint is of qahm_torch 0.1."""
    config = str(checkpoint.get(CONFIG_KEY, ""))
    is_old = (
        "rng_state" in checkpoint  # of the one process that there was
        or isinstance(checkpoint.get("prior_chains"), torch.Tensor)
        or any(old in config for old in _OLD_CLASSES)
        or any(key.endswith(_OLD_KEY) for key in checkpoint["state_dict"])
    )
    if is_old:
        raise ValueError(
            f"{name} was written by qahm_torch 0.1; this version cannot read it: use that one, or "
            "train anew"
        )


class SafeCheckpoints(CheckpointIO):
    r"""Writes checkpoints as another does, and reads them by `read_checkpoint` alone.

    Lightning leaves it to its caller whether a checkpoint may run code, and lets those from the
    web do so.

    Arguments:
        writer: Who writes and removes them.
    """

    def __init__(self, writer: CheckpointIO):
        self.writer = writer

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        self.writer.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(path)

    def remove_checkpoint(self, path: Any) -> None:
        self.writer.remove_checkpoint(path)

    def teardown(self) -> None:
        self.writer.teardown()


def secure(trainer: Any) -> None:
    r"""Lets a trainer read checkpoints by `read_checkpoint` alone."""
    strategy = trainer.strategy
    if not isinstance(strategy.checkpoint_io, SafeCheckpoints):
        strategy.checkpoint_io = SafeCheckpoints(strategy.checkpoint_io)
