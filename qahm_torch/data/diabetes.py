r"""The diabetes table that scikit-learn bundles, in original units."""

from __future__ import annotations

__all__ = ["Diabetes", "hide_at_random"]

import math

import torch
from torch import Tensor

from qahm_torch.data.mixed_table import Column, MixedTable

_NAMES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "quartile")
# s1 to s6 are of blood serum: cholesterol, LDL, HDL, a ratio of the first and the third, the
# logarithm of triglycerides, sugar. Here what is made of others comes after those.
_ORDER = ("sex", "age", "bmi", "bp", "s5", "s3", "s1", "s2", "s4", "s6", "quartile")


class Diabetes(MixedTable):
    r"""442 patients: sex, nine numbers, and the quartile of how their diabetes went on.

    Arguments:
        missing: The probability of an entry to be missing, at random and in all parts.
        with_logs: Whether numbers are taken by their logarithm, except s5, which is one.
        batch_size: The number of rows of a batch.
        num_val: The number of rows for validation.
        num_test: The number of rows for the test; the remaining rows are for training.
        seed: The seed of the split and of the order of the training rows.

    Raises:
        ValueError: If a number is out of range.

    References:
        | Least angle regression (Efron, Hastie, Johnstone, Tibshirani, 2004)
        | https://doi.org/10.1214/009053604000000067

    Example:
        >>> data = Diabetes()
        >>> data.setup()
        >>> data.train.shape, data.columns[-1].num_categories
        (torch.Size([262, 14]), 4)
    """

    def __init__(
        self,
        missing: float = 0.0,
        with_logs: bool = True,
        batch_size: int = 64,
        num_val: int = 60,
        num_test: int = 120,
        seed: int = 0,
    ):
        columns = [_column(name, with_logs) for name in _ORDER]
        rows = hide_at_random(_rows(), missing)
        super().__init__(rows, columns, batch_size, num_val, num_test, seed)
        self.missing = missing


def hide_at_random(rows: Tensor, missing: float, seed: int = 1) -> Tensor:
    r"""Returns rows (R, C) of which entries are missing at random, that is, NaN.

    Arguments:
        rows: The rows.
        missing: The probability of an entry to be missing.
        seed: The seed of which are.

    Raises:
        ValueError: If the probability is none.
    """
    if not 0 <= missing <= 1:
        raise ValueError(f"missing is {missing}, but a probability is 0 to 1")
    chance = torch.rand(rows.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(chance < missing, math.nan, rows)


def _column(name: str, with_logs: bool) -> Column:
    if name == "sex":
        return Column(name, "binary")
    if name == "quartile":
        return Column(name, "categorical", 4)
    return Column(name, "positive" if with_logs and name != "s5" else "continuous")


def _rows() -> Tensor:
    r"""Returns the table (442, 11), with sex as 0 and 1, in the order of the columns."""
    from sklearn.datasets import load_diabetes  # only now, because it takes time

    held = load_diabetes(return_X_y=True, scaled=False)
    rows, target = (torch.tensor(values) for values in held)
    rows[:, 1] -= 1
    edges = torch.quantile(target, torch.tensor([0.25, 0.5, 0.75], dtype=target.dtype))
    quartile = torch.bucketize(target, edges).unsqueeze(-1).double()
    rows = torch.cat([rows, quartile], dim=-1)
    return rows[:, [_NAMES.index(name) for name in _ORDER]]
