r"""What runs of several processes share, and what each of them has for itself."""

from __future__ import annotations

__all__ = [
    "gathered",
    "leave",
    "random_state",
    "run_folder",
    "save_alone",
    "seed_process",
    "set_random_state",
]

import subprocess
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

T = TypeVar("T")

PATIENCE = 10.0  # seconds for other processes to end by themselves once one has failed
HEAD_START = 2.0  # seconds that the first process has to notice that another one has failed
_is_alone = ContextVar("_is_alone", default=False)


def run_folder(trainer: pl.Trainer) -> Path | None:
    r"""Returns the folder of the first logger, where pictures and checkpoints go.

    Any process may ask at any time, unlike `trainer.log_dir`, at which all wait for each other.
    What counts is the answer in the first process, which alone writes files.
    """
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    has_own = isinstance(logger, (CSVLogger, TensorBoardLogger))
    folder = logger.log_dir if has_own else logger.save_dir
    return None if folder is None else Path(folder)


def seed_process(trainer: pl.Trainer) -> None:
    r"""Gives each of several processes random numbers of its own, by the seed that all have.

    Otherwise all would draw the same samples, and a second process would add nothing.
    """
    if trainer.world_size > 1:
        entropy = (torch.initial_seed(), trainer.global_rank)
        (seed,) = np.random.SeedSequence(entropy).generate_state(1)
        torch.manual_seed(int(seed))  # of CUDA, too


def random_state(device: torch.device) -> dict[str, Tensor]:
    r"""Returns the state of torch's random numbers, of the CPU and of a CUDA device."""
    state = {"cpu": torch.get_rng_state()}
    return {**state, "cuda": torch.cuda.get_rng_state(device)} if _is_cuda(device) else state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    r"""Sets what `random_state` returned, as far as the device is of the same kind."""
    torch.set_rng_state(state["cpu"].cpu())
    if _is_cuda(device) and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def gathered(value: T) -> list[T]:
    r"""Returns the values of all processes, which have to be here together, in order of rank."""
    if _is_alone.get() or not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def save_alone(trainer: pl.Trainer, path: Path) -> None:
    r"""Saves a checkpoint without waiting for other processes, which may have failed.

    Where there are several, it has the chains and the random state of the first one only, which
    ends the others.
    """
    if trainer.world_size == 1:
        trainer.save_checkpoint(path)
    elif trainer.is_global_zero:
        others = _taken_over(trainer)
        token = _is_alone.set(True)
        try:
            # The trainer's own way ends with a barrier.
            checkpoint = trainer._checkpoint_connector.dump_checkpoint()
            trainer.strategy.save_checkpoint(checkpoint, path)
        finally:
            _is_alone.reset(token)
            _end(others)


def leave(trainer: pl.Trainer) -> None:
    r"""Lets the first process notice that this other one has failed, before this one ends.

    It has to take over before the observer of `_taken_over` finds an ended process, which it would
    do first on a machine that is busy. Processes that others have started are left to these.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.is_global_zero or not isinstance(environment, LightningEnvironment):
        return
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        time.sleep(HEAD_START)


def _taken_over(trainer: pl.Trainer) -> list[Any]:
    r"""Returns the processes that this one has started, which Lightning no longer looks after.

    Its observer kills this process, too, at the next of its rounds after one of them has failed:
    before a checkpoint is written, or before this process has said what it failed of.
    """
    started = getattr(trainer.strategy.launcher, "procs", [])
    others = list(started)
    started.clear()
    return others


def _end(processes: list[Any]) -> None:
    r"""Waits until processes have ended, and kills those that wait for this one without end."""
    for process in processes:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_cuda(device: torch.device) -> bool:
    return device.type == "cuda"
