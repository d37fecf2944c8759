r"""What a machine that restores digits has to beat: means, naive Bayes, nearest neighbors."""

from __future__ import annotations

__all__ = ["RIVALS", "restored_by_rival"]

import torch
from torch import Tensor

NUM_NEIGHBORS = 5
MEAN, BAYES = "pixel mean", "naive Bayes"
NEIGHBORS = f"{NUM_NEIGHBORS} nearest neighbors"
RIVALS = (MEAN, BAYES, NEIGHBORS)


def restored_by_rival(arm: str, train: Tensor, hidden: Tensor, num_classes: int) -> Tensor:
    r"""Returns rows (B, N) whose units that are NaN have their means by a rival.

    Arguments:
        arm: One of `RIVALS`.
        train: Training rows of shape (R, N), whose last units are those of classes.
        hidden: Rows in which units are hidden, of shape (B, N), all those of classes among them.
        num_classes: The number of classes.
    """
    if arm == MEAN:
        means = train.mean(0).expand_as(hidden)
    elif arm == BAYES:
        means = _by_classes(train, hidden, num_classes)
    else:
        means = _by_neighbors(train, hidden)
    return torch.where(hidden.isnan(), means, hidden)


def _by_classes(train: Tensor, hidden: Tensor, num_classes: int) -> Tensor:
    r"""Pixels are independent within each class, and the class follows from those that are known.

    Each frequency has one count of -1 and one of +1 more than there are.
    """
    member = (train[:, -num_classes:] > 0).to(train)
    sizes = member.sum(0)
    mean = (member.T @ train) / (sizes + 2).unsqueeze(-1)  # of each class, (C, N)
    up, down = ((1 + mean) / 2).log(), ((1 - mean) / 2).log()
    # A hidden unit is neither up nor down.
    log_p = sizes.log() + (hidden > 0).to(train) @ up.T + (hidden < 0).to(train) @ down.T
    posterior = log_p.softmax(-1)
    means = posterior @ mean
    means[:, -num_classes:] = 2 * posterior - 1
    return means


def _by_neighbors(train: Tensor, hidden: Tensor) -> Tensor:
    r"""The mean of the training rows that differ in the fewest known units."""
    agreement = hidden.nan_to_num(nan=0.0) @ train.T
    nearest = agreement.topk(NUM_NEIGHBORS, dim=-1).indices
    return train[nearest].mean(1)
