r"""Models of counts, and their fit by maximum likelihood."""

from __future__ import annotations

__all__ = ["CellModel", "Fit", "fit"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-15  # below which no probability is taken to be


@dataclass(frozen=True)
class CellModel:
    r"""A function from parameters to the probabilities of cells.

    The counts of each row (a condition, with people or answers of its own) are multinomial:

    .. math:: \log L(\theta) = \sum_{r, c} n_{rc} \log p_{rc}(\theta).

    Arguments:
        name: By which tables name it.
        num_parameters: The number of parameters, each of which may be any real number.
        cells: The function, from (*, num_parameters) to (*, rows, columns). Each row sums to 1.

    Raises:
        ValueError: If it has no parameters.

    Example:
        >>> coin = CellModel("coin", 1, lambda x: torch.stack([x.sigmoid(), (-x).sigmoid()], -1))
        >>> fit(coin, torch.tensor([[3.0, 1.0]])).cells
        tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """

    name: str
    num_parameters: int
    cells: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if self.num_parameters < 1:
            raise ValueError(f"num_parameters is {self.num_parameters}, but it is at least 1")


class Fit(NamedTuple):
    r"""The parameters of highest likelihood (*, k), their cells (*, rows, columns), and log L (*).

    The log-likelihood, in nats, is that of the answers in their sequence: it has no multinomial
    coefficient, which is the same for all models.
    """

    parameters: Tensor
    cells: Tensor
    log_likelihood: Tensor


def fit(
    model: CellModel,
    counts: Tensor,
    *,
    start: Tensor | None = None,
    num_starts: int = 64,
    num_iterations: int = 100,
    generator: torch.Generator | None = None,
) -> Fit:
    r"""Fits a model by maximum likelihood, from several random starts, to each of many tables.

    Steps are those of Fisher's scoring, damped as by Levenberg and Marquardt so that none lowers
    the likelihood:

    .. math:: \Delta = (I + \lambda D)^{-1} \nabla \log L, \qquad
        I = \sum_{r, c} \frac{n_r}{p_{rc}} \nabla p_{rc} \nabla p_{rc}^T,

    where D is the diagonal of I.

    Arguments:
        model: The model.
        counts: The counts, of shape (*, rows, columns).
        start: Parameters to start from once more, as those of another fit, of shape (k,) or
            (*, k).
        num_starts: The number of random starts, of standard normal parameters. Of all ends the
            best one is taken, which is the global one only if a start has led there.
        num_iterations: The number of steps.
        generator: Draws the starts.

    Raises:
        ValueError: If counts are negative or do not have the shape of the cells, or if a number is
            below 1.

    References:
        | A method for the solution of certain non-linear problems in least squares (Levenberg,
          1944)
        | https://doi.org/10.1090/qam/10666
    """
    if min(num_starts, num_iterations) < 1:
        raise ValueError(
            f"num_starts is {num_starts} and num_iterations {num_iterations}, but both are at"
            " least 1"
        )
    counts = counts.to(torch.float64)
    shape = num_starts, *counts.shape[:-2], model.num_parameters
    theta = torch.randn(shape, generator=generator, dtype=torch.float64)
    if start is not None:
        theta = torch.cat([theta, start.to(theta).expand(shape[1:]).unsqueeze(0)])
    cells = model.cells(theta)
    _check(counts, cells)
    value, damping = _log_likelihood(counts, cells), theta.new_ones(theta.shape[:-1])
    for _ in range(num_iterations):
        proposed = theta + _step(model, counts, theta, damping)
        found = _log_likelihood(counts, model.cells(proposed))
        better = found > value
        theta = torch.where(better.unsqueeze(-1), proposed, theta)
        value = torch.where(better, found, value)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-9, 1e9)
    best = value.argmax(0, keepdim=True)
    theta = theta.take_along_dim(best.unsqueeze(-1), 0).squeeze(0)
    return Fit(theta, model.cells(theta), value.amax(0))


def _check(counts: Tensor, cells: Tensor) -> None:
    if counts.shape[-2:] != cells.shape[-2:]:
        raise ValueError(
            f"counts are of shape {tuple(counts.shape)}, but the last two sizes of the model are"
            f" {tuple(cells.shape[-2:])}"
        )
    if counts.min() < 0:
        raise ValueError(f"counts have {counts.min():g}, but none is below 0")


def _log_likelihood(counts: Tensor, cells: Tensor) -> Tensor:
    return (counts * cells.clamp(min=TINY).log()).sum((-2, -1))


def _step(model: CellModel, counts: Tensor, theta: Tensor, damping: Tensor) -> Tensor:
    r"""Returns the damped step of scoring, (*, k)."""
    cells, slope = _slope(model, theta)
    cells = cells.clamp(min=TINY)
    score = (slope * (counts.flatten(-2) / cells).unsqueeze(-1)).sum(-2)
    expected = counts.sum(-1, keepdim=True).expand_as(counts).flatten(-2) / cells
    information = slope.mT @ (slope * expected.unsqueeze(-1))
    diagonal = information.diagonal(dim1=-2, dim2=-1)
    # Where a parameter has no effect at all, its step is 0.
    ridge = damping.unsqueeze(-1) * diagonal + 1e-9 * (1 + diagonal.amax(-1, keepdim=True))
    step: Tensor = torch.linalg.solve(information + torch.diag_embed(ridge), score)
    return step


@torch.enable_grad()
def _slope(model: CellModel, theta: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the cells in a row, (*, C), and their derivatives, (*, C, k)."""
    theta = theta.detach().requires_grad_()
    cells = model.cells(theta).flatten(-2)
    # Tables are independent, so that the sum over them has the derivative of each.
    slopes = [
        torch.autograd.grad(cell.sum(), theta, retain_graph=True)[0] for cell in cells.unbind(-1)
    ]
    return cells.detach(), torch.stack(slopes, -2)
