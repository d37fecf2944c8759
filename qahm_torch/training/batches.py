r"""Batches as other people's loaders give them: pairs with labels, images, bytes."""

from __future__ import annotations

__all__ = ["as_rows"]

import math
from typing import Any

import torch
from torch import Tensor

from qahm_torch.data import levels_of, one_hot_spins
from qahm_torch.data.image_rows import flat_rows
from qahm_torch.nn.support import Support

_BYTES = torch.arange(256.0)


def as_rows(
    batch: Any,
    supports: list[tuple[int, Support]],
    num_classes: int,
    dtype: torch.dtype,
    *,
    is_all: bool = False,
) -> Tensor:
    r"""Returns the visible states that a batch means, of shape (B, N_visible).

    Rows of floats are taken as they are. Images become rows; of a pair, the second are labels,
    which become class units, or are left out where a machine has none. Whole numbers are counts
    where the units count, bits where they take spins only, and else what `data.levels_of` says.

    Arguments:
        batch: A tensor of rows (B, N) or of images, gray or in color (see `flat_rows`), or a list
            or tuple of one and of labels (B,).
        supports: The values that the visible units take, as `Units.supports` has them.
        num_classes: The number of class units, which come last.
        dtype: That of the states.
        is_all: Whether these are all the data that there are (see `data.levels_of`).

    Raises:
        TypeError: If the batch is something else, or of a dtype of which it is not clear what it
            means for the units.
        ValueError: If a shape is not that of the units.
    """
    num_visible = sum(size for size, _ in supports)
    if isinstance(batch, Tensor) and batch.shape[1:] == (num_visible,) and batch.dtype == dtype:
        return batch
    values, labels = _parts(batch)
    rows = flat_rows("the batch", values).rows
    with_classes = num_classes > 0 and rows.shape[1] == num_visible
    features = num_visible - (0 if with_classes else num_classes)
    has_classes = with_classes or num_classes == 0 or labels is not None
    if rows.shape[1] != features or not has_classes:
        raise ValueError(
            f"the batch has shape {tuple(values.shape)}, {rows.shape[1]} values a row"
            f"{'' if labels is None else ' and labels'}, but the machine has {num_visible} "
            f"visible units{_classes_told(num_visible, num_classes)}"
        )
    pieces = [support for _, support in supports]
    rows = _coded(rows, pieces[:-1] if num_classes and len(pieces) > 1 else pieces, dtype, is_all)
    if with_classes or num_classes == 0 or labels is None:
        return rows
    if labels.is_floating_point() or labels.shape != rows.shape[:1]:
        raise ValueError(
            f"the labels have shape {tuple(labels.shape)} and dtype {labels.dtype}, but one whole "
            f"number for each row has ({len(rows)},) and torch.int64"
        )
    return torch.cat([rows, one_hot_spins(labels, num_classes).to(rows)], dim=-1)


def _parts(batch: Any) -> tuple[Tensor, Tensor | None]:
    parts = batch if isinstance(batch, list | tuple) else [batch]
    if not 1 <= len(parts) <= 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(
            f"the batch is {type(batch).__name__} ({kinds}), but a tensor of visible states or a "
            "pair of states and labels is needed"
        )
    return parts[0], parts[1] if len(parts) == 2 else None


def _classes_told(num_visible: int, num_classes: int) -> str:
    if num_classes == 0:
        return ""
    return (
        f", of which the last {num_classes} are class units: give rows of {num_visible}, or pairs "
        f"of {num_visible - num_classes} values and a label"
    )


def _coded(rows: Tensor, supports: list[Support], dtype: torch.dtype, is_all: bool) -> Tensor:
    values = rows.to(dtype)
    takes_levels = all(_takes(support, 2 * _BYTES / 255 - 1) for support in supports)
    if rows.is_floating_point() or (
        not takes_levels and all(_takes(support, _BYTES) for support in supports)
    ):
        return values
    # Of units that take no 256 levels, the values on which all agree are spins.
    num_levels = levels_of("values", rows, None if takes_levels else 2, is_all=is_all) or 2
    top = {torch.bool: 1, torch.uint8: 255}.get(rows.dtype, math.inf)
    if top >= num_levels and bool(((rows < 0) | (rows >= num_levels)).any()):
        told = ", ".join(sorted({support.told for support in supports}))
        raise TypeError(
            f"the batch has dtype {rows.dtype} and values up to {int(rows.max())}, of which it is "
            f"not known what they mean for units that take {told}: make floats of them"
        )
    return 2 * values / (num_levels - 1) - 1


def _takes(support: Support, values: Tensor) -> bool:
    return bool(support.holds(values.unsqueeze(-1)).all())
