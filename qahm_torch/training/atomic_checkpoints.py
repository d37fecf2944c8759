r"""Checkpoints that are either complete or absent."""

from __future__ import annotations

__all__ = ["AtomicCheckpoints", "write_atomically"]

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from qahm_torch.nn.atomic import atomic_write


class AtomicCheckpoints(TorchCheckpointIO):
    r"""Writes each checkpoint beside the one that it replaces, and then puts it in its place.

    A disk that is full, a kill or a power cut leaves the former checkpoint as it was. Lightning
    by itself writes to the folder of temporary files, and copies from there.

    Example:
        >>> trainer = pl.Trainer(plugins=[AtomicCheckpoints()], logger=False)
        >>> type(trainer.strategy.checkpoint_io).__name__
        'AtomicCheckpoints'
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        r"""Writes a checkpoint.

        Raises:
            OSError: If the disk does not take it; what was at the path is then as it was.
            TypeError: If there are storage options, which files do not have.
        """
        if storage_options is not None:
            raise TypeError(f"storage_options is {storage_options!r}, but files have none")
        if "://" in str(path):
            # Object stores show a file when it is complete.
            super().save_checkpoint(checkpoint, path)
            return
        with atomic_write(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except (OSError, RuntimeError) as error:
                # torch has an error of its own for a disk that is full.
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise OSError(
                    f"{path} could not be written, perhaps because the disk is full ({reason}); "
                    "what was there is as it was"
                ) from error


def write_atomically(trainer: pl.Trainer) -> None:
    r"""Lets a trainer write checkpoints atomically, unless it has a plugin of its own for them."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpoints()
