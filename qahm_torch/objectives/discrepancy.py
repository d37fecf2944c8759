r"""Losses that compare a batch with the prior: by divergence, and by two samples alone."""

from __future__ import annotations

__all__ = ["GaussianKernel", "kl_divergence", "maximum_mean_discrepancy"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from qahm_torch.ising import Samples
from qahm_torch.nn import Prior


def kl_divergence(
    log_odds: Tensor, spins: Tensor, prior: Prior, negative: Tensor | Samples | None = None
) -> Tensor:
    r"""Returns the divergence of independent spins from a prior, datum by datum.

    .. math::
        KL(q \| p) = -H(q) - E_{u \sim q}[\log p(u)], \qquad
        H(q) = \sum_i \operatorname{softplus}(l_i) - l_i \, \sigma(l_i),

    with the entropy as it is, and the mean over the spins that are given: draws of q, relaxed or
    straight-through where a gradient is to reach the log-odds through them.

    Arguments:
        log_odds: The log-odds l of +1 against -1, of shape (B, N_visible).
        spins: Draws of q, of shape (B, N_visible) or (K, B, N_visible).
        prior: The prior, whose `log_prob` has the stored log Z.
        negative: Samples of the prior for its gradient; see `Prior.log_prob`.

    Returns:
        Nats of shape (B,).

    Raises:
        ValueError: If the shapes do not fit.

    References:
        | Discrete variational autoencoders (Rolfe, 2016)
        | https://arxiv.org/abs/1609.02200

    Example:
        >>> from qahm_torch import QuantumPriorLayer
        >>> log_odds = torch.zeros(5, 4, requires_grad=True)
        >>> kl_divergence(log_odds, torch.ones(5, 4), QuantumPriorLayer(4)).shape
        torch.Size([5])
    """
    if spins.shape[-2:] != log_odds.shape or spins.ndim not in (2, 3):
        raise ValueError(
            f"spins have shape {tuple(spins.shape)} and log_odds {tuple(log_odds.shape)}, but "
            "there is one log-odds a spin: (B, N) and (B, N), or (K, B, N) and (B, N)"
        )
    entropy = (softplus(log_odds) - log_odds * torch.sigmoid(log_odds)).sum(-1)
    log_prob = prior.log_prob(spins, negative)
    return -entropy - (log_prob.mean(0) if spins.ndim == 3 else log_prob)


class GaussianKernel:
    r"""A sum of Gaussian kernels of several widths.

    .. math::
        k(x, y) = \sum_i e^{-\|x - y\|^2 / (2 \sigma_i^2)}.

    Arguments:
        widths: The :math:`\sigma_i`; None for the median distance of the samples that are
            compared, times 1/2, 1 and 2.

    Raises:
        ValueError: If a width is not positive.
    """

    def __init__(self, widths: Sequence[float] | None = None):
        if widths is not None and not all(width > 0 for width in widths):
            raise ValueError(f"widths are {list(widths)}, but widths are positive")
        self.widths = widths

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns the matrix (X, Y) of k for rows of x and y."""
        squares = torch.cdist(x, y).square()
        if self.widths is None:
            middle = squares.detach()[squares.detach() > 0]
            scale = middle.median().sqrt().item() if len(middle) else 1.0
            widths: Sequence[float] = (scale / 2, scale, 2 * scale)
        else:
            widths = self.widths
        return torch.stack([torch.exp(-squares / (2 * w * w)) for w in widths]).sum(0)


def maximum_mean_discrepancy(
    x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Tensor:
    r"""Returns the squared maximum mean discrepancy of two samples, without bias.

    .. math::
        \operatorname{mean}_{i \ne j} k(x_i, x_j) + \operatorname{mean}_{i \ne j} k(y_i, y_j)
        - 2 \operatorname{mean}_{ij} k(x_i, y_j)

    Arguments:
        x: A sample of shape (X, *).
        y: Another one, of shape (Y, *).
        kernel: From rows (X, D) and (Y, D) to a matrix (X, Y); None for `GaussianKernel()`.

    Returns:
        A scalar, whose mean is 0 where the samples are of one distribution.

    Raises:
        ValueError: If a sample has less than 2 rows, or their shapes do not fit.

    References:
        | A kernel two-sample test (Gretton et al., 2012)
        | https://jmlr.org/papers/v13/gretton12a.html

    Example:
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> maximum_mean_discrepancy(x, x, lambda a, b: a @ b.T)
        tensor(-0.5000)
    """
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"samples have shapes {tuple(x.shape)} and {tuple(y.shape)}, but may differ in their "
            "numbers alone"
        )
    if min(len(x), len(y)) < 2:
        raise ValueError(f"samples have {len(x)} and {len(y)} rows, but each needs 2 at least")
    rows = torch.cat([x.flatten(1), y.flatten(1)])
    matrix = (kernel or GaussianKernel())(rows, rows)
    n = len(x)
    within = _off_diagonal_mean(matrix[:n, :n]) + _off_diagonal_mean(matrix[n:, n:])
    return within - 2 * matrix[:n, n:].mean()


def _off_diagonal_mean(matrix: Tensor) -> Tensor:
    n = len(matrix)
    return (matrix.sum() - matrix.trace()) / (n * (n - 1))
