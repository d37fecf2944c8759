r"""What `qahm fit` tells in the end: what was reached, what it took, and what comes next."""

from __future__ import annotations

__all__ = ["FitSummary"]

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl

from qahm_torch.annealer import TimeAccount
from qahm_torch.cli.columns import aligned, duration
from qahm_torch.data import TensorDataModule
from qahm_torch.nn.newest import newest_checkpoint
from qahm_torch.samplers import LogZ
from qahm_torch.training import MachineModule, MaximumLikelihood, PriorModule, RunStatus
from qahm_torch.training.device_callbacks import annealer_of
from qahm_torch.training.processes import run_folder

_LIKELIHOOD, _ACCURACY = "val/log_likelihood", "val/accuracy"
_NEXT = ("evaluate", "report")


class _Validated(NamedTuple):
    r"""What the last validation has measured, and after how many updates."""

    values: dict[str, float]
    log_z: LogZ | None
    updates: int


class FitSummary(pl.Callback):
    r"""Keeps what the last validation has measured, for `told` to tell it in the end.

    Arguments:
        status: Knows what the training has taken.
    """

    def __init__(self, status: RunStatus):
        self.status = status
        self._validated: _Validated | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        known, step = trainer.callback_metrics, trainer.global_step
        values = {name: float(known[name]) for name in (_LIKELIHOOD, _ACCURACY) if name in known}
        log_z = pl_module.validated_log_z if isinstance(pl_module, PriorModule) else None
        self._validated = _Validated(values, log_z, step)

    def told(self, trainer: pl.Trainer, trust: bool = False) -> str:
        r"""Returns the summary of a training that has ended, as lines of text.

        Arguments:
            trainer: The trainer.
            trust: Whether the commands that come next must trust the classes of the run.
        """
        rows = [("trained", _taken(self.status.taken(trainer), trainer.global_step))]
        if self._validated is not None:
            rows += _measured(self._validated, trainer)
        annealer = annealer_of(trainer.lightning_module)
        if annealer is not None:
            rows.append(("QPU time", _bill(annealer.account)))
        text = aligned(rows)
        folder = run_folder(trainer)
        if folder is None:
            return text
        text += f"\nrun folder: {folder}"
        commands = list(_next(trainer, folder, trust))
        return "\n".join([text, "next:", *commands]) if commands else text


def _taken(taken: dict[str, Any], updates: int) -> str:
    seconds = taken["seconds"]
    how_long = "" if seconds is None else f", {duration(seconds)} since it was started"
    counts = _count(taken["epochs"], "epoch"), _count(updates, "update")
    return f"{', '.join(counts)}{how_long}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _measured(validated: _Validated, trainer: pl.Trainer) -> Iterator[tuple[str, str]]:
    values, log_z, updates = validated
    when = "" if updates == trainer.global_step else f", after {_count(updates, 'update')}"
    if _LIKELIHOOD in values:
        value, module = values[_LIKELIHOOD], trainer.lightning_module
        told = f"{value:.4f}{_interval(value, log_z)} nats per validation datum{when}"
        if isinstance(module, MachineModule):
            number = module.num_val_particles
            told += f"; by {_count(number, 'hidden state')} each, which is too low on average"
        yield "log-likelihood", told
    if _ACCURACY in values:
        yield "accuracy", f"{values[_ACCURACY]:.4f} of the validation data{when}"


def _interval(value: float, log_z: LogZ | None) -> str:
    r"""Returns the interval of a likelihood by that of log Z."""
    if log_z is None:
        return ""
    if log_z.lower == log_z.upper:
        return " (log Z is exact)"
    lower, upper = value + log_z.value - log_z.upper, value + log_z.value - log_z.lower
    return f" [{lower:.4f}, {upper:.4f}] (of log Z)"


def _bill(account: TimeAccount) -> str:
    told = f"{account.spent:.4g} s, for {_count(account.num_problems, 'problem')}"
    told += f" of {_count(account.num_reads, 'read')} in all"
    if account.spent > account.measured:
        told += f"; {account.spent - account.measured:.4g} s of it estimated, without an answer"
    if account.budget is not None:
        told += f"; {account.left:.4g} s are left of the budget of {account.budget:g} s"
    return told


def _next(trainer: pl.Trainer, folder: Path, trust: bool) -> Iterator[str]:
    r"""Yields the commands that can be typed now; none where there is nothing for them to read."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    module = trainer.lightning_module
    if not isinstance(module, MachineModule | MaximumLikelihood):
        return
    if not isinstance(data, TensorDataModule) or not _has_checkpoint(folder):
        return
    for command in _NEXT:
        words = ["qahm", command, str(folder), *(["--trust"] if trust else [])]
        yield f"  {shlex.join(words)}"


def _has_checkpoint(folder: Path) -> bool:
    try:
        newest_checkpoint(folder)
    except FileNotFoundError:
        return False
    return True
