r"""The split of binarized MNIST that Larochelle published, on which most likelihoods are told."""

from __future__ import annotations

__all__ = ["LAROCHELLE_SIZES", "read_larochelle"]

from pathlib import Path

import torch
from torch import Tensor

from qahm_torch.data.tensor_module import Splits

LAROCHELLE_SIZES = {"train": 50_000, "valid": 10_000, "test": 10_000}

_NUM_PIXELS = 784
_BLANKS = b" \t\r"


def read_larochelle(folder: Path) -> Splits:
    r"""Returns the three parts as spins, each of shape (R, 784), from the files as published.

    Arguments:
        folder: The folder with `binarized_mnist_train.amat`, `binarized_mnist_valid.amat` and
            `binarized_mnist_test.amat`.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If one does not hold as many images as it should, or values beside 0 and 1.

    References:
        | The neural autoregressive distribution estimator (Larochelle & Murray, 2011)
        | https://proceedings.mlr.press/v15/larochelle11a.html
        | http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/
    """
    missing = [
        path.name for part in LAROCHELLE_SIZES if not (path := _path(folder, part)).is_file()
    ]
    if missing:
        sizes = ", ".join(f"{_path(folder, p).name} ({n})" for p, n in LAROCHELLE_SIZES.items())
        raise FileNotFoundError(
            f"{missing[0]} is not in {folder}. Put Larochelle's files there, whose lines are "
            f"images of {_NUM_PIXELS} values, 0 or 1, separated by spaces: {sizes}. The folder "
            "that holds binarized_mnist is named by the argument root or the environment variable "
            "QAHM_DATA."
        )
    return Splits(*(_spins(_path(folder, part), size) for part, size in LAROCHELLE_SIZES.items()))


def _path(folder: Path, part: str) -> Path:
    return folder / f"binarized_mnist_{part}.amat"


def _spins(path: Path, num_images: int) -> Tensor:
    lines = [line.translate(None, _BLANKS) for line in path.read_bytes().splitlines()]
    rows = [line for line in lines if line]
    for k, row in enumerate(rows):
        if len(row) != _NUM_PIXELS or row.strip(b"01"):
            raise ValueError(
                f"image {k + 1} in {path} is not of {_NUM_PIXELS} values, 0 or 1, separated by "
                "spaces: the file is truncated, or another one"
            )
    if len(rows) != num_images:
        raise ValueError(
            f"{path} holds {len(rows)} images, but Larochelle's has {num_images}: it is "
            "truncated, or another one"
        )
    bits = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8) - ord("0")
    return bits.view(num_images, _NUM_PIXELS).float().mul_(2).sub_(1)
