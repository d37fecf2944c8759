r"""What a data set is: rows of units in three parts, as a Lightning data module."""

from __future__ import annotations

__all__ = ["Splits", "TensorDataModule", "hold_out"]

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qahm_torch.data.image_rows import ImageShape, check_image_shape
from qahm_torch.data.labels import hide_labels, repeat_known
from qahm_torch.data.lightning import pl
from qahm_torch.data.loader import TensorLoader, check_count

# The draws that belong to the data and not to a run are the same whatever seed the run has, or
# likelihoods of two runs would be measured on two data sets.
_VAL_NOISE, _TEST_NOISE, _LABELS = 1003, 1004, 1005


class Splits(NamedTuple):
    r"""The three parts of a data set, each of shape (R, num_visible); a part may be empty."""

    train: Tensor
    val: Tensor
    test: Tensor


class TensorDataModule(pl.LightningDataModule, ABC):
    r"""A data set whose parts are tensors and whose batches are one tensor each.

    A row is a visible vector: the features first, such as the pixels of an image or the columns of
    a table, and class units after, which are spins, +1 for the class and -1 for the others.

    A data set says in `load_splits` what its rows are, and in `transform` what becomes of a batch
    of them, noise included. That of a training batch is drawn from torch's global generator. For
    validation and test it is drawn once, from a generator of its own with a fixed seed, so that
    every pass and every run sees the same values, whatever the batch size.

    Where few training rows are to have a class, the class units of the others are NaN, which does
    not count in `OneHot`. Validation and test rows always have theirs.

    With several devices each sees its share of the training rows, and all see the whole of the
    validation and test rows. `Trainer(overfit_batches=...)` turns the shuffling off.

    Arguments:
        num_features: The number of units before the class units.
        batch_size: The number of rows of a batch.
        seed: The seed of the order of the training rows.
        num_classes: The number of class units.
        num_levels: The number :math:`L` of levels of a feature, 2 for spins, where level :math:`l`
            is the value :math:`2 l / (L - 1) - 1`; None where features have no levels.
        image_shape: The shape of the image that the features are, row by row: (rows, columns), or
            (rows, columns, 3) where red, green and blue of a pixel are side by side; None where
            they are none.
        num_repeats: How often an epoch visits each training row.
        num_labels: The number of training rows that have a class, as many of each class as of
            another and drawn by the seed; None for all.
        label_repeats: How often an epoch visits a row with a class, in proportion to others.

    Raises:
        ValueError: If a number is not whole or too small, if an image of this shape has another
            number of values than there are features, or if there are labels and no class units.

    Example:
        >>> import math
        >>> class Circle(TensorDataModule):
        ...     r"A table of points with the columns x and y."
        ...
        ...     def __init__(self, batch_size=20):
        ...         super().__init__(2, batch_size=batch_size)
        ...
        ...     def load_splits(self):
        ...         angle = torch.linspace(0, 2 * math.pi, 101)[1:]
        ...         rows = torch.stack([angle.cos(), angle.sin()], -1)
        ...         return Splits(rows[:60], rows[60:80], rows[80:])
        ...
        ...     def transform(self, rows, generator=None):
        ...         return rows + 0.1 * torch.randn(rows.shape, generator=generator)
        >>> data = Circle()
        >>> data.setup()
        >>> [tuple(batch.shape) for batch in data.train_dataloader()]
        [(20, 2), (20, 2), (20, 2)]
    """

    def __init__(
        self,
        num_features: int,
        *,
        batch_size: int,
        seed: int = 0,
        num_classes: int = 0,
        num_levels: int | None = None,
        image_shape: ImageShape | None = None,
        num_repeats: int = 1,
        num_labels: int | None = None,
        label_repeats: int = 1,
    ):
        super().__init__()
        check_count("num_features", num_features, 1)
        check_count("batch_size", batch_size, 1)
        check_count("seed", seed, 0)
        check_count("num_classes", num_classes, 0)
        check_count("num_repeats", num_repeats, 1)
        check_count("label_repeats", label_repeats, 1)
        if num_labels is not None:
            check_count("num_labels", num_labels, 0)
        if num_classes == 0 and (num_labels is not None or label_repeats > 1):
            raise ValueError(
                f"num_labels is {num_labels} and label_repeats {label_repeats}, but there are no "
                "class units"
            )
        if num_levels is not None:
            check_count("num_levels", num_levels, 2)
        if image_shape is not None:
            check_image_shape(image_shape, num_features)
        self.num_features = num_features
        self.batch_size = batch_size
        self.seed = seed
        self.num_classes = num_classes
        self.num_levels = num_levels
        self.image_shape = image_shape
        self.num_repeats = num_repeats
        self.num_labels = num_labels
        self.label_repeats = label_repeats
        self._splits: Splits | None = None

    @abstractmethod
    def load_splits(self) -> Splits:
        r"""Returns the three parts, without noise."""

    def transform(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Returns the batch that is made of rows; by default, the rows as they are.

        Arguments:
            rows: Rows of a part, of shape (B, num_visible).
            generator: The source of the noise; torch's global generator by default.

        Returns:
            The batch, of shape (B, num_visible).
        """
        return rows

    @property
    def num_visible(self) -> int:
        r"""The number of all units of a row."""
        return self.num_features + self.num_classes

    @property
    def num_pixels(self) -> int:
        r"""The number of features that are values of an image's pixels: all or none."""
        return 0 if self.image_shape is None else self.num_features

    @property
    def class_names(self) -> list[str]:
        r"""What the classes are called, in the order of their units: here, numbers from 0 on."""
        return [str(k) for k in range(self.num_classes)]

    @property
    def train(self) -> Tensor:
        r"""The training rows without noise, of shape (R, num_visible)."""
        return self._loaded().train

    @property
    def val(self) -> Tensor:
        r"""The validation rows without noise, of shape (R, num_visible)."""
        return self._loaded().val

    @property
    def test(self) -> Tensor:
        r"""The test rows without noise, of shape (R, num_visible)."""
        return self._loaded().test

    def summary(self) -> dict[str, Any]:
        r"""Returns what a report says of the data: the class, and the numbers of rows."""
        sizes = {f"num_{name}": len(rows) for name, rows in self._loaded()._asdict().items()}
        return {"class": type(self).__name__, **sizes}

    def setup(self, stage: str | None = None) -> None:
        r"""Loads the data, once for all stages.

        Raises:
            ValueError: If a part is not of rows of `num_visible` units of floating dtype.
        """
        if self._splits is None:
            splits = self.load_splits()
            for name, rows in splits._asdict().items():
                _check_rows(name, rows, self.num_visible)
            self._splits = splits._replace(train=self._partly_known(splits.train))

    def train_dataloader(self) -> TensorLoader:
        r"""Returns a loader of the training rows, shuffled and transformed in each epoch anew."""
        trainer: Any = self.trainer
        return TensorLoader(
            # a view where there is one repeat only
            self._visited().expand(self.num_repeats, -1, -1).flatten(0, 1),
            self.batch_size,
            shuffle=trainer is None or not trainer.overfit_batches,
            seed=self.seed,
            transform=self.transform,
            rank=0 if trainer is None else trainer.global_rank,
            num_ranks=1 if trainer is None else trainer.world_size,
        )

    def val_dataloader(self) -> TensorLoader | list[Any]:
        r"""Returns a loader of the validation rows, or an empty list where there are none."""
        return self._evaluation_loader(self.val, _VAL_NOISE)

    def test_dataloader(self) -> TensorLoader | list[Any]:
        r"""Returns a loader of the test rows, or an empty list where there are none."""
        return self._evaluation_loader(self.test, _TEST_NOISE)

    def _partly_known(self, rows: Tensor) -> Tensor:
        if self.num_labels is None:
            return rows
        generator = torch.Generator().manual_seed(_LABELS + self.seed)
        return hide_labels(rows, self.num_classes, self.num_labels, generator)

    def _visited(self) -> Tensor:
        if self.label_repeats == 1:
            return self.train
        return repeat_known(self.train, self.num_classes, self.label_repeats)

    def _evaluation_loader(self, rows: Tensor, noise_seed: int) -> TensorLoader | list[Any]:
        if len(rows) == 0:
            return []
        batch = self.transform(rows, generator=torch.Generator().manual_seed(noise_seed))
        return TensorLoader(batch, self.batch_size, shuffle=False)

    def _loaded(self) -> Splits:
        if self._splits is None:
            raise RuntimeError(f"{type(self).__name__} has no data yet: call setup() first")
        return self._splits


def hold_out(rows: Tensor, num_val: int) -> tuple[Tensor, Tensor]:
    r"""Returns rows for training and, from their end, `num_val` rows for validation.

    Arguments:
        rows: The rows of shape (R, num_visible).
        num_val: The number of rows to hold out, less than R.

    Raises:
        ValueError: If no row would be left for training.
    """
    check_count("num_val", num_val, 0, len(rows) - 1)
    return rows[: len(rows) - num_val], rows[len(rows) - num_val :]


def _check_rows(name: str, rows: Tensor, num_visible: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != num_visible:
        raise ValueError(
            f"{name} has shape {tuple(rows.shape)}, but rows of {num_visible} units have "
            f"(R, {num_visible})"
        )
    if not rows.is_floating_point():
        raise ValueError(f"{name} has dtype {rows.dtype}, but a floating dtype is needed")
