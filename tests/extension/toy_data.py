r"""A data set from outside the package: rows of spins that are no pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from qahm_torch.data import Splits, TensorDataModule


class Patterns(TensorDataModule):
    r"""Rows of 7 spins that are one of two patterns, with some spins turned in each batch anew.

    Arguments:
        batch_size: The number of rows of a batch.
        noise: The probability of a turn.
    """

    def __init__(self, batch_size: int = 20, noise: float = 0.05):
        super().__init__(7, batch_size=batch_size, num_levels=2)
        self.noise = noise

    def load_splits(self) -> Splits:
        patterns = torch.tensor([[1, 1, 1, -1, -1, -1, 1], [-1, -1, 1, 1, -1, 1, -1]])
        rows = patterns.repeat(60, 1).float()
        return Splits(rows[:80], rows[80:100], rows[100:])

    def transform(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        turned = torch.rand(rows.shape, generator=generator) < self.noise
        return torch.where(turned, -rows, rows)
