r"""Tables of counts as they might have been."""

from __future__ import annotations

__all__ = ["resample"]

import torch
from torch import Tensor


def resample(
    cells: Tensor, num_asked: Tensor, num_tables: int, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Draws tables of counts, each row a multinomial.

    With the proportions that were found it is the bootstrap of people; with the cells of a fitted
    model it is the parametric bootstrap, of tables that the model is true of.

    Arguments:
        cells: The probabilities, of shape (rows, columns).
        num_asked: The number of answers of each row, of shape (rows,).
        num_tables: The number of tables.
        generator: Draws them.

    Returns:
        The counts, of shape (num_tables, rows, columns).

    Raises:
        ValueError: If `num_asked` does not have the rows of the cells.

    References:
        | Bootstrap methods: another look at the jackknife (Efron, 1979)
        | https://doi.org/10.1214/aos/1176344552

    Example:
        >>> resample(torch.tensor([[0.2, 0.8]]), torch.tensor([10]), 5).sum(-1).flatten()
        tensor([10., 10., 10., 10., 10.], dtype=torch.float64)
    """
    if num_asked.shape != cells.shape[:1]:
        raise ValueError(
            f"num_asked is of shape {tuple(num_asked.shape)}, but cells have {len(cells)} rows"
        )
    rows = []
    for row, asked in zip(cells, num_asked.tolist(), strict=True):
        shape = num_tables, int(asked)
        drawn = torch.multinomial(row, num_tables * int(asked), True, generator=generator)
        ones = torch.ones(shape, dtype=torch.float64)
        empty = torch.zeros(num_tables, len(row), dtype=torch.float64)
        rows.append(empty.scatter_add(1, drawn.view(shape), ones))
    return torch.stack(rows, 1)
