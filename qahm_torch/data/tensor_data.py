r"""Tensors of one's own, as a data set."""

from __future__ import annotations

__all__ = ["TensorData"]

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from qahm_torch.data.coding import grid_rows, levels_of, one_hot_spins
from qahm_torch.data.image_rows import flat_rows
from qahm_torch.data.loader import check_count
from qahm_torch.data.tensor_module import Splits, TensorDataModule


class TensorData(TensorDataModule):
    r"""Tensors in memory, split by a seed into rows for training, validation and test.

    Floats are taken as they are, and checked against the visible units when they are trained on.
    Booleans become spins. Whole numbers are levels, of which l becomes :math:`2 l / (L - 1) - 1`:
    bytes have L = 256, and for bits or other whole numbers `num_levels` says L (see `levels_of`).
    Labels become class units, +1 for the class and -1 for the others, which come last.

    Arguments:
        values: The data, as a tensor, an array or a `TensorDataset` of values, or of values and
            labels: rows (R, N), gray images (R, rows, columns) or (R, 1, rows, columns), or color
            images (R, 3, rows, columns) or (R, rows, columns, 3), of which red, green and blue of
            a pixel come side by side in a row.
        labels: The classes of the rows, whole numbers from 0 on, of shape (R,); None for none.
        num_classes: The number of classes; None for one more than the largest label.
        num_levels: The number L of levels, where values are whole numbers; None for 2
            of booleans and 256 of bytes, of which some is then above 1.
        batch_size: The number of rows of a batch.
        num_val: The number of rows for validation.
        num_test: The number of rows for the test; the remaining rows are for training.
        seed: The seed of the split and of the order of the training rows.

    Raises:
        TypeError: If values or labels are no tensors or arrays, or of a dtype of which it is not
            clear what it means.
        ValueError: If shapes do not fit each other, a level or a label is out of range, or no row
            is left for training.

    Example:
        >>> images = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8)
        >>> data = TensorData(images, labels=torch.arange(50) % 3, num_test=10)
        >>> data.setup()
        >>> data.train.shape, data.image_shape, data.num_classes
        (torch.Size([40, 19]), (4, 4), 3)
    """

    def __init__(
        self,
        values: Any,
        labels: Any = None,
        num_classes: int | None = None,
        num_levels: int | None = None,
        batch_size: int = 100,
        num_val: int = 0,
        num_test: int = 0,
        seed: int = 0,
    ):
        values, labels = _unpacked(values, labels)
        rows, image_shape = flat_rows("values", _tensor("values", values))
        classes = None if labels is None else _checked_labels(labels, len(rows))
        if classes is None:
            if num_classes is not None:
                raise ValueError(f"num_classes is {num_classes}, but there are no labels")
            num_classes = 0
        elif num_classes is None:
            num_classes = int(classes.max()) + 1
        num_levels = levels_of("values", rows, num_levels, is_all=True)
        super().__init__(
            rows.shape[1],
            batch_size=batch_size,
            seed=seed,
            num_classes=num_classes,
            num_levels=num_levels,
            image_shape=image_shape,
        )
        check_count("num_val", num_val, 0)
        check_count("num_test", num_test, 0)
        check_count("num_val + num_test", num_val + num_test, 0, len(rows) - 1)
        self.num_val = num_val
        self.num_test = num_test
        self._rows = _coded(rows, num_levels, classes, num_classes)

    def load_splits(self) -> Splits:
        order = torch.randperm(len(self._rows), generator=torch.Generator().manual_seed(self.seed))
        rows = self._rows[order.to(self._rows.device)]
        test, val, train = rows.tensor_split((self.num_test, self.num_test + self.num_val))
        return Splits(train, val, test)


def _unpacked(values: Any, labels: Any) -> tuple[Any, Any]:
    if not isinstance(values, TensorDataset):
        return values, labels
    if len(values.tensors) > 2 or (len(values.tensors) == 2 and labels is not None):
        raise ValueError(
            f"the TensorDataset has {len(values.tensors)} tensors"
            f"{'' if labels is None else ' and there are labels besides'}, but values and, at "
            "most, labels are taken"
        )
    tensors = list(values.tensors)
    return tensors[0], tensors[1] if len(tensors) == 2 else labels


def _tensor(name: str, values: Any) -> Tensor:
    import numpy as np

    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return torch.from_numpy(np.ascontiguousarray(values))
    if not isinstance(values, Tensor):
        what = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else "a"
        kind = "" if isinstance(values, np.ndarray) else f" {type(values).__name__}"
        raise TypeError(f"{name} is {what}{kind}, but a tensor or an array of numbers is needed")
    return values.detach()


def _checked_labels(labels: Any, num_rows: int) -> Tensor:
    classes = _tensor("labels", labels)
    if classes.is_floating_point() or classes.dtype == torch.bool:
        raise TypeError(
            f"labels have dtype {classes.dtype}, but classes are whole numbers: labels.long()"
        )
    if classes.shape != (num_rows,):
        raise ValueError(
            f"labels have shape {tuple(classes.shape)}, but one for each row has ({num_rows},)"
        )
    return classes


def _coded(
    rows: Tensor, num_levels: int | None, labels: Tensor | None, num_classes: int
) -> Tensor:
    if num_levels is not None:
        check_count("the least level", int(rows.min()), 0)
        check_count("the largest level", int(rows.max()), 0, num_levels - 1)
        given = rows.new_zeros(len(rows)) if labels is None else labels
        return grid_rows(rows, num_levels, given, num_classes)
    features = rows.to(torch.get_default_dtype())
    if labels is None:
        return features
    return torch.cat([features, one_hot_spins(labels, num_classes)], dim=-1)
