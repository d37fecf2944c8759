r"""Runs on disk: checkpoints that carry their configuration, found and loaded again."""

from __future__ import annotations

__all__ = ["Run", "RunConfig", "load_fitting_weights", "load_run", "load_weights"]

from argparse import ArgumentError
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import yaml
from jsonargparse import ArgumentParser
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.utilities import rank_zero_only

from qahm_torch.device.credentials import refuse_configured
from qahm_torch.nn import Fitting, load_fitting
from qahm_torch.nn.newest import run_of
from qahm_torch.training.checkpoints import (
    CONFIG_KEY,
    find_checkpoint,
    read_checkpoint,
    refuse_older,
)
from qahm_torch.training.linking import link_units
from qahm_torch.training.misfit import misfit
from qahm_torch.training.naming import Trust, check_names, imported, known_names, parsing
from qahm_torch.training.prior_module import PriorModule, boltzmann_of


class RunConfig(SaveConfigCallback):
    r"""Saves the configuration in the run folder, and in each checkpoint.

    A checkpoint then says how to build the model that it holds. The text has what the YAML files
    and the command line said, never objects.

    Raises:
        ValueError: If the configuration holds a token, or credentials of a sampler of D-Wave's.
    """

    def __init__(self, parser: Any, config: Any, *args: Any, **kwargs: Any):
        refuse_configured(config.as_dict())
        super().__init__(parser, config, *args, **kwargs)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Only a training makes a run; without loggers its folder is that of the user.
        if stage == "fit":
            super().setup(trainer, pl_module, stage)

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
        return run_of(self.checkpoint)


def load_run(path: str | Path, trust: Trust = False) -> Run:
    r"""Returns the model and the data module of a run, from the configuration in its checkpoint.

    The configuration names classes. Those of this package and of what it is trained with are
    imported, and those of packages that you have imported; others only if you trust the file,
    since to import a module is to run it. Each is built only where its type fits.

    Arguments:
        path: A checkpoint file, or a folder of which `find_checkpoint` says which one counts.
        trust: Whether all classes that it names may be imported, or the packages whose may.

    Raises:
        FileNotFoundError: If there is no checkpoint, or a file of its data is not there.
        ValueError: If the checkpoint cannot be read or is of qahm_torch 0.1, or carries no
            configuration or one whose classes or settings are not known, or not trusted.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    refuse_older(checkpoint, file)
    if CONFIG_KEY not in checkpoint:
        raise ValueError(
            f"{file} carries no configuration, as only checkpoints of `qahm fit` do; build the "
            "model yourself and use its `load_state_dict`"
        )
    told = _told(checkpoint[CONFIG_KEY], file)
    check_names(told, file, trust)
    known = known_names(trust)
    with parsing(None if known is None else [*known, *imported(told)]):
        built = _built(told, file, trust)
    _restore(built.model, checkpoint, file)
    return Run(built.model.eval(), built.data, file)


def _told(text: Any, file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(text)
        return {"model": config["model"], "data": config["data"]}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} carries no configuration of a run: {reason}") from error


def _built(told: dict[str, Any], file: Path, trust: Trust) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(pl.LightningModule, "model", fail_untyped=False)
    parser.add_subclass_arguments(pl.LightningDataModule, "data", fail_untyped=False)
    link_units(parser)
    try:
        parsed = parser.parse_object(told)
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} carries a configuration that does not fit: {reason}") from error
    # Once more, since text within it has been read by now.
    check_names(parsed, file, trust)
    # The second is the older name, the only one before jsonargparse 4.49.
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        return instantiate(parsed)
    except ValueError as error:
        # The parser says what types there are, and not what was wrong with the only one.
        if not isinstance(error.__cause__, OSError):
            raise
        raise FileNotFoundError(
            f"{file} was trained on data that are not found from here: {error.__cause__}; go to "
            "the folder in which it was trained"
        ) from error


def load_weights(module: pl.LightningModule, path: str | Path) -> None:
    r"""Loads the weights and chains of another run into a model, for fine-tuning.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the checkpoint cannot be read, is of qahm_torch 0.1 or of another model; the
            model is then as it was.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    refuse_older(checkpoint, file)
    _restore(module, checkpoint, file)


def load_fitting_weights(module: pl.LightningModule, path: str | Path) -> Fitting:
    r"""Loads what fits of the weights of another run into a model, and says what did.

    The names and the rules are those of `load_fitting`. The chains are loaded where the prior is.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the checkpoint cannot be read or is of qahm_torch 0.1, or if nothing fits.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    refuse_older(checkpoint, file)
    try:
        fitting = load_fitting(module, checkpoint["state_dict"])
    except ValueError as error:
        raise ValueError(f"{file} is of another model: {error}") from error
    prior = boltzmann_of(module)
    (prefix,) = [name for name, part in module.named_modules() if part is prior] or [None]
    if prefix is not None and any(name.startswith(f"{prefix}.") for name in fitting.taken):
        _take_prior(module, checkpoint)
    return fitting


def _restore(module: pl.LightningModule, checkpoint: dict[str, Any], file: Path) -> None:
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{file} is of another model: {misfit(error)}") from error
    _take_prior(module, checkpoint)


def _take_prior(module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
    r"""Gives a module the chains of a checkpoint, and what its sampler has learned."""
    if not isinstance(module, PriorModule):
        return
    # Lightning knows the rank before its processes meet.
    module.take_chains(checkpoint.get("prior_chains") or [], getattr(rank_zero_only, "rank", 0))
    prior = boltzmann_of(module)
    if prior is not None:
        learned = checkpoint.get("prior_sampler", {})
        # The account is of the run that spent it.
        prior.sampler.load_state_dict({k: v for k, v in learned.items() if k != "account"})
