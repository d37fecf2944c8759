r"""Runs on disk: checkpoints that carry their configuration, found and loaded again."""

from __future__ import annotations

__all__ = ["Run", "RunConfig", "find_checkpoint", "load_run", "load_weights", "read_checkpoint"]

import pickle
import zipfile
from argparse import ArgumentError
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import ArgumentParser
from pytorch_lightning.cli import SaveConfigCallback

from qahm_torch.ising import Chains

CONFIG_KEY = "qahm_config"

# What torch.load raises where bytes are missing or wrong.
_UNREADABLE = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


class RunConfig(SaveConfigCallback):
    r"""Saves the configuration in the run folder, and in each checkpoint.

    A checkpoint then says how to build the model that it holds. The text has what the YAML files
    and the command line said, never objects.
    """

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CONFIG_KEY] = self.parser.dump(self.config, skip_none=False)


class Run(NamedTuple):
    r"""A trained model with the data module of its run, not yet set up."""

    module: pl.LightningModule
    data: pl.LightningDataModule
    checkpoint: Path

    @property
    def folder(self) -> Path:
        r"""The run folder, which holds metrics.csv, pictures and checkpoints."""
        parent = self.checkpoint.parent
        return parent.parent if parent.name == "checkpoints" else parent


def find_checkpoint(path: str | Path) -> Path:
    r"""Returns a checkpoint file: the path itself, or the newest one below a folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    found = sorted(path.rglob("*.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        what = "has no checkpoint (*.ckpt) in it" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; `qahm fit` leaves them in runs/NAME/version_N")
    return found[-1]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    r"""Returns the content of a checkpoint, on the CPU, without running code that is in it.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If the file is not a whole checkpoint.
    """
    # Opened here, so that an OSError of torch.load can only come of what is in the file.
    with open(path, "rb") as file:
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except _UNREADABLE as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"{path} cannot be read as a checkpoint; it may be cut short or of another kind "
                f"({reason})"
            ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} holds no Lightning checkpoint: it has no 'state_dict'")
    return checkpoint


def load_run(path: str | Path) -> Run:
    r"""Returns the model and the data module of a run, from the configuration in its checkpoint.

    The configuration names classes, which are imported: load only checkpoints that you trust.

    Arguments:
        path: A checkpoint file, or a run folder of which the newest checkpoint counts.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the checkpoint cannot be read, or carries no configuration or one whose
            classes or settings are not known.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    if CONFIG_KEY not in checkpoint:
        raise ValueError(
            f"{file} carries no configuration, as only checkpoints of `qahm fit` do; build the "
            "model yourself and use its `load_state_dict`"
        )
    config = yaml.safe_load(checkpoint[CONFIG_KEY])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(pl.LightningModule, "model", fail_untyped=False)
    parser.add_subclass_arguments(pl.LightningDataModule, "data", fail_untyped=False)
    try:
        parsed = parser.parse_object({"model": config["model"], "data": config["data"]})
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} carries a configuration that does not fit: {reason}") from error
    # The second is the older name, the only one before jsonargparse 4.49.
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    built = instantiate(parsed)
    _restore(built.model, checkpoint, file)
    return Run(built.model.eval(), built.data, file)


def load_weights(module: pl.LightningModule, path: str | Path) -> None:
    r"""Loads the weights and chains of another run into a model, for fine-tuning.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the checkpoint cannot be read or is of another model.
    """
    file = find_checkpoint(path)
    _restore(module, read_checkpoint(file), file)


def _restore(module: pl.LightningModule, checkpoint: dict[str, Any], file: Path) -> None:
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(f"{file} is of another model: {' '.join(lines[:4])}") from error
    prior = getattr(module, "prior", None)
    if prior is not None:
        chains = checkpoint.get("prior_chains")
        prior.chains = None if chains is None else Chains.from_state_dict(chains)
        learned = checkpoint.get("prior_sampler", {})
        # The account is of the run that spent it.
        prior.sampler.load_state_dict({k: v for k, v in learned.items() if k != "ledger"})
