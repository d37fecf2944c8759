r"""Files that are either complete or absent: atomic writing, JSON of tensors, and CSV."""

from __future__ import annotations

__all__ = ["atomic_write", "json_text", "write_csv", "write_json"]

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qahm_torch.nn.atomic import atomic_write


def json_text(data: Any) -> str:
    r"""Returns `data` as JSON, as `write_json` writes it.

    Raises:
        TypeError: If `data` holds what `write_json` does not take.

    Example:
        >>> print(json_text({"h": torch.tensor([0.5, float("nan")])}))
        {
          "h": [
            0.5,
            null
          ]
        }
    """
    return json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False)


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    r"""Writes `data` as JSON, atomically.

    Tensors and NumPy arrays become (nested) lists, their scalars become numbers, a `NamedTuple`
    becomes an object, a `Path` a string. JSON has no word for NaN and the infinities: they are
    written as `null`.

    Arguments:
        path: The file to write or to replace; its folder is created where it is missing.
        data: Mappings with string keys, sequences, numbers, strings, booleans, `None`, paths,
            tensors and arrays of real numbers, in any nesting.

    Raises:
        TypeError: If `data` holds anything else, in which case nothing is written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "a.json", {"h": torch.tensor([0.5, float("nan")])})
        ...     json.loads((Path(folder) / "a.json").read_text())
        {'h': [0.5, None]}
    """
    text = json_text(data)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_csv(path: str | os.PathLike[str], lines: Iterable[Sequence[object]]) -> None:
    r"""Writes lines of cells as CSV, atomically.

    Arguments:
        path: The file to write or to replace; its folder is created where it is missing.
        lines: The cells of each line, that of the names first.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_csv(Path(folder) / "a.csv", [["name", "size"], ["a, b", 3]])
        ...     print((Path(folder) / "a.csv").read_text().strip())
        name,size
        "a, b",3
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(lines)


def _plain(value: Any) -> Any:
    r"""Returns `value` in the types that JSON has."""
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return _plain_container(value)


def _plain_container(value: Any) -> Any:
    r"""Returns a mapping as a `dict` and a sequence as a `list`, in the types that JSON has."""
    as_dict = getattr(value, "_asdict", None)
    if isinstance(value, tuple) and as_dict is not None:
        value = as_dict()
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise TypeError(
        f"data holds {value!r} of {type(value)}, but JSON is of numbers, strings, mappings, "
        "sequences, and tensors or arrays of real numbers"
    )


def _key(key: Any) -> str:
    r"""Returns a key of a mapping, which must be a string."""
    if not isinstance(key, str):
        raise TypeError(
            f"a key is {key!r}, but keys of a JSON object are strings: write {str(key)!r}"
        )
    return key
