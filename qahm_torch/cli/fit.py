r"""`qahm fit`, `validate` and `test`: Lightning runs from YAML."""

from __future__ import annotations

__all__ = ["QahmCLI", "run"]

import contextlib
import errno
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, _InstantiatorFn
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from qahm_torch.cli.configs import with_paths
from qahm_torch.cli.display import by_default, size_of, without_noise
from qahm_torch.cli.fit_summary import FitSummary
from qahm_torch.cli.leftovers import Leftovers
from qahm_torch.cli.mistakes import UsageError, reading, told
from qahm_torch.cli.precision_here import precision_here
from qahm_torch.cli.processes_asked import check_processes
from qahm_torch.cli.run_folders import RUNS
from qahm_torch.training import (
    CheckpointAtEnd,
    CheckpointOnException,
    HyperParameters,
    RunConfig,
    RunStatus,
    find_checkpoint,
    freeze,
    keep_memory,
    load_fitting_weights,
    load_weights,
)
from qahm_torch.training.atomic_checkpoints import write_atomically
from qahm_torch.training.checkpoints import secure
from qahm_torch.training.curves import ContinuedCurves
from qahm_torch.training.linking import link_units
from qahm_torch.training.misfit import is_misfit, misfit
from qahm_torch.training.naming import needs_trust, parsing
from qahm_torch.training.processes import run_folder
from qahm_torch.training.resuming import GoOn, own_run
from qahm_torch.trust import local_path

DISK_IS_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
# What Lightning understands by itself.
CHECKPOINT_WORDS = ("last", "best", "hpc", "registry")


