r"""The small digits that scikit-learn bundles."""

from __future__ import annotations

__all__ = ["OptDigits"]

import torch
from torch import Tensor

from qahm_torch.data.coding import dequantize, grid_rows
from qahm_torch.data.loader import check_count
from qahm_torch.data.rotation import check_degrees, turned
from qahm_torch.data.tensor_module import Splits, TensorDataModule

_NUM_IMAGES = 1797
_NUM_LEVELS = 17
# The angles belong to the data and not to a run.
_ANGLES = 1008


class OptDigits(TensorDataModule):
    r"""The 1797 handwritten digits of 8 x 8 pixels and 17 gray levels that scikit-learn bundles.

    Arguments:
        batch_size: The number of images of a batch.
        classes: Whether 10 class units follow the 64 image units.
        dequantize: Whether batches have uniform noise within each gray level (see the function
            `dequantize`), so that a density can be fitted; else they hold the 17 grid values.
        num_val: The number of images for validation.
        num_test: The number of images for the test; the remaining images are for training.
        max_degrees: The largest angle by which an image is turned, 0 to 180: images are turned by
            angles that are drawn once, uniform up to it to either side.
        seed: The seed of the split and of the order of the training images.
        num_labels: The number of training images that have a class, as many of each digit as of
            another and drawn by the seed; None for all.
        label_repeats: How often an epoch visits an image with a class, in proportion to others.

    Raises:
        ValueError: If a number is not whole or too small, the angle is out of range, or no image
            is left for training.

    References:
        | Cascading classifiers (Alpaydin and Kaynak, 1998)
        | https://archive.ics.uci.edu/dataset/80

    Example:
        >>> data = OptDigits(num_val=200, num_test=400)
        >>> data.setup()
        >>> data.train.shape
        torch.Size([1197, 74])
    """

    def __init__(
        self,
        batch_size: int = 100,
        classes: bool = True,
        dequantize: bool = True,
        num_val: int = 200,
        num_test: int = 400,
        max_degrees: float = 0.0,
        seed: int = 0,
        num_labels: int | None = None,
        label_repeats: int = 1,
    ):
        super().__init__(
            64,
            batch_size=batch_size,
            seed=seed,
            num_classes=10 if classes else 0,
            num_levels=_NUM_LEVELS,
            image_shape=(8, 8),
            num_labels=num_labels,
            label_repeats=label_repeats,
        )
        check_count("num_val", num_val, 0)
        check_count("num_test", num_test, 0)
        check_count("num_val + num_test", num_val + num_test, 0, _NUM_IMAGES - 1)
        self.max_degrees = check_degrees(max_degrees)
        self.dequantize = dequantize
        self.num_val = num_val
        self.num_test = num_test

    def load_splits(self) -> Splits:
        from sklearn.datasets import load_digits  # only now, because it takes time

        levels, labels = (torch.from_numpy(x) for x in load_digits(return_X_y=True))
        levels = turned(levels.view(-1, 8, 8), self.max_degrees, _ANGLES).flatten(1)
        order = torch.randperm(len(levels), generator=torch.Generator().manual_seed(self.seed))
        rows = grid_rows(levels, _NUM_LEVELS, labels, self.num_classes)[order]
        test, val, train = rows.tensor_split((self.num_test, self.num_test + self.num_val))
        return Splits(train, val, test)

    def transform(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.dequantize:
            return rows
        return dequantize(rows, self.num_features, _NUM_LEVELS, generator)
