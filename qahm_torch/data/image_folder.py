r"""Images of one's own, from a folder."""

from __future__ import annotations

__all__ = ["ImageFolder"]

from pathlib import Path

import torch
from torch import Tensor

from qahm_torch.data.coding import grid_rows
from qahm_torch.data.loader import check_count
from qahm_torch.data.parts import count_of
from qahm_torch.data.tensor_module import Splits, TensorDataModule
from qahm_torch.nn import Concatenated, DiscretizedLogistic, OneHot, Spins, Units

_NUM_LEVELS = 256
_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff"}


class ImageFolder(TensorDataModule):
    r"""The images of a folder, or of its subfolders, one for each class.

    Images of any size are resized, and become rows of pixels on [-1, 1], row by row, with red,
    green and blue of a pixel side by side where they are in color. Subfolders are classes in the
    order of their names, as in torchvision.

    Arguments:
        path: The folder.
        size: The numbers of rows and columns that images are resized to.
        color: Whether a pixel is red, green and blue; else it is gray.
        binary: Whether pixels of the upper half of the levels become +1, and others -1.
        batch_size: The number of images of a batch.
        num_val: The number of images for validation, or their share below 1, such as 0.1.
        num_test: That for the test; the remaining images are for training.
        seed: The seed of the split and of the order of the training images.

    Raises:
        ValueError: If a number is not whole or too small, there are no images, some are in
            subfolders and some are not, or a file cannot be read as an image; its name is told.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     for k in range(3):
        ...         Image.new("RGB", (9, 7), "red").save(Path(folder) / f"{k}.png")
        ...     data = ImageFolder(folder, size=(4, 4), color=True)
        ...     data.setup()
        >>> data.train.shape, data.train[0, :3]
        (torch.Size([3, 48]), tensor([ 1., -1., -1.]))
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int] = (16, 16),
        color: bool = False,
        binary: bool = False,
        batch_size: int = 100,
        num_val: float = 0,
        num_test: float = 0,
        seed: int = 0,
    ):
        for length in size:
            check_count("size", length, 1)
        self.path = Path(path)
        self.classes, self.files, self.labels = _listed(self.path)
        super().__init__(
            size[0] * size[1] * (3 if color else 1),
            batch_size=batch_size,
            seed=seed,
            num_classes=len(self.classes),
            num_levels=2 if binary else _NUM_LEVELS,
            image_shape=(size[0], size[1], 3) if color else (size[0], size[1]),
        )
        self.size = size
        self.color = color
        self.binary = binary
        self.num_val = count_of("num_val", num_val, len(self.files))
        self.num_test = count_of("num_test", num_test, len(self.files))
        check_count("num_val", self.num_val, 0)
        check_count("num_test", self.num_test, 0)
        held_out = self.num_val + self.num_test
        check_count("num_val + num_test", held_out, 0, len(self.files) - 1)

    @property
    def units(self) -> Units:
        r"""New units that fit the rows: spins or 256 levels, and class units after them."""
        n = self.num_features
        pixels: Units = Spins(n) if self.binary else DiscretizedLogistic(n, _NUM_LEVELS)
        return Concatenated([pixels, OneHot(self.num_classes)]) if self.num_classes else pixels

    @property
    def class_names(self) -> list[str]:
        r"""The names of the subfolders, in the order of their class units."""
        return list(self.classes)

    def load_splits(self) -> Splits:
        levels = torch.stack([self._levels(file) for file in self.files])
        if self.binary:
            levels = levels >= _NUM_LEVELS // 2
        num_levels = 2 if self.binary else _NUM_LEVELS
        rows = grid_rows(levels, num_levels, torch.tensor(self.labels), self.num_classes)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))
        test, val, train = rows[order].tensor_split((self.num_test, self.num_test + self.num_val))
        return Splits(train, val, test)

    def _levels(self, file: Path) -> Tensor:
        import numpy as np
        from PIL import Image

        num_rows, num_columns = self.size
        try:
            with Image.open(file) as image:
                pixels = image.convert("RGB" if self.color else "L").resize(
                    (num_columns, num_rows)
                )
        except OSError as error:
            raise ValueError(f"{file} cannot be read as an image: {error}") from error
        return torch.from_numpy(np.array(pixels)).flatten()


def _listed(path: Path) -> tuple[list[str], list[Path], list[int]]:
    r"""Returns the classes, the files and their labels, in the order of names."""
    if not path.is_dir():
        raise ValueError(f"path is {str(path)!r}, but there is no such folder")
    flat = _images(path)
    folders = [f for f in sorted(path.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    if not folders:
        if not flat:
            raise ValueError(f"{path} has no images: files that end in {sorted(_ENDINGS)}")
        return [], flat, [0] * len(flat)
    if flat:
        raise ValueError(f"{flat[0]} is beside folders of classes, but an image is in one of them")
    files, labels = [], []
    for label, folder in enumerate(folders):
        own = _images(folder)
        if not own:
            raise ValueError(f"{folder} has no images, but each folder is a class")
        files += own
        labels += [label] * len(own)
    if len(folders) < 2:
        raise ValueError(f"{path} has one class only, {folders[0].name!r}: give that one")
    return [folder.name for folder in folders], files, labels


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in _ENDINGS)