class QahmCLI(LightningCLI):
    r"""Lightning's command line, with run folders by name and fine-tuning.

    A run that is resumed from a checkpoint in its folder goes on there. A start that fails before
    the first update leaves the folder as it was.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._leftovers: Leftovers | None = None
        self._on_exception = CheckpointOnException()
        self._summary = FitSummary(RunStatus())
        try:
            with without_noise():
                super().__init__(*args, **kwargs)
        except BaseException:
            self._clear()
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--name", type=str, default="run", help="The run folder is runs/NAME/version_N."
        )
        parser.add_argument(
            "--num_threads",
            type=int | None,
            default=None,
            help="The number of threads of the processor; null for torch's own choice. Small "
            "networks are trained fastest by 1: others would wait for each other.",
        )
        parser.add_argument(
            "--finetune",
            type=str | None,
            default=None,
            help="A checkpoint or run folder whose weights and chains the training starts from, "
            "with the settings of this run. (To resume a run as it was, use --ckpt_path.)",
        )
        parser.add_argument(
            "--finetune_partial",
            type=bool,
            default=False,
            help="Whether --finetune takes what fits by name and shape, where the model of the "
            "checkpoint is another one; it then says what it has taken.",
        )
        parser.add_argument(
            "--freeze",
            type=list[str],
            default=[],
            help="Prefixes of the names of parameters that are not trained, such as "
            "[machine.recognition].",
        )
        link_units(parser)

    def _add_instantiators(self) -> None:
        for key, kind in (("model", self._model_class), ("data", self._datamodule_class)):
            self.parser.add_instantiator(_Instantiator(self, key), kind, subclasses=True)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        with reading(parser):
            self.config = parser.parse_args(with_paths(args))
        command = self.config.get("subcommand")
        if command is None:  # for somebody who builds the parts, and runs none of them
            return
        path = self.config[command].get("ckpt_path")
        if path is None and command != "fit":
            raise UsageError(
                f"{command} measures a trained model, but no checkpoint is named: give "
                "--ckpt_path runs/NAME/version_N/checkpoints/last.ckpt"
            )
        if path is not None:
            local_path(path)

    def _parse_ckpt_path(self) -> None:
        # Lightning lets a checkpoint change the configuration, and so name classes.
        pass

    def before_instantiate_classes(self) -> None:
        num_threads = self._get(self.config, "num_threads")
        if num_threads is not None:
            if num_threads < 1:
                raise UsageError(f"num_threads is {num_threads}, but at least 1 is needed")
            torch.set_num_threads(num_threads)
        check_processes(self._get(self.config, "trainer"))
        self._take_precision(self._get(self.config, "trainer"))
        checkpoint = self._get(self.config, "ckpt_path")
        if checkpoint is not None and checkpoint not in CHECKPOINT_WORDS:
            _check_is_file(Path(checkpoint))

    def _take_precision(self, trainer: Any) -> None:
        asked, taken = trainer.get("precision"), precision_here(trainer)
        if taken != asked:
            trainer["precision"] = taken
            rank_zero_only(print)(
                f"trainer.precision is {asked}, which this processor imitates slowly: taken is "
                f"{taken}",
                file=sys.stderr,
            )

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise UsageError(self._told(str(error))) from error

    def _told(self, text: str) -> str:
        if "backend found" not in text:
            return told(text)
        accelerator = self._get(self.config, "trainer.accelerator")
        return (
            f"trainer.accelerator is {accelerator}, but torch finds no such device here: "
            "take cpu, or auto for the best there is"
        )

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "fit":
            # Nothing is saved there.
            warnings.filterwarnings("ignore", "The dirpath has changed from")
        try:
            super()._run_subcommand(subcommand)
        except RuntimeError as error:
            if not is_misfit(error):
                raise
            path = self._get(self.config_init, "ckpt_path")
            raise ValueError(f"{path} is of another model: {misfit(error)}") from error

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        run = self._run_to_go_on()
        kwargs = {**by_default(self._get(self.config_init, "trainer")), **kwargs}
        if self._get(self.config_init, "trainer.logger") is None:
            kwargs = {**kwargs, "logger": self._loggers(run)}
        trainer = super().instantiate_trainer(**kwargs)
        write_atomically(trainer)
        secure(trainer)
        going_on = [GoOn()] if run is not None else []
        told = [HyperParameters(), self._summary.status, self._summary]
        trainer.callbacks.insert(0, CheckpointAtEnd())  # type: ignore[attr-defined]
        trainer.callbacks.extend([*going_on, *told, self._on_exception])  # type: ignore[attr-defined]
        folder = run_folder(trainer)
        if trainer.is_global_zero and folder is not None:
            self._leftovers = Leftovers(folder)
        return trainer

    def _run_to_go_on(self) -> Path | None:
        r"""Returns the folder of the run that is resumed, relative to here if it is below."""
        if self.subcommand != "fit":
            return None
        run = own_run(self._get(self.config, "ckpt_path"), self._get(self.config, "name"))
        # As it was named when the run began, by which Lightning knows its checkpoints again.
        here = run is not None and run.resolve().parent.parent == Path(RUNS).resolve()
        return Path(RUNS, run.parent.name, run.name) if run is not None and here else run

    def _loggers(self, run: Path | None) -> list[CSVLogger | TensorBoardLogger] | bool:
        if self.subcommand != "fit":
            # What is measured is printed, and is no run.
            return False
        name = self._get(self.config_init, "name")
        if run is None:
            csv = CSVLogger(RUNS, name, flush_logs_every_n_steps=10)
            # The same folder for both: each would count versions for itself.
            return [csv, TensorBoardLogger(RUNS, csv.name, version=f"version_{csv.version}")]
        place = str(run.parent.parent), run.parent.name, run.name
        csv = ContinuedCurves(*place, flush_logs_every_n_steps=10)
        return [csv, TensorBoardLogger(*place)]

    def _clear(self) -> None:
        r"""Removes what a start has left that has learned nothing."""
        if self._leftovers is not None and not self._on_exception.has_learned(self.trainer):
            self._leftovers.clear()

    def before_fit(self) -> None:
        # A run that goes on has what it once started from in its checkpoint.
        if self._get(self.config, "ckpt_path") is None:
            self._take_weights()
        freeze(self.model, self._get(self.config_init, "freeze"))
        if self.trainer.is_global_zero:
            print(size_of(self.model), file=sys.stderr)

    def _take_weights(self) -> None:
        source = self._get(self.config_init, "finetune")
        if source is not None:
            source = find_checkpoint(source)
            if self.trainer.is_global_zero:
                print(f"fine-tuning from {source}", file=sys.stderr)
        if self._get(self.config_init, "finetune_partial"):
            self._take_what_fits(source)
        elif source is not None:
            load_weights(self.model, source)

    def _take_what_fits(self, source: Path | None) -> None:
        if source is None:
            raise ValueError("finetune_partial is true, but --finetune names no checkpoint or run")
        fitting = load_fitting_weights(self.model, source)
        if self.trainer.is_global_zero:
            print(fitting)

    def after_fit(self) -> None:
        if self.trainer.is_global_zero:
            parts = [self._get(self.config, name) for name in ("model", "data")]
            print(self._summary.told(self.trainer, trust=needs_trust(parts)))


class _Instantiator(_InstantiatorFn):
    r"""Builds a model or a data set without what is linked among its settings.

    Lightning would write it there, also for a model that has no such part.
    """

    def __call__(
        self, class_type: Any, *args: Any, applied_instantiation_links: Any, **kwargs: Any
    ) -> Any:
        return super().__call__(class_type, *args, applied_instantiation_links={}, **kwargs)


def _check_is_file(checkpoint: Path) -> None:
    if not checkpoint.is_file():
        what = "is a folder" if checkpoint.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"ckpt_path is {checkpoint}, which {what}, but a run is resumed from a checkpoint "
            "file, such as runs/NAME/version_N/checkpoints/last.ckpt"
        )


def run(arguments: list[str]) -> None:
    r"""Runs `fit`, `validate` or `test` with the rest of the command line."""
    # Saturated units have gradients too small for normal floats, with which a CPU is slow.
    torch.set_flush_denormal(True)
    keep_memory()
    with parsing(), _told_threads():
        QahmCLI(
            pl.LightningModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            # Errors of the parser reach the user through `main`, without the whole configuration;
            # an option that is taken for another one would train another model.
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
            save_config_callback=RunConfig,
            save_config_kwargs={"overwrite": True},
            args=arguments,
        )


@contextlib.contextmanager
def _told_threads() -> Iterator[None]:
    r"""Tells in a line what a thread could not write, as that of TensorBoard on a full disk."""
    before = threading.excepthook

    def tell(failed: threading.ExceptHookArgs) -> None:
        if isinstance(failed.exc_value, OSError) and failed.exc_value.errno in DISK_IS_FULL:
            told = f"a file beside the training could not be written: {failed.exc_value}"
            print(told, file=sys.stderr)
        else:
            before(failed)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before
