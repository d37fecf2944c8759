r"""Exact nearest neighbors, to see whether a generative model copies its training set."""

from __future__ import annotations

__all__ = ["NearestNeighbors", "nearest_neighbors"]

from typing import NamedTuple

import torch
from torch import Tensor


class NearestNeighbors(NamedTuple):
    r"""The nearest reference of each query."""

    distance: Tensor  # (Q,)
    index: Tensor  # type: ignore[assignment]  # (Q,) int64; hides tuple.index, of no use here


def nearest_neighbors(queries: Tensor, references: Tensor, chunk: int = 2048) -> NearestNeighbors:
    r"""Returns the reference nearest to each query in Euclidean distance.

    .. math:: d_q = \min_r \lVert x_q - y_r \rVert, \qquad i_q = \arg\min_r \lVert x_q - y_r \rVert

    The search is exhaustive and exact. A matrix product screens all pairs; those it cannot tell
    from the minimum, given its rounding error, are compared in float64 by the differences of
    their coordinates. Among equally near references the one of lowest index wins.

    Arguments:
        queries: The points to look up, of shape (Q, D) and floating dtype.
        references: The points to choose from, of shape (R, D) and floating dtype, on the device of
            `queries`.
        chunk: The number of queries, and of references, compared at once. Beside a copy of the
            references, the memory taken is that of a few (chunk, chunk) matrices.

    Returns:
        The distances, in the common dtype of `queries` and `references`, and the indices into
        `references`. No gradient flows through them.

    Raises:
        ValueError: If the shapes or devices do not fit, there are no references, a coordinate is
            not finite, or `chunk` is not positive.
        TypeError: If the points are not of floating dtype.

    Example:
        >>> references = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> nearest_neighbors(torch.tensor([[3.0, 3.0], [0.0, 0.0]]), references)
        NearestNeighbors(distance=tensor([1., 0.]), index=tensor([1, 0]))
    """
    _check(queries, references, chunk)
    dtype = torch.promote_types(queries.dtype, references.dtype)
    queries, references = queries.detach(), references.detach()
    # The screening error grows with the distance from the origin: put that amid the references.
    working = _screening_dtype(dtype)
    center = references.to(working).mean(0)
    centered = references.to(working) - center
    found = [
        _search(block, block.to(working) - center, references, centered, chunk)
        for block in torch.split(queries, chunk)
    ]
    distance = torch.cat([square for square, _ in found]).sqrt().to(dtype)
    return NearestNeighbors(distance, torch.cat([index for _, index in found]))


def _search(
    queries: Tensor, centered_queries: Tensor, references: Tensor, centered: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    r"""Returns the squared distance (Q,) in float64 and the index (Q,) of the nearest."""
    norm = torch.linalg.vector_norm(centered, dim=1)
    margin = _margin(centered_queries, norm.max())
    lowest = margin.new_full((len(queries),), torch.inf)
    square = lowest.double()
    index = torch.zeros_like(lowest, dtype=torch.int64)
    for start in range(0, len(references), chunk):
        part = slice(start, start + chunk)
        score = _score(centered_queries, centered[part], norm[part])
        lowest = torch.minimum(lowest, score.amin(1))
        # Said in the negative, so that where squares overflow to NaN every pair is compared.
        excluded = score > (lowest + margin)[:, None]
        rows, columns = excluded.logical_not_().nonzero(as_tuple=True)
        near, at = _refine(queries, references[part], rows, columns)
        # Strictly: of equally near references the earlier one stays.
        index = torch.where(near < square, at + start, index)
        square = torch.minimum(square, near)
    return square, index


def _score(queries: Tensor, references: Tensor, norm: Tensor) -> Tensor:
    r"""Returns the squared distances less the squared norms of the queries, (Q, R)."""
    # Reduced precision would make the bound on the rounding error untrue.
    with torch.autocast(queries.device.type, enabled=False):
        return torch.addmm(norm.square(), queries, references.T, alpha=-2)


def _margin(queries: Tensor, largest: Tensor) -> Tensor:
    r"""Returns by how much rounding can part the scores of equally near references, (Q,)."""
    limits = torch.finfo(queries.dtype)
    reach: Tensor = (torch.linalg.vector_norm(queries, dim=1) + largest).square()
    return 4 * (queries.shape[1] + 4) * (limits.eps * reach + limits.tiny)


def _refine(
    queries: Tensor, references: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Returns the squared distance (Q,) and index (Q,) of the nearest of the given pairs.

    A query in no pair gets an infinite distance.
    """
    square = _exact_squares(queries, references, rows, columns)
    best = square.new_full((len(queries),), torch.inf).scatter_reduce(0, rows, square, "amin")
    winners = square == best[rows]
    index = columns.new_full((len(queries),), len(references))
    return best, index.scatter_reduce(0, rows[winners], columns[winners], "amin")


def _exact_squares(
    queries: Tensor, references: Tensor, rows: Tensor, columns: Tensor, block: int = 16384
) -> Tensor:
    r"""Returns the squared distances of the pairs (rows, columns) in float64, (P,)."""
    squares = [
        (queries[row].double() - references[column].double()).square().sum(1)
        for row, column in zip(torch.split(rows, block), torch.split(columns, block), strict=True)
    ]
    return torch.cat(squares)


def _screening_dtype(dtype: torch.dtype) -> torch.dtype:
    r"""Returns float32 where it suffices and its products are not computed in fewer bits."""
    if dtype == torch.float64 or _has_reduced_products():
        return torch.float64
    return torch.float32


def _has_reduced_products() -> bool:
    r"""Returns whether PyTorch is set to multiply float32 matrices in TF32 or bfloat16."""
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:
        # Raised where precision was set for one backend only, which nobody does to raise it.
        return True


def _check(queries: Tensor, references: Tensor, chunk: int) -> None:
    r"""Raises where the arguments of `nearest_neighbors` do not fit each other."""
    for name, points in (("queries", queries), ("references", references)):
        if points.dim() != 2:
            raise ValueError(
                f"{name} has shape {tuple(points.shape)}, but points have (n, D): "
                "flatten images with .flatten(1)"
            )
        if not points.is_floating_point():
            raise TypeError(f"{name} has dtype {points.dtype}, but a floating dtype is needed")
        if not points.isfinite().all():
            value = float(points[~points.isfinite()][0])
            raise ValueError(f"{name} holds {value}, but coordinates are finite")
    if queries.shape[1] != references.shape[1] or queries.device != references.device:
        raise ValueError(
            f"queries has shape {tuple(queries.shape)} on {queries.device}, but references has "
            f"{tuple(references.shape)} on {references.device}: the same D and device are needed"
        )
    if len(references) == 0:
        raise ValueError(
            f"references has shape {tuple(references.shape)}, but at least 1 reference is needed"
        )
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, but at least 1 query is needed")
