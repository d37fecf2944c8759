r"""The files of MNIST: where they are, how they get there, and what is wrong with them."""

from __future__ import annotations

__all__ = ["NUM_DIGITS", "NUM_GRAYS", "MNISTFiles"]

import os
import shutil
import tempfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NUM_DIGITS = 10
NUM_GRAYS = 256

_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


class MNISTFiles:
    r"""The raw files of MNIST in torchvision's layout: where they are and how they get there.

    Arguments:
        root: The folder that holds `MNIST/raw`; None for the one that the environment variable
            QAHM_DATA names, or else `./data`.
        download: Whether to download the files if they are missing.
    """

    def __init__(self, root: str | None, download: bool):
        # an empty variable is as good as none: Path("") would silently be the working folder
        named = root or os.environ.get("QAHM_DATA") or "data"
        self.root = Path(named).expanduser().absolute()
        self.raw = self.root / "MNIST" / "raw"
        self.download = download

    def fetch(self) -> None:
        r"""Downloads the files if one is missing; all arrive or none does.

        Raises:
            FileNotFoundError: If they are missing and cannot, or shall not, be downloaded.
        """
        if all((self.raw / name).is_file() for name in _FILES):
            return
        if not self.download:
            raise FileNotFoundError(f"MNIST is not in {self.raw}. {self._advice()}")
        mnist = _import_mnist()
        try:
            self._download(mnist)
        except (OSError, RuntimeError, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise FileNotFoundError(
                f"MNIST is not in {self.raw} and cannot be downloaded. {self._advice()} "
                f"(The reason was: {reason})"
            ) from error

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        r"""Returns the images of shape (R, 28, 28) and the labels of shape (R,).

        Arguments:
            train: Whether the training images are meant, and not those of the test.

        Raises:
            FileNotFoundError: If the files are missing (see `fetch`).
            ValueError: If they are truncated, or not what MNIST is made of.
        """
        self.fetch()
        mnist = _import_mnist()
        try:
            # all that torchvision raises on bad bytes, where it does not check the file
            data = mnist(str(self.root), train=train)
        except (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(self._broken(train, f"cannot be read ({error})")) from error
        images, labels = data.data, data.targets
        if images.shape != (len(labels), 28, 28):
            what = f"hold {len(labels)} labels and images of shape {tuple(images.shape)}"
            raise ValueError(self._broken(train, what))
        if labels.max() >= NUM_DIGITS:
            raise ValueError(self._broken(train, f"hold the label {labels.max().item()}"))
        return images, labels

    def _download(self, mnist: Callable[..., Any]) -> None:
        # on the same file system, so that each file arrives by a rename, whole
        with tempfile.TemporaryDirectory(dir=_existing_folder(self.root)) as folder:
            arrived = Path(folder, "MNIST", "raw")
            arrived.mkdir(parents=True)
            # archives that somebody copied here need no network
            for archive in self.raw.glob("*.gz"):
                shutil.copy(archive, arrived)
            mnist(folder, download=True)
            self.raw.mkdir(parents=True, exist_ok=True)
            for name in _FILES:
                os.replace(arrived / name, self.raw / name)

    def _advice(self) -> str:
        return (
            "On a machine with network run torchvision.datasets.MNIST(root, download=True), copy "
            f"its files to {self.raw}, or name the folder that holds MNIST/raw by the argument "
            "root or the environment variable QAHM_DATA."
        )

    def _broken(self, train: bool, what: str) -> str:
        part = "train" if train else "t10k"
        return (
            f"the files {part}-*-ubyte in {self.raw} {what}: they are truncated or corrupt. "
            "Delete them and download MNIST again."
        )


def _import_mnist() -> Callable[..., Any]:
    try:
        from torchvision import datasets
    # RuntimeError: a torchvision built for another torch does not find its operators
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ImportError(
            "MNIST needs torchvision, which is missing or does not fit torch "
            f"{torch.__version__}: `pip install torchvision` in the version made for it ({reason})"
        ) from error
    mnist: Callable[..., Any] = datasets.MNIST
    return mnist


def _existing_folder(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
