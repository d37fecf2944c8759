r"""MNIST at 8 x 8 pixels and 17 gray levels, as the small digits of scikit-learn have them."""

from __future__ import annotations

__all__ = ["MNIST8"]

import torch
from torch import Tensor
from torch.nn import functional as F

from qahm_torch.data.coding import dequantize, grid_rows
from qahm_torch.data.loader import check_count
from qahm_torch.data.mnist_files import NUM_DIGITS, NUM_GRAYS, MNISTFiles
from qahm_torch.data.rotation import check_degrees, turned
from qahm_torch.data.tensor_module import Splits, TensorDataModule, hold_out

_NUM_LEVELS = 17
# The border of 4 pixels around the digits, which is empty but for few of them.
_BORDER = 4
# The angles belong to the data and not to a run.
_TRAIN_ANGLES, _TEST_ANGLES = 1006, 1007


class MNIST8(TensorDataModule):
    r"""MNIST at 8 x 8 pixels and 17 gray levels: the form of `OptDigits`, for 70 000 digits.

    The border of 4 pixels is cut off; a pixel is the mean of those of the remaining 20 x 20 that
    it overlaps, rounded to a level. A machine fits both data sets, so that one trained on the one
    is a start for the other (`qahm fit --finetune`).

    Images may be turned by angles that are drawn once, uniform up to `max_degrees` to either side:
    180 gives the rotated MNIST of the literature, at this size and as a draw of our own.

    Arguments:
        root: The folder that holds `MNIST/raw`, in torchvision's layout. If null, the environment
            variable QAHM_DATA names it, and `./data` is taken where that is not set.
        batch_size: The number of images of a batch.
        classes: Whether 10 class units follow the 64 image units.
        dequantize: Whether batches have uniform noise within each gray level (see the function
            `dequantize`), so that a density can be fitted; else they hold the 17 grid values.
        num_train: The number of training images, from the start of the training set; None for all
            that are not for validation.
        num_val: The number of images, taken from the end of the training set, for validation;
            with 0 there is no validation.
        max_degrees: The largest angle by which an image is turned, 0 to 180.
        download: Whether to download the files if they are missing.
        seed: The seed of the order of the training images.
        num_labels: The number of training images that have a class, as many of each digit as of
            another and drawn by the seed; None for all.
        label_repeats: How often an epoch visits an image with a class, in proportion to others.

    Raises:
        ValueError: If a number is not whole or too small, or the angle is out of range.

    References:
        | Gradient-based learning applied to document recognition (LeCun et al., 1998)
        | https://doi.org/10.1109/5.726791
        | An empirical evaluation of deep architectures on problems with many factors of variation
          (Larochelle et al., 2007), for turned images
        | https://doi.org/10.1145/1273496.1273556

    Example:
        >>> MNIST8(max_degrees=180.0).num_visible
        74
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 100,
        classes: bool = True,
        dequantize: bool = True,
        num_train: int | None = None,
        num_val: int = 10_000,
        max_degrees: float = 0.0,
        download: bool = True,
        seed: int = 0,
        num_labels: int | None = None,
        label_repeats: int = 1,
    ):
        super().__init__(
            64,
            batch_size=batch_size,
            seed=seed,
            num_classes=NUM_DIGITS if classes else 0,
            num_levels=_NUM_LEVELS,
            image_shape=(8, 8),
            num_labels=num_labels,
            label_repeats=label_repeats,
        )
        check_count("num_val", num_val, 0)
        if num_train is not None:
            check_count("num_train", num_train, 1)
        self.dequantize = dequantize
        self.num_train = num_train
        self.num_val = num_val
        self.max_degrees = check_degrees(max_degrees)
        self._files = MNISTFiles(root, download)

    def prepare_data(self) -> None:
        r"""Downloads the files that are missing."""
        self._files.fetch()

    def load_splits(self) -> Splits:
        train, val = hold_out(self._rows(train=True), self.num_val)
        if self.num_train is not None:
            check_count("num_train", self.num_train, 1, len(train))
        return Splits(train[: self.num_train], val, self._rows(train=False))

    def transform(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.dequantize:
            return rows
        return dequantize(rows, self.num_features, _NUM_LEVELS, generator)

    def _rows(self, train: bool) -> Tensor:
        images, labels = self._files.read(train)
        grays = turned(images.float(), self.max_degrees, _TRAIN_ANGLES if train else _TEST_ANGLES)
        inner = grays[:, _BORDER:-_BORDER, _BORDER:-_BORDER] / (NUM_GRAYS - 1)
        levels = (F.adaptive_avg_pool2d(inner, (8, 8)) * (_NUM_LEVELS - 1)).round()
        return grid_rows(levels.flatten(1), _NUM_LEVELS, labels, self.num_classes)
