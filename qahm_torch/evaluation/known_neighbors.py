r"""Distances to the nearest row where cells are missing."""

from __future__ import annotations

__all__ = ["nearest_known_distance"]

import torch
from torch import Tensor


def nearest_known_distance(queries: Tensor, references: Tensor, chunk: int = 1024) -> Tensor:
    r"""Returns the distance of each query to its nearest reference, over what both know.

    .. math::
        d_q = \min_r \sqrt{\frac{D}{|K_{qr}|} \sum_{i \in K_{qr}} (x_{qi} - y_{ri})^2}

    where K is where neither is missing (NaN), so that of complete rows it is the Euclidean one; it
    is the `nan_euclidean_distances` of scikit-learn.

    Arguments:
        queries: The points to look up, of shape (Q, D), NaN where missing.
        references: The points to choose from, of shape (R, D), NaN where missing.
        chunk: The number of queries compared at once.

    Returns:
        The distances, of shape (Q,) and in double precision; NaN where no reference knows what the
        query knows.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> references = torch.tensor([[0.0, 0.0], [3.0, torch.nan]])
        >>> nearest_known_distance(torch.tensor([[2.0, 9.0]]), references)
        tensor([1.4142], dtype=torch.float64)
    """
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1]:
        raise ValueError(
            f"queries has shape {tuple(queries.shape)} and references has "
            f"{tuple(references.shape)}, but (Q, D) and (R, D) are needed"
        )
    if len(references) == 0 or len(queries) == 0:
        return queries.new_full((len(queries),), torch.nan, dtype=torch.float64)
    return torch.cat([_nearest(part, references) for part in queries.double().split(chunk)])


def _nearest(queries: Tensor, references: Tensor) -> Tensor:
    references = references.double()
    known, there = ((~rows.isnan()).double() for rows in (queries, references))
    x, y = queries.nan_to_num(nan=0.0), references.nan_to_num(nan=0.0)
    squares = x.square() @ there.T + known @ y.square().T - 2 * x @ y.T
    share = known @ there.T / queries.shape[1]
    index = (squares / share).nan_to_num(nan=torch.inf, posinf=torch.inf).argmin(1)
    # Anew for the nearest, as the squares of equal rows differ by rounding.
    gaps = (queries - references[index]).square()
    return (queries.shape[1] * gaps.nanmean(1)).sqrt()
