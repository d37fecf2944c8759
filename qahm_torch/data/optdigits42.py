r"""The small digits 1 to 4 as 7 x 6 binary pixels."""

from __future__ import annotations

__all__ = ["OptDigits42"]

import torch

from qahm_torch.data.coding import grid_rows
from qahm_torch.data.loader import check_count
from qahm_torch.data.tensor_module import Splits, TensorDataModule

_NUM_IMAGES = 723
_NUM_CLASSES = 4
# The upper half of the gray levels 0 to 16.
_MIDDLE = 8


class OptDigits42(TensorDataModule):
    r"""The 723 digits 1, 2, 3 and 4 of `OptDigits` as 7 x 6 pixels, black or white.

    The columns at the left and at the right, which are nearly always empty, and the row at the
    bottom are cut off, and pixels of the middle level or above become +1, others -1. So an image
    and its class are 46 spins, which is what a chip of a thousand qubits takes when they are all
    coupled with each other.

    Arguments:
        batch_size: The number of images of a batch.
        classes: Whether 4 class units follow the 42 image units; the first is for the digit 1.
        num_val: The number of images for validation.
        num_test: The number of images for the test; the remaining images are for training.
        seed: The seed of the split and of the order of the training images.

    Raises:
        ValueError: If a number is not whole or too small, or if no image is left for training.

    References:
        | Cascading classifiers (Alpaydin and Kaynak, 1998)
        | https://archive.ics.uci.edu/dataset/80
        | Quantum-assisted learning of hardware-embedded probabilistic graphical models
          (Benedetti et al., 2017)
        | https://arxiv.org/abs/1609.02542

    Example:
        >>> data = OptDigits42(num_val=100, num_test=200)
        >>> data.setup()
        >>> data.train.shape
        torch.Size([423, 46])
    """

    def __init__(
        self,
        batch_size: int = 100,
        classes: bool = True,
        num_val: int = 100,
        num_test: int = 200,
        seed: int = 0,
    ):
        super().__init__(
            42,
            batch_size=batch_size,
            seed=seed,
            num_classes=_NUM_CLASSES if classes else 0,
            num_levels=2,
            image_shape=(7, 6),
        )
        check_count("num_val", num_val, 0)
        check_count("num_test", num_test, 0)
        check_count("num_val + num_test", num_val + num_test, 0, _NUM_IMAGES - 1)
        self.num_val = num_val
        self.num_test = num_test

    def load_splits(self) -> Splits:
        from sklearn.datasets import load_digits  # only now, because it takes time

        levels, digits = (torch.from_numpy(x) for x in load_digits(return_X_y=True))
        kept = (digits >= 1) & (digits <= _NUM_CLASSES)
        images = levels[kept].view(-1, 8, 8)[:, :7, 1:7].flatten(1)
        rows = grid_rows(images >= _MIDDLE, 2, digits[kept] - 1, self.num_classes)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))
        test, val, train = rows[order].tensor_split((self.num_test, self.num_test + self.num_val))
        return Splits(train, val, test)
