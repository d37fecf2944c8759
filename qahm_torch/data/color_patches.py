r"""Patches of the two color photographs that scikit-learn bundles."""

from __future__ import annotations

__all__ = ["ColorPatches"]

import torch
from torch import Tensor

from qahm_torch.data.coding import grid_rows
from qahm_torch.data.loader import check_count
from qahm_torch.data.tensor_module import Splits, TensorDataModule

_NUM_LEVELS = 256
_NUM_ROWS, _NUM_COLUMNS = 427, 640
_VAL, _TEST = 0.7, 0.85  # where the columns for validation and for test begin


class ColorPatches(TensorDataModule):
    r"""Square patches of two color photographs, side by side without overlap.

    A patch has three values for each pixel, red, green and blue, row by row, of 256 levels on [-1,
    1]. The left part of both photographs is for training, what is right of it for validation, and
    the right edge for test, so that no picture is in two parts, but both are of the same scenes.

    Arguments:
        side: The number of rows and of columns of a patch.
        batch_size: The number of patches of a batch.
        seed: The seed of the order of the training patches.

    Raises:
        ValueError: If a number is not whole or too small, or patches are so large that a part has
            none.

    Example:
        >>> data = ColorPatches(side=8)
        >>> data.setup()
        >>> data.train.shape, data.test.shape
        (torch.Size([5936, 192]), torch.Size([1272, 192]))
    """

    def __init__(self, side: int = 8, batch_size: int = 100, seed: int = 0):
        check_count("side", side, 1)
        if side > (1 - _TEST) * _NUM_COLUMNS:
            raise ValueError(
                f"side is {side}, but the part for test is only "
                f"{int((1 - _TEST) * _NUM_COLUMNS)} pixels wide"
            )
        super().__init__(
            3 * side**2,
            batch_size=batch_size,
            seed=seed,
            num_levels=_NUM_LEVELS,
            image_shape=(side, side, 3),
        )
        self.side = side

    def load_splits(self) -> Splits:
        from sklearn.datasets import load_sample_images  # only now, because it takes time

        images = torch.stack([torch.tensor(image) for image in load_sample_images().images])
        patches = images.unfold(1, self.side, self.side).unfold(2, self.side, self.side)
        # (photograph, row, column, color, side, side) -> (row, column, ...), colors last
        patches = patches.permute(2, 0, 1, 4, 5, 3)
        bounds = [int(share * len(patches)) for share in (_VAL, _TEST)]
        return Splits(*(self._rows(part) for part in patches.tensor_split(bounds)))

    def pictures(self, rows: Tensor) -> Tensor:
        r"""Returns rows (*, num_features) as pictures (*, side, side, 3) of values in [0, 1]."""
        pictures: Tensor = rows.unflatten(-1, (self.side, self.side, 3))
        return (pictures + 1) / 2

    def _rows(self, patches: Tensor) -> Tensor:
        rows = patches.reshape(-1, self.num_features)
        return grid_rows(rows, _NUM_LEVELS, rows.new_zeros(len(rows)), num_classes=0)
