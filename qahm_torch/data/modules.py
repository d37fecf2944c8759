r"""The data: digits and small patterns as Lightning data modules whose batches are one tensor."""

from __future__ import annotations

__all__ = [
    "MNIST16",
    "MNIST28",
    "BarsAndStripes",
    "OptDigits",
    "Splits",
    "TensorDataModule",
]

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from qahm_torch.data.coding import dequantize, draw_spins, one_hot_spins
from qahm_torch.data.loader import TensorLoader, check_count
from qahm_torch.data.mnist_files import NUM_DIGITS, MNISTFiles

_NUM_GREYS = 256
_NUM_OPTDIGITS = 1797

# The draws that belong to the data and not to a run are the same whatever seed the run has, or
# likelihoods of two runs would be measured on two data sets.
_TRAIN_SPINS, _TEST_SPINS, _VAL_NOISE, _TEST_NOISE = 1001, 1002, 1003, 1004


class Splits(NamedTuple):
    r"""The three parts of a data set, each of shape (R, num_visible); a part may be empty."""

    train: Tensor
    val: Tensor
    test: Tensor


class TensorDataModule(pl.LightningDataModule, ABC):
    r"""A Lightning data module whose parts are tensors and whose batches are one tensor each.

    A row is a visible vector: image units first, row by row, and class units after. On the grid of
    values, pixel level :math:`l` of :math:`L` levels is :math:`2 l / (L - 1) - 1`, and the class
    units are spins, +1 for the class and -1 for the others.

    Noise is drawn for each training batch from torch's global generator. For validation and test
    it is drawn once, from a generator of its own with a fixed seed, so that every pass and every
    run sees the same values, whatever the batch size.

    With several devices each sees its share of the training rows, and all see the whole of the
    validation and test rows. `Trainer(overfit_batches=...)` turns the shuffling off.

    Arguments:
        image_shape: The numbers of rows and columns of an image.
        num_levels: The number of grey levels :math:`L`.
        num_classes: The number of class units.
        batch_size: The number of rows of a batch.
        seed: The seed of the order of the training rows.
        noise: A function `noise(values, generator=None)` of rows, or None.
        num_repeats: How often an epoch visits each training row.

    Raises:
        ValueError: If a number is not whole or too small.
    """

    def __init__(
        self,
        image_shape: tuple[int, int],
        *,
        num_levels: int,
        num_classes: int,
        batch_size: int,
        seed: int,
        noise: Callable[..., Tensor] | None = None,
        num_repeats: int = 1,
    ):
        super().__init__()
        check_count("batch_size", batch_size, 1)
        check_count("seed", seed, 0)
        check_count("num_repeats", num_repeats, 1)
        self.batch_size = batch_size
        self.seed = seed
        self.num_repeats = num_repeats
        self._image_shape = image_shape
        self._num_levels = num_levels
        self._num_classes = num_classes
        self._noise = noise
        self._splits: Splits | None = None

    @abstractmethod
    def load_splits(self) -> Splits:
        r"""Returns the three parts, as values on the grid."""

    @property
    def image_shape(self) -> tuple[int, int]:
        r"""The numbers of rows and columns of an image."""
        return self._image_shape

    @property
    def num_pixels(self) -> int:
        r"""The number of image units, which come first in a row."""
        return self._image_shape[0] * self._image_shape[1]

    @property
    def num_classes(self) -> int:
        r"""The number of class units, which come last in a row; 0 without classes."""
        return self._num_classes

    @property
    def num_visible(self) -> int:
        r"""The number of all units of a row."""
        return self.num_pixels + self.num_classes

    @property
    def num_levels(self) -> int:
        r"""The number of grey levels of a pixel; 2 for spins."""
        return self._num_levels

    @property
    def train(self) -> Tensor:
        r"""The training rows on the grid, of shape (R, num_visible)."""
        return self._loaded().train

    @property
    def val(self) -> Tensor:
        r"""The validation rows on the grid, of shape (R, num_visible)."""
        return self._loaded().val

    @property
    def test(self) -> Tensor:
        r"""The test rows on the grid, of shape (R, num_visible)."""
        return self._loaded().test

    def setup(self, stage: str | None = None) -> None:
        r"""Loads the data, once for all stages."""
        if self._splits is None:
            self._splits = self.load_splits()

    def train_dataloader(self) -> TensorLoader:
        r"""Returns a loader of the training rows, shuffled and with noise anew in each epoch."""
        trainer: Any = self.trainer
        return TensorLoader(
            # a view where there is one repeat only
            self.train.expand(self.num_repeats, -1, -1).flatten(0, 1),
            self.batch_size,
            shuffle=trainer is None or not trainer.overfit_batches,
            seed=self.seed,
            transform=self._noise,
            rank=0 if trainer is None else trainer.global_rank,
            num_ranks=1 if trainer is None else trainer.world_size,
        )

    def val_dataloader(self) -> TensorLoader | list[Any]:
        r"""Returns a loader of the validation rows, or an empty list where there are none."""
        return self._evaluation_loader(self.val, _VAL_NOISE)

    def test_dataloader(self) -> TensorLoader | list[Any]:
        r"""Returns a loader of the test rows, or an empty list where there are none."""
        return self._evaluation_loader(self.test, _TEST_NOISE)

    def _evaluation_loader(self, values: Tensor, noise_seed: int) -> TensorLoader | list[Any]:
        if len(values) == 0:
            return []
        if self._noise is not None:
            values = self._noise(values, generator=_generator(noise_seed))
        return TensorLoader(values, self.batch_size, shuffle=False)

    def _loaded(self) -> Splits:
        if self._splits is None:
            raise RuntimeError(f"{type(self).__name__} has no data yet: call setup() first")
        return self._splits


