r"""Rows of units as the cells of a table, written as its file has them."""

from __future__ import annotations

__all__ = ["cells_of"]

import math
from collections.abc import Sequence

from torch import Tensor

from qahm_torch.data.mixed_table import Column, MixedTable
from qahm_torch.data.table_data import TableData
from qahm_torch.data.table_file import Cell, plain

# Finer than a ten-thousandth of a standard deviation nothing is told of a number.
_DIGITS = 4
_POSITIVE_DIGITS = 6


def cells_of(data: MixedTable, units: Tensor) -> dict[str, list[str]]:
    r"""Returns the columns of a table by name, with texts as a CSV has them.

    Columns are in the order of the file, those that the data leave out excepted. Discrete ones
    have the names of their categories. Continuous numbers have as many decimals as the training
    rows have, and at most those that matter for their standard deviation; what is missing is
    empty.

    Arguments:
        data: The table, which says what its columns are.
        units: Rows of shape (R, num_visible).

    Example:
        >>> import torch
        >>> columns = [Column("height", "continuous"), Column("smokes", "binary")]
        >>> data = MixedTable([[1.62, 0], [1.80, 1], [None, 0]], columns)
        >>> data.setup()
        >>> cells_of(data, torch.tensor([[0.4567, -1.0], [torch.nan, 1.0]]))
        {'height': ['1.75', ''], 'smokes': ['0', '1']}
    """
    values = data.decode(units)
    table = {
        column.name: _texts(data, k, values[:, k].tolist())
        for k, column in enumerate(data.columns)
    }
    names = data.header if isinstance(data, TableData) else tuple(table)
    return {name: table[name] for name in names}


def _texts(data: MixedTable, k: int, values: Sequence[float]) -> list[str]:
    r"""Returns the cells of a column, empty where a value is NaN."""
    column = data.columns[k]
    categories = data.categories.get(column.name) if isinstance(data, TableData) else None
    decimals = _decimals(data.original.train[:, k]) if column.kind == "continuous" else 0
    return [
        "" if math.isnan(value) else _text(column, value, categories, decimals) for value in values
    ]


def _text(column: Column, value: float, categories: Sequence[Cell] | None, decimals: int) -> str:
    if column.kind == "positive":
        return f"{value:.{_POSITIVE_DIGITS}g}"  # which cannot become 0
    if column.kind == "continuous":
        return f"{round(value, decimals) + 0.0:.{decimals}f}"  # no zero with a minus
    return str(plain(float(round(value)) if categories is None else categories[round(value)]))


def _decimals(train: Tensor) -> int:
    r"""Returns the fewest decimals that tell the training values (R,), as far as they matter."""
    known = train[~train.isnan()]
    most = max(0, _DIGITS - math.floor(math.log10(float(known.std()))))
    told = known.tolist()
    return next((n for n in range(most) if all(round(x, n) == x for x in told)), most)
