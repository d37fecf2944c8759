r"""Settings that change in the course of a training."""

from __future__ import annotations

__all__ = ["Scheduled"]

import math
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from torch import nn


class Scheduled(pl.Callback):
    r"""Leads a setting from one value to another in the course of a training.

    The value is `start` until the share `begin` of all updates, goes straight to `end` until the
    share `until`, and stays. With `until` equal to `begin` it jumps.

    Arguments:
        name: The setting, by attributes from the Lightning module on, such as
            "objective.kl_weight" or "machine.generator.output.context.gain". A "*" is each of the
            modules of a list, as in "machine.recognition.units.*.temperature".
        start: The value at first.
        end: The value in the end.
        begin: The share of the updates at which it begins to change, from 0 to 1.
        until: The share at which it has changed.

    Raises:
        ValueError: If the shares are not in order between 0 and 1, or, when training begins, if
            there is no such setting, or no end of the training.

    Example:
        >>> Scheduled("objective.kl_weight", start=0.1, end=1.0, until=0.1).value_at(0.05)
        0.55
    """

    def __init__(
        self, name: str, start: float, end: float, begin: float = 0.0, until: float = 0.1
    ):
        if not 0 <= begin <= until <= 1:
            raise ValueError(
                f"begin is {begin} and until {until}, but they are shares of the training: "
                "0 <= begin <= until <= 1"
            )
        self.name = name
        self.start = start
        self.end = end
        self.begin = begin
        self.until = until

    def value_at(self, share: float) -> float:
        r"""Returns the value after a share of the updates, from 0 to 1."""
        if share >= self.until:
            return self.end
        if share <= self.begin:
            return self.start
        done = (share - self.begin) / (self.until - self.begin)
        return self.start + done * (self.end - self.start)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not math.isfinite(trainer.estimated_stepping_batches):
            raise ValueError(
                f"{self.name} is to change over the training, but the training has no end: set "
                "max_epochs or max_steps"
            )
        if not self._owners(pl_module):
            raise ValueError(f"{self.name} is not a number that {type(pl_module).__name__} has")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        share = trainer.global_step / trainer.estimated_stepping_batches
        for owner in self._owners(pl_module):
            setattr(owner, self.name.rpartition(".")[2], self.value_at(share))

    def _owners(self, module: nn.Module) -> list[Any]:
        r"""Returns what has the setting."""
        path, _, last = self.name.rpartition(".")
        found = list(_followed(module, path.split(".") if path else []))
        has_all = all(isinstance(getattr(owner, last, None), int | float) for owner in found)
        return found if has_all else []


def _followed(root: Any, names: list[str]) -> Iterator[Any]:
    r"""Yields what the attributes lead to."""
    if not names:
        yield root
        return
    first, *rest = names
    steps = root.children() if first == "*" else [getattr(root, first, None)]
    for step in steps:
        yield from _followed(step, rest)