class OptDigits(TensorDataModule):
    r"""The 1797 handwritten digits of 8 x 8 pixels and 17 grey levels that scikit-learn bundles.

    Arguments:
        batch_size: The number of images of a batch.
        classes: Whether 10 class units follow the 64 image units.
        dequantize: Whether batches have uniform noise within each grey level (see the function
            `dequantize`), so that a density can be fitted; else they hold the 17 grid values.
        num_val: The number of images for validation.
        num_test: The number of images for the test; the remaining images are for training.
        seed: The seed of the split and of the order of the training images.

    Raises:
        ValueError: If a number is not whole or too small, or if no image is left for training.

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
        seed: int = 0,
    ):
        super().__init__(
            (8, 8),
            num_levels=17,
            num_classes=NUM_DIGITS if classes else 0,
            batch_size=batch_size,
            seed=seed,
            noise=_dequantizer(64, 17) if dequantize else None,
        )
        check_count("num_val", num_val, 0)
        check_count("num_test", num_test, 0)
        check_count("num_val + num_test", num_val + num_test, 0, _NUM_OPTDIGITS - 1)
        self.num_val = num_val
        self.num_test = num_test

    def load_splits(self) -> Splits:
        from sklearn.datasets import load_digits

        digits = load_digits()
        levels, labels = torch.from_numpy(digits.data), torch.from_numpy(digits.target)
        order = torch.randperm(len(levels), generator=_generator(self.seed))
        rows = _rows(levels, self.num_levels, labels, self.num_classes)[order]
        test, val, train = rows.tensor_split((self.num_test, self.num_test + self.num_val))
        return Splits(train, val, test)


class MNIST16(TensorDataModule):
    r"""MNIST at 16 x 16 pixels and 256 grey levels, with class units if wanted.

    A pixel is the mean of the 2 x 2 to 3 x 3 pixels of the 28 x 28 image that it overlaps
    (`torch.nn.functional.adaptive_avg_pool2d`), rounded to a whole level.

    Arguments:
        root: The folder that holds `MNIST/raw`, in torchvision's layout. If null, the environment
            variable QAHM_DATA names it, and `./data` is taken where that is not set.
        batch_size: The number of images of a batch.
        classes: Whether 10 class units follow the 256 image units.
        dequantize: Whether batches have uniform noise within each grey level (see the function
            `dequantize`), so that a density can be fitted; else they hold the 256 grid values.
        num_val: The number of images, taken from the end of the training set, for validation;
            with 0 there is no validation.
        download: Whether to download the files if they are missing.
        seed: The seed of the order of the training images.

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
    ):
        super().__init__(
            (16, 16),
            num_levels=_NUM_GREYS,
            num_classes=NUM_DIGITS if classes else 0,
            batch_size=batch_size,
            seed=seed,
            noise=_dequantizer(256, _NUM_GREYS) if dequantize else None,
        )
        check_count("num_val", num_val, 0)
        self.num_val = num_val
        self._files = MNISTFiles(root, download)

    def prepare_data(self) -> None:
        r"""Downloads the files that are missing."""
        self._files.fetch()

    def load_splits(self) -> Splits:
        train, val = _hold_out(self._values(*self._files.read(train=True)), self.num_val)
        return Splits(train, val, self._values(*self._files.read(train=False)))

    def _values(self, images: Tensor, labels: Tensor) -> Tensor:
        levels = F.adaptive_avg_pool2d(images.float(), self.image_shape).round()
        return _rows(levels.flatten(1), self.num_levels, labels, self.num_classes)


