r"""Tables with columns of different kinds, of which entries may be missing."""

from __future__ import annotations

__all__ = ["Column", "MixedTable"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from qahm_torch.data.coding import one_hot_spins
from qahm_torch.data.parts import random_parts, told_parts
from qahm_torch.data.tensor_module import Splits, TensorDataModule
from qahm_torch.nn import NormalUnits, OneHot, Spins, Units

Kind = Literal["continuous", "positive", "binary", "categorical"]
_REAL = ("continuous", "positive")


@dataclass(frozen=True)
class Column:
    r"""What a column of a table holds.

    Arguments:
        name: What it is called.
        kind: "continuous" numbers, which are standardized; "positive" ones, whose logarithm is;
            "binary" ones, 0 or 1, which become a spin; "categorical" ones, 0 to
            num_categories - 1, which become spins, +1 for the category.
        num_categories: The number of categories; 0 in columns of other kinds.

    Raises:
        ValueError: If the kind is none of these, or the number does not fit it.

    Example:
        >>> Column("blood group", "categorical", 4).num_units
        4
    """

    name: str
    kind: Kind
    num_categories: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (*_REAL, "binary", "categorical"):
            raise ValueError(
                f"kind is {self.kind!r}, but it is continuous, positive, binary or categorical"
            )
        if (self.kind == "categorical") != (self.num_categories >= 2):
            raise ValueError(
                f"num_categories is {self.num_categories}, but a {self.kind} column has "
                f"{'at least 2' if self.kind == 'categorical' else '0'}"
            )

    @property
    def is_real(self) -> bool:
        r"""Whether the likelihood of its values is a density."""
        return self.kind in _REAL

    @property
    def num_units(self) -> int:
        r"""The number of units that it becomes."""
        return self.num_categories or 1

    def units(self) -> Units:
        r"""Returns new units for the column."""
        if self.is_real:
            # A twentieth of a standard deviation: finer than that, rounded values are a comb.
            return NormalUnits(1, min_scale=0.05)
        return Spins(1) if self.kind == "binary" else OneHot(self.num_categories)


class MixedTable(TensorDataModule):
    r"""A table in memory with columns of different kinds, in which entries may be missing.

    A continuous entry x becomes :math:`z = (f(x) - m) / s` where m and s are mean and standard
    deviation of the training rows' known f(x), and f is the identity or the logarithm. All units
    of a missing entry are NaN. A density of units is one of original values once
    `log_jacobian` is added:

    .. math::
        \log p(x) = \log p(z) + \sum_{k \text{ known}} \log f'(x_k) - \log s_k

    Arguments:
        rows: The table, of shape (R, C): numbers, with NaN or None for what is missing.
        columns: What the columns hold.
        batch_size: The number of rows of a batch.
        num_val: The number of rows for validation.
        num_test: The number of rows for the test; the remaining rows are for training.
        seed: The seed of the split and of the order of the training rows.
        split: The part of each row, "train", "val" or "test"; None for parts by the seed.

    Raises:
        ValueError: If the table has another number of columns, an entry does not fit its column,
            a number is out of range, a part has another name, or a continuous column does not
            vary in the training rows.

    Example:
        >>> columns = [Column("height", "positive"), Column("smokes", "binary")]
        >>> rows = [[1.62, 0], [1.80, 1], [None, 0], [1.71, None]]
        >>> data = MixedTable(rows, columns, num_val=0, num_test=0)
        >>> data.setup()
        >>> data.train.shape, int(data.train.isnan().sum())
        (torch.Size([4, 2]), 2)
    """

    def __init__(
        self,
        rows: Tensor | Sequence[Sequence[float | None]],
        columns: Sequence[Column],
        batch_size: int = 100,
        num_val: int = 0,
        num_test: int = 0,
        seed: int = 0,
        split: Sequence[object] | None = None,
    ):
        self.columns = tuple(columns)
        super().__init__(
            sum(column.num_units for column in self.columns), batch_size=batch_size, seed=seed
        )
        self.rows = _numbers(rows, self.columns)
        if split is None:
            parts = random_parts(len(self.rows), num_val, num_test, seed)
        else:
            parts = told_parts(split, len(self.rows), num_val, num_test)
        self.original = Splits(*(self.rows[part] for part in parts))
        self.num_val, self.num_test = len(parts.val), len(parts.test)
        self._maps = [self._fitted(k) for k in range(len(self.columns))]

    def load_splits(self) -> Splits:
        return Splits(*(self.encode(rows) for rows in self.original))

    def encode(self, rows: Tensor) -> Tensor:
        r"""Returns the units (*, num_visible) of original values (*, C), NaN where missing."""
        units = [self._encoded(k, rows[..., k].double()) for k in range(len(self.columns))]
        return torch.cat(units, dim=-1).to(torch.get_default_dtype())

    def decode(self, units: Tensor) -> Tensor:
        r"""Returns the original values (*, C) of units (*, num_visible), in double precision.

        Of units of a discrete column the sign counts, or the largest.
        """
        return torch.stack([self._decoded(k, u) for k, u in enumerate(self.split(units))], -1)

    def log_jacobian(self, units: Tensor) -> Tensor:
        r"""Returns what makes a log-density of units one of original values, of shape (*).

        Arguments:
            units: The units of shape (*, num_visible); missing entries do not count.
        """
        total = units.new_zeros(units.shape[:-1], dtype=torch.float64)
        for k, own in enumerate(self.split(units)):
            if self.columns[k].is_real:
                mean, scale = self._maps[k]
                slope = own[..., 0].double() * 0 - math.log(scale)
                if self.columns[k].kind == "positive":
                    slope = slope - (own[..., 0].double() * scale + mean)
                total = total + slope.nan_to_num(nan=0.0)
        return total

    def split(self, units: Tensor) -> tuple[Tensor, ...]:
        r"""Returns the units of each column, (*, num_units) each, of all (*, num_visible)."""
        return torch.split(units, [column.num_units for column in self.columns], dim=-1)

    def _fitted(self, k: int) -> tuple[float, float]:
        r"""Returns mean and scale of a column's training values, after its map."""
        column, train = self.columns[k], self.original.train[:, k]
        if not column.is_real:
            return 0.0, 1.0
        known = _mapped(column, train[~train.isnan()])
        if len(known) < 2 or not float(known.std()) > 0:
            raise ValueError(
                f"column {column.name!r} has {len(known)} known training values, but two that "
                "differ are needed for its scale"
            )
        return float(known.mean()), float(known.std(correction=0))

    def _encoded(self, k: int, values: Tensor) -> Tensor:
        column, (mean, scale) = self.columns[k], self._maps[k]
        if column.is_real:
            return ((_mapped(column, values) - mean) / scale).unsqueeze(-1)
        if column.kind == "binary":
            return (2 * values - 1).unsqueeze(-1)
        codes = one_hot_spins(values.nan_to_num(nan=0.0), column.num_categories).double()
        return codes.masked_fill(values.isnan().unsqueeze(-1), math.nan)

    def _decoded(self, k: int, units: Tensor) -> Tensor:
        column, (mean, scale) = self.columns[k], self._maps[k]
        first = units[..., 0].double()
        if column.is_real:
            values = first * scale + mean
            return values.exp() if column.kind == "positive" else values
        if column.kind == "binary":
            values = (first > 0).double()
        else:
            values = units.nan_to_num(nan=0.0).argmax(-1).double()
        return values.masked_fill(first.isnan(), math.nan)


def _mapped(column: Column, values: Tensor) -> Tensor:
    return values.log() if column.kind == "positive" else values


def _numbers(rows: Tensor | Sequence[Sequence[float | None]], columns: Sequence[Column]) -> Tensor:
    r"""Returns a table as numbers (R, C) in double precision; raises ValueError if one is off."""
    if not isinstance(rows, Tensor):
        rows = torch.tensor(
            [[math.nan if x is None else x for x in row] for row in rows], dtype=torch.float64
        )
    if rows.ndim != 2 or rows.shape[1] != len(columns):
        raise ValueError(
            f"rows have shape {tuple(rows.shape)}, but a table of {len(columns)} columns has "
            f"(R, {len(columns)})"
        )
    rows = rows.double()
    for k, column in enumerate(columns):
        known = rows[:, k][~rows[:, k].isnan()]
        wrong = known[~_fits(column, known)].tolist()
        if wrong:
            raise ValueError(
                f"column {column.name!r} holds {wrong[0]}, but it is {column.kind}"
                + (f" with {column.num_categories} categories" if column.num_categories else "")
            )
    return rows


def _fits(column: Column, values: Tensor) -> Tensor:
    if column.is_real:
        low = 0.0 if column.kind == "positive" else -math.inf
        return values.isfinite() & (values > low)
    limit = column.num_categories or 2
    return (values >= 0) & (values < limit) & (values == values.round())
