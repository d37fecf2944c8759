r"""Rows of which few have a class: the class units of the others are NaN."""

from __future__ import annotations

__all__ = ["hide_labels", "repeat_known"]

import torch
from torch import Tensor

from qahm_torch.data.loader import check_count


def hide_labels(
    rows: Tensor,
    num_classes: int,
    num_labels: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns rows of which `num_labels` keep their class; class units of the others are NaN.

    Each class keeps as many rows as another, up to one, which are drawn at random.

    Arguments:
        rows: The rows of shape (R, num_visible), class units last.
        num_classes: The number of class units.
        num_labels: The number of rows that keep their class.
        generator: The source of the choice; torch's global generator by default.

    Raises:
        ValueError: If there are no class units, or a class has too few rows for its share.

    Example:
        >>> from qahm_torch.data import one_hot_spins
        >>> rows = one_hot_spins(torch.tensor([0, 1, 0, 1, 0]), 2)
        >>> hide_labels(rows, num_classes=2, num_labels=2).isnan().all(-1).sum()
        tensor(3)
    """
    check_count("num_classes", num_classes, 1, rows.shape[-1])
    check_count("num_labels", num_labels, 0, len(rows))
    labels = rows[:, -num_classes:].argmax(-1)
    share, rest = divmod(num_labels, num_classes)
    more = torch.randperm(num_classes, generator=generator)[:rest]
    hidden = torch.ones(len(rows), dtype=torch.bool)
    for label in range(num_classes):
        number = share + int((more == label).any())
        found = (labels == label).nonzero()[:, 0]
        if len(found) < number:
            raise ValueError(
                f"num_labels is {num_labels}, of which class {label} has {number}, but there are "
                f"only {len(found)} rows of it"
            )
        order = torch.randperm(len(found), generator=generator)
        hidden[found[order[:number]]] = False
    values = rows.clone()
    values[hidden, -num_classes:] = torch.nan
    return values


def repeat_known(rows: Tensor, num_classes: int, num_repeats: int) -> Tensor:
    r"""Returns rows in which those with a class stand so many times, the others once.

    Arguments:
        rows: The rows of shape (R, num_visible), class units last, NaN where there is no class.
        num_classes: The number of class units.
        num_repeats: How often a row with a class stands there.

    Example:
        >>> rows = torch.tensor([[1.0, -1.0], [torch.nan, torch.nan]])
        >>> len(repeat_known(rows, num_classes=2, num_repeats=3))
        4
    """
    check_count("num_repeats", num_repeats, 1)
    known = rows[~rows[:, -num_classes:].isnan().any(-1)]
    return torch.cat([rows, known.repeat(num_repeats - 1, 1)])
