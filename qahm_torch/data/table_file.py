r"""Tables in files: what is read of CSV, npz and parquet, and what kind each column is of."""

from __future__ import annotations

__all__ = ["Cell", "infer_column", "plain", "read_table"]

import csv
import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from qahm_torch.data.mixed_table import Column, Kind

Cell: TypeAlias = float | str | None
# Whole numbers of at most so many values are codes, and not amounts.
_MAX_CODES = 10


def read_table(path: str | Path) -> dict[str, list[Cell]]:
    r"""Returns the columns of a file by name: numbers, texts, and None for what is missing.

    Empty cells and NaN are missing. A CSV begins with a line of names. An npz has a vector for
    each name. A parquet file takes pandas.

    Arguments:
        path: The file; its ending tells what it is.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file is parquet and there is no pandas.
        ValueError: If the ending is another, columns differ in length, names are missing or
            repeated, or a number is infinite.
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise ValueError(f"path is {str(path)!r}, but it ends in {', '.join(readers)}")
    if not path.is_file():
        raise FileNotFoundError(f"path is {str(path)!r}, but there is no such file")
    table = {
        name: _column(name, cells, isinstance(cells, tuple))
        for name, cells in readers[path.suffix](path).items()
    }
    lengths = {name: len(cells) for name, cells in table.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise ValueError(f"{path.name} has columns of lengths {lengths}, but all have rows alike")
    return table


def infer_column(name: str, cells: Sequence[Cell], kind: Kind | None) -> tuple[Column, list[Cell]]:
    r"""Returns what a column is, and its categories, which are empty for numbers.

    Two values are binary, texts and up to 10 different whole numbers from 0 on categorical, and
    other numbers continuous.

    Arguments:
        name: What the column is called.
        cells: Its cells, None where missing.
        kind: The kind that it is to be; None for the rule.

    Raises:
        ValueError: If the column does not vary, or its values do not fit the kind.
    """
    known = [cell for cell in cells if cell is not None]
    texts = [row for row, cell in enumerate(cells) if isinstance(cell, str)]
    values: list[Cell] = sorted(set(known), key=lambda cell: (isinstance(cell, str), cell))
    if len(values) < 2:
        raise ValueError(
            f"column {name!r} holds {values}, but two values that differ are needed: leave it out"
        )
    if texts and len(texts) < len(known) and kind is None:
        row = texts[0]
        raise ValueError(
            f"column {name!r} holds {cells[row]!r} in row {row + 1} and numbers elsewhere: mend "
            "it, or say that its kind is categorical"
        )
    if kind is None:
        kind = _kind_of(values)
    if kind == "categorical":
        return Column(name, kind, len(values)), values
    if kind == "binary":
        if len(values) != 2:
            raise ValueError(f"column {name!r} holds {values[:5]}, but a binary one has 2 values")
        return Column(name, kind), values
    for row, cell in enumerate(cells):
        if isinstance(cell, str) or (kind == "positive" and cell is not None and cell <= 0):
            raise ValueError(f"column {name!r} holds {cell!r} in row {row + 1}, but it is {kind}")
    return Column(name, kind), []


def _kind_of(values: Sequence[Cell]) -> Kind:
    if len(values) == 2:
        return "binary"
    codes = len(values) <= _MAX_CODES and all(
        isinstance(x, float) and x >= 0 and x.is_integer() for x in values
    )
    return "categorical" if codes or isinstance(values[0], str) else "continuous"


def _read_csv(path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    names = [name.strip() for name in lines[0]] if lines else []
    if not all(names) or len(set(names)) < len(names) or not names:
        raise ValueError(f"{path.name} begins with {names}, but columns have names of their own")
    for row, line in enumerate(lines[1:], 1):
        if len(line) != len(names):
            raise ValueError(
                f"{path.name} has {len(line)} cells in row {row}, but {len(names)} columns"
            )
    return {name: tuple(line[k] for line in lines[1:]) for k, name in enumerate(names)}


def _read_npz(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    for name, values in columns.items():
        if values.ndim != 1:
            raise ValueError(
                f"column {name!r} has shape {values.shape}, but an npz has a vector for each"
            )
    return {name: values.tolist() for name, values in columns.items()}


def _read_parquet(path: Path) -> dict[str, Any]:
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError(
            f"{path.name} takes pandas, which is not installed: install it, or save a CSV"
        ) from error
    frame = pandas.read_parquet(path)
    return {str(name): frame[name].astype(object).tolist() for name in frame.columns}


def _column(name: str, cells: Sequence[Any], is_text: bool) -> list[Cell]:
    return [_cell(name, row, cell, is_text) for row, cell in enumerate(cells, 1)]


def _cell(name: str, row: int, cell: Any, is_text: bool) -> Cell:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, str) and not is_text:
        return cell.strip()
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return str(cell).strip()
    if math.isinf(number):
        raise ValueError(
            f"column {name!r} holds {cell} in row {row}, but numbers are finite: leave the cell "
            "empty if it is not known"
        )
    return None if math.isnan(number) else number


def plain(value: Cell) -> Cell | int:
    r"""Returns a cell as people write it: whole numbers without a point.

    Example:
        >>> plain(3.0), plain(0.5), plain("red")
        (3, 0.5, 'red')
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value
