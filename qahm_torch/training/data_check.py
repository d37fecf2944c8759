r"""Data sets are looked at once, before they are trained or measured on."""

from __future__ import annotations

__all__ = ["PartsLookedAt", "check_data"]

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.states import RunningStage
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from qahm_torch.data import TensorDataModule
from qahm_torch.nn import Units
from qahm_torch.nn.support import check_values
from qahm_torch.training.batches import as_rows

PARTS = {"train": "the training data", "val": "the validation data", "test": "the test data"}
_STAGES = {
    RunningStage.TRAINING: "train",
    RunningStage.VALIDATING: "val",
    RunningStage.SANITY_CHECKING: "val",
    RunningStage.TESTING: "test",
}
_ROWS = 10_000  # at a time, so that a transform takes little memory


def check_data(data: TensorDataModule, units: Units, parts: Iterable[str]) -> None:
    r"""Raises ValueError if a part of a data set holds values that units do not take.

    What counts is what becomes of the rows by `transform`. Its noise is of a generator of its own,
    so that a training is not changed.

    Arguments:
        data: The data set, set up.
        units: The visible units.
        parts: The names of the parts, of train, val and test.
    """
    for part in parts:
        rows = getattr(data, part)
        generator = torch.Generator(rows.device).manual_seed(0)
        if len(rows) and rows.shape[-1] == units.num_units:
            batches = [data.transform(chunk, generator=generator) for chunk in rows.split(_ROWS)]
            check_values(_named(PARTS[part], data), torch.cat(batches), units.supports)


class PartsLookedAt:
    r"""Looks at what other people's loaders give, once: as a whole, or in the first epoch.

    What a data set makes of its rows may be known of batches only. Each is looked at until the
    part was seen from end to end, which costs a synchronization of a GPU, and none after that.
    """

    def __init__(self) -> None:
        self._parts: set[str] = set()

    def add(self, *parts: str) -> None:
        r"""Remembers that there is nothing more to look at in parts of train, val and test."""
        self._parts.update(parts)

    def forget(self) -> None:
        r"""Looks at all parts anew, as there may be other data now."""
        self._parts.clear()

    def look_at_batch(self, states: Tensor, units: Units, trainer: Trainer | None) -> None:
        r"""Raises ValueError if a batch of a part that was not looked at is none of the units."""
        stage = None if trainer is None else trainer.state.stage
        part = None if stage is None else _STAGES.get(stage)
        if part is not None and part not in self._parts:
            check_values(f"a batch of {PARTS[part]}", states, units.supports)

    def look_at_loader(self, loader: Any, units: Units, classes: int, dtype: torch.dtype) -> None:
        r"""Raises ValueError if tensors that torch's loader trains on are none of the units."""
        data = getattr(loader, "dataset", None)
        if isinstance(data, TensorDataset) and loader.collate_fn is default_collate:
            data = as_rows(data.tensors, units.supports, classes, dtype, is_all=True)
        if isinstance(data, Tensor) and data.ndim == 2 and data.shape[-1] == units.num_units:
            check_values(PARTS["train"], data, units.supports)
            self.add("train")


def _named(part: str, data: TensorDataModule) -> str:
    return f"{part} of {type(data).__name__}"
