r"""Rows of a file, as the data set that a machine was trained on would have them."""

from __future__ import annotations

__all__ = ["class_named", "rows_of_file"]

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from qahm_torch.cli.mistakes import UsageError
from qahm_torch.data import TableData, TensorDataModule
from qahm_torch.data.table_file import Cell, plain, read_table

LABEL = "label"


def class_named(data: TensorDataModule, text: str) -> int:
    r"""Returns the number of a class, from 0, by its name or by the number itself.

    Where classes are called by numbers, the number is the name.

    Raises:
        UsageError: If it is neither the name of a class nor a whole number of at least 0, or a
            table has no classes.
    """
    if isinstance(data, TableData) and not data.num_classes:
        raise UsageError(f"--class is {text}, but no column of the table is that of the classes")
    names = data.class_names
    if text in names:
        return names.index(text)
    if not _are_numbers(names) and not _is_number(text, names):
        raise UsageError(f"--class is {text}, but the classes are {', '.join(names)}")
    if not text.isdecimal():
        raise UsageError(f"--class is {text}, but a whole number of at least 0 is needed")
    return int(text)


def rows_of_file(data: TensorDataModule, path: str | Path) -> Tensor:
    r"""Returns the rows of a file as units of shape (R, num_visible), NaN where not known.

    Of a table the columns go by their names, and that of the classes may be missing. For other
    data the columns are the features in their order, less one that is named label.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, or its columns are others.
    """
    table, name = read_table(path), Path(path).name
    if isinstance(data, TableData):
        return data.encode(_table_values(data, table, name))
    labels = table.pop(LABEL, None)
    if len(table) != data.num_features:
        raise ValueError(
            f"{name} has {len(table)} columns, but the data have {data.num_features} features"
        )
    features = torch.tensor([_numbers(column, cells) for column, cells in table.items()]).T
    classes = torch.full((len(features), data.num_classes), math.nan)
    for row, label in enumerate(labels or []):
        if label is not None:
            classes[row] = _one_hot(label, data.class_names, row)
    return torch.cat([features, classes], -1)


def _are_numbers(names: Sequence[str]) -> bool:
    return list(names) == [str(k) for k in range(len(names))]


def _is_number(text: str, names: Sequence[str]) -> bool:
    r"""Returns whether a text is the number of one of the names, none of which is a number."""
    return text.isdecimal() and int(text) < len(names) and not any(map(str.isdecimal, names))


def _table_values(data: TableData, table: Mapping[str, Sequence[Cell]], name: str) -> Tensor:
    r"""Returns the values (R, C) of a table's columns, as `TableData.encode` takes them."""
    length = len(next(iter(table.values())))
    values = []
    for k, column in enumerate(data.columns):
        is_class = data.num_classes > 0 and k == len(data.columns) - 1
        if column.name not in table and not is_class:
            raise ValueError(f"{name} has no column {column.name!r}: it has {[*table]}")
        cells = table.get(column.name, [None] * length)
        categories = data.categories.get(column.name)
        values.append(
            _numbers(column.name, cells)
            if categories is None
            else _codes(column.name, cells, categories)
        )
    return torch.tensor(values, dtype=torch.float64).T


def _codes(name: str, cells: Sequence[Cell], categories: Sequence[Cell]) -> list[float]:
    codes = {value: float(k) for k, value in enumerate(categories)}
    for row, cell in enumerate(cells, 1):
        if cell is not None and cell not in codes:
            known = ", ".join(str(plain(value)) for value in categories)
            raise ValueError(
                f"column {name!r} holds {cell!r} in row {row}, but its values are {known}"
            )
    return [math.nan if cell is None else codes[cell] for cell in cells]


def _numbers(name: str, cells: Sequence[Cell]) -> list[float]:
    for row, cell in enumerate(cells, 1):
        if isinstance(cell, str):
            raise ValueError(f"column {name!r} holds {cell!r} in row {row}, but it is of numbers")
    return [math.nan if cell is None else float(cell) for cell in cells]


def _one_hot(label: Cell, names: Sequence[str], row: int) -> Tensor:
    name = str(plain(label))
    if name not in names:
        known = f"0 to {len(names) - 1}" if _are_numbers(names) else ", ".join(names)
        raise ValueError(
            f"column {LABEL!r} holds {label!r} in row {row + 1}, but classes are {known}"
        )
    return torch.tensor([1.0 if own == name else -1.0 for own in names])
