r"""Data sets are looked at once, before they are trained or measured on."""

from __future__ import annotations

__all__ = ["check_data", "check_loader"]

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from qahm_torch.data import TensorDataModule
from qahm_torch.nn import Units
from qahm_torch.nn.support import check_values
from qahm_torch.training.batches import as_rows

PARTS = {"train": "the training data", "val": "the validation data", "test": "the test data"}
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


def check_loader(
    part: str, loader: Any, units: Units, num_classes: int, dtype: torch.dtype
) -> None:
    r"""Raises ValueError if the tensors of torch's loader are none that units take.

    What another data set makes of its rows is known of batches only, and not looked at.
    """
    data = getattr(loader, "dataset", None)
    if isinstance(data, TensorDataset) and loader.collate_fn is default_collate:
        data = as_rows(data.tensors, units.supports, num_classes, dtype, is_all=True)
    if isinstance(data, Tensor) and data.ndim == 2 and data.shape[-1] == units.num_units:
        check_values(PARTS[part], data, units.supports)


def _named(part: str, data: TensorDataModule) -> str:
    return f"{part} of {type(data).__name__}"
