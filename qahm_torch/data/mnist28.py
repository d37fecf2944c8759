r"""MNIST at 28 x 28 pixels, in black and white."""

from __future__ import annotations

__all__ = ["MNIST28"]

from typing import Any, Literal

import torch
from torch import Tensor

from qahm_torch.data.coding import draw_spins, grid_rows
from qahm_torch.data.larochelle import LAROCHELLE_SIZES, read_larochelle
from qahm_torch.data.loader import check_count
from qahm_torch.data.mnist_files import NUM_DIGITS, NUM_GRAYS, MNISTFiles
from qahm_torch.data.tensor_module import Splits, TensorDataModule, hold_out

# The draws that belong to the data and not to a run are the same whatever seed the run has.
_TRAIN_SPINS, _TEST_SPINS = 1001, 1002


class MNIST28(TensorDataModule):
    r"""MNIST at 28 x 28 pixels, made spins by chance: +1 with probability level / 255.

    The static draw is one data set for all runs. It is not the one that Larochelle published, so
    likelihoods agree with those of the literature up to the difference of two such draws. The
    dynamic draw is anew for each training batch; its validation and test images are the static
    ones, and its `train` holds the expected spins, from which batches are drawn.

    Larochelle's draw is read from the files as he published them, `binarized_mnist_train.amat`
    and so on, which are not downloaded: put them into the folder `binarized_mnist` of the root. It
    has 50 000 images for training, 10 000 for validation and 10 000 for test, and no classes.

    Arguments:
        root: The folder that holds `MNIST/raw`, in torchvision's layout. If null, the environment
            variable QAHM_DATA names it, and `./data` is taken where that is not set.
        batch_size: The number of images of a batch.
        binarize: Whether training images are drawn once (static), for each batch (dynamic), or
            have been drawn by Larochelle (larochelle).
        num_val: The number of images, taken from the end of the training set, for validation;
            with 0 there is no validation.
        download: Whether to download the files of MNIST if they are missing.
        seed: The seed of the order of the training images.
        classes: Whether 10 class units follow the 784 image units.
        num_labels: The number of training images that have a class, as many of each digit as of
            another and drawn by the seed; None for all.
        label_repeats: How often an epoch visits an image with a class, in proportion to others.

    Raises:
        ValueError: If a number is not whole or too small, if `binarize` is another word, or if
            Larochelle's draw is to have classes or another number of validation images.

    References:
        | On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008)
        | https://doi.org/10.1145/1390156.1390266
        | The neural autoregressive distribution estimator (Larochelle & Murray, 2011)
        | https://proceedings.mlr.press/v15/larochelle11a.html
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
        binarize: Literal["static", "dynamic", "larochelle"] = "static",
        num_val: int = 10_000,
        download: bool = True,
        seed: int = 0,
        classes: bool = False,
        num_labels: int | None = None,
        label_repeats: int = 1,
    ):
        if binarize not in ("static", "dynamic", "larochelle"):
            raise ValueError(
                f"binarize is {binarize!r}, but it is 'static', 'dynamic' or 'larochelle'"
            )
        if binarize == "larochelle" and (classes or num_val != LAROCHELLE_SIZES["valid"]):
            raise ValueError(
                f"classes is {classes} and num_val is {num_val}, but Larochelle's draw has no "
                f"classes, and {LAROCHELLE_SIZES['valid']} images for validation"
            )
        super().__init__(
            784,
            batch_size=batch_size,
            seed=seed,
            num_classes=NUM_DIGITS if classes else 0,
            num_levels=2,
            image_shape=(28, 28),
            num_labels=num_labels,
            label_repeats=label_repeats,
        )
        check_count("num_val", num_val, 0)
        self.binarize = binarize
        self.num_val = num_val
        self._files = MNISTFiles(root, download)

    def prepare_data(self) -> None:
        r"""Downloads the files that are missing; those of Larochelle are not looked for yet."""
        if self.binarize != "larochelle":
            self._files.fetch()

    def summary(self) -> dict[str, Any]:
        return {**super().summary(), "binarize": self.binarize}

    def load_splits(self) -> Splits:
        if self.binarize == "larochelle":
            return read_larochelle(self._files.root / "binarized_mnist")
        expected = self._expected_spins(train=True)
        # drawn before the split, so that an image has the same spins whatever num_val is
        train, val = hold_out(self._spins(expected, _TRAIN_SPINS), self.num_val)
        if self.binarize == "dynamic":
            train, _ = hold_out(expected, self.num_val)
        return Splits(train, val, self._spins(self._expected_spins(train=False), _TEST_SPINS))

    def transform(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # validation and test rows are spins already, which a draw leaves as they are
        if self.binarize != "dynamic":
            return rows
        return draw_spins(rows, self.num_features, generator)

    def _expected_spins(self, train: bool) -> Tensor:
        images, labels = self._files.read(train)
        return grid_rows(images.flatten(1), NUM_GRAYS, labels, self.num_classes)

    def _spins(self, expected: Tensor, seed: int) -> Tensor:
        return draw_spins(expected, self.num_features, torch.Generator().manual_seed(seed))
