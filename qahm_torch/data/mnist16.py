r"""MNIST at 16 x 16 pixels, in gray."""

from __future__ import annotations

__all__ = ["MNIST16"]

import torch
from torch import Tensor
from torch.nn import functional as F

from qahm_torch.data.coding import dequantize, grid_rows
from qahm_torch.data.loader import check_count
from qahm_torch.data.mnist_files import NUM_DIGITS, NUM_GRAYS, MNISTFiles
from qahm_torch.data.tensor_module import Splits, TensorDataModule, hold_out


class MNIST16(TensorDataModule):
    r"""MNIST at 16 x 16 pixels and 256 gray levels, with class units if wanted.

    A pixel is the mean of the 2 x 2 to 3 x 3 pixels of the 28 x 28 image that it overlaps
    (`torch.nn.functional.adaptive_avg_pool2d`), rounded to a whole level.

    Arguments:
        root: The folder that holds `MNIST/raw`, in torchvision's layout. If null, the environment
            variable QAHM_DATA names it, and `./data` is taken where that is not set.
        batch_size: The number of images of a batch.
        classes: Whether 10 class units follow the 256 image units.
        dequantize: Whether batches have uniform noise within each gray level (see the function
            `dequantize`), so that a density can be fitted; else they hold the 256 grid values.
        num_val: The number of images, taken from the end of the training set, for validation;
            with 0 there is no validation.
        download: Whether to download the files if they are missing.
        seed: The seed of the order of the training images.
        num_labels: The number of training images that have a class, as many of each digit as of
            another and drawn by the seed; None for all.
        label_repeats: How often an epoch visits an image with a class, in proportion to others.

    Raises:
        ValueError: If a number is not whole or too small.

    References:
        | Gradient-based learning applied to document recognition (LeCun et al., 1998)
        | https://doi.org/10.1109/5.726791
        | Quantum-assisted Helmholtz machines: A quantum-classical deep learning framework for
          industrial datasets in near-term devices (Benedetti et al., 2017)
        | https://arxiv.org/abs/1708.09784

    Example:
        >>> MNIST16().num_visible
        266
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 100,
        classes: bool = True,
        dequantize: bool = True,
        num_val: int = 0,
        download: bool = True,
        seed: int = 0,
        num_labels: int | None = None,
        label_repeats: int = 1,
    ):
        super().__init__(
            256,
            batch_size=batch_size,
            seed=seed,
            num_classes=NUM_DIGITS if classes else 0,
            num_levels=NUM_GRAYS,
            image_shape=(16, 16),
            num_labels=num_labels,
            label_repeats=label_repeats,
        )
        check_count("num_val", num_val, 0)
        self.dequantize = dequantize
        self.num_val = num_val
        self._files = MNISTFiles(root, download)

    def prepare_data(self) -> None:
        r"""Downloads the files that are missing."""
        self._files.fetch()

    def load_splits(self) -> Splits:
        train, val = hold_out(self._rows(train=True), self.num_val)
        return Splits(train, val, self._rows(train=False))

    def transform(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.dequantize:
            return rows
        return dequantize(rows, self.num_features, NUM_GRAYS, generator)

    def _rows(self, train: bool) -> Tensor:
        images, labels = self._files.read(train)
        levels = F.adaptive_avg_pool2d(images.float(), (16, 16)).round()
        return grid_rows(levels.flatten(1), NUM_GRAYS, labels, self.num_classes)