class MNIST28(TensorDataModule):
    r"""MNIST at 28 x 28 pixels, made spins by chance: +1 with probability level / 255.

    The static draw is one data set for all runs. It is not the one that Larochelle published, so
    likelihoods agree with those of the literature up to the difference of two such draws. The
    dynamic draw is anew for each training batch; its validation and test images are the static
    ones, and its `train` holds the expected spins, from which batches are drawn.

    Arguments:
        root: The folder that holds `MNIST/raw`, in torchvision's layout. If null, the environment
            variable QAHM_DATA names it, and `./data` is taken where that is not set.
        batch_size: The number of images of a batch.
        binarize: Whether training images are drawn once (static) or for each batch (dynamic).
        num_val: The number of images, taken from the end of the training set, for validation;
            with 0 there is no validation.
        download: Whether to download the files if they are missing.
        seed: The seed of the order of the training images.
        classes: Whether 10 class units follow the 784 image units.

    Raises:
        ValueError: If a number is not whole or too small, or if `binarize` is another word.

    References:
        | On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008)
        | https://doi.org/10.1145/1390156.1390266
        | Importance weighted autoencoders (Burda et al., 2015)
        | https://arxiv.org/abs/1509.00519

    Example:
        >>> MNIST28(binarize="dynamic").num_visible
        784
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 100,
        binarize: Literal["static", "dynamic"] = "static",
        num_val: int = 10_000,
        download: bool = True,
        seed: int = 0,
        classes: bool = False,
    ):
        if binarize not in ("static", "dynamic"):
            raise ValueError(f"binarize must be 'static' or 'dynamic', got {binarize!r}")
        super().__init__(
            (28, 28),
            num_levels=2,
            num_classes=NUM_DIGITS if classes else 0,
            batch_size=batch_size,
            seed=seed,
            noise=partial(draw_spins, num_pixels=784) if binarize == "dynamic" else None,
        )
        check_count("num_val", num_val, 0)
        self.binarize = binarize
        self.num_val = num_val
        self._files = MNISTFiles(root, download)

    def prepare_data(self) -> None:
        r"""Downloads the files that are missing."""
        self._files.fetch()

    def load_splits(self) -> Splits:
        expected = self._expected_spins(train=True)
        # drawn before the split, so that an image has the same spins whatever num_val is
        spins = draw_spins(expected, self.num_pixels, _generator(_TRAIN_SPINS))
        train, val = _hold_out(spins, self.num_val)
        if self.binarize == "dynamic":
            train, _ = _hold_out(expected, self.num_val)
        test = self._expected_spins(train=False)
        return Splits(train, val, draw_spins(test, self.num_pixels, _generator(_TEST_SPINS)))

    def _expected_spins(self, train: bool) -> Tensor:
        images, labels = self._files.read(train)
        return _rows(images.flatten(1), _NUM_GREYS, labels, self.num_classes)


class BarsAndStripes(TensorDataModule):
    r"""All images of equal rows or equal columns, as spins: :math:`2^{n+1} - 2` for side n.

    Training, validation and test rows are the same: all patterns, each once.

    Arguments:
        side: The number of rows and columns, from 1 to 16.
        batch_size: The number of patterns of a batch.
        num_repeats: How often a training epoch visits each pattern.
        seed: The seed of the order of the training patterns.

    Raises:
        ValueError: If a number is not whole or out of range.

    References:
        | Information theory, inference, and learning algorithms (MacKay, 2003)
        | https://www.inference.org.uk/mackay/itila/

    Example:
        >>> data = BarsAndStripes(side=3)
        >>> data.setup()
        >>> data.train.shape
        torch.Size([14, 9])
    """

    def __init__(
        self, side: int = 4, batch_size: int = 100, num_repeats: int = 100, seed: int = 0
    ):
        check_count("side", side, 1, 16)
        super().__init__(
            (side, side),
            num_levels=2,
            num_classes=0,
            batch_size=batch_size,
            seed=seed,
            num_repeats=num_repeats,
        )

    def load_splits(self) -> Splits:
        side = self.image_shape[0]
        lines = torch.cartesian_prod(*torch.tensor([-1.0, 1.0]).expand(side, -1)).view(-1, side)
        stripes = lines.unsqueeze(2).expand(-1, -1, side)
        # the first and the last, all -1 and all +1, are stripes already
        bars = lines[1:-1].unsqueeze(1).expand(-1, side, -1)
        patterns = torch.cat([stripes, bars]).flatten(1)
        return Splits(patterns, patterns, patterns)


def _dequantizer(num_pixels: int, num_levels: int) -> Callable[..., Tensor]:
    return partial(dequantize, num_pixels=num_pixels, num_levels=num_levels)


def _rows(levels: Tensor, num_levels: int, labels: Tensor, num_classes: int) -> Tensor:
    pixels = 2 * levels.to(torch.get_default_dtype()) / (num_levels - 1) - 1
    if num_classes == 0:
        return pixels
    return torch.cat([pixels, one_hot_spins(labels, num_classes)], dim=-1)


def _hold_out(rows: Tensor, num_val: int) -> tuple[Tensor, Tensor]:
    check_count("num_val", num_val, 0, len(rows) - 1)
    return rows[: len(rows) - num_val], rows[len(rows) - num_val :]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
