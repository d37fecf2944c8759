r"""The full Gaussian of rows with missing entries, which machines of real values have to beat."""

from __future__ import annotations

__all__ = ["ConditionalGaussian"]

import math

import torch
from torch import Tensor


class ConditionalGaussian:
    r"""A full Gaussian, fitted to rows with missing entries by expectation maximization.

    .. math::
        v \sim \mathcal N(m, C), \qquad
        E[v_M \mid v_O] = m_M + C_{MO} C_{OO}^{-1} (v_O - m_O)

    Arguments:
        rows: The rows of shape (R, N), NaN where an entry is missing.
        ridge: What is added to the diagonal of C, for columns that depend on each other.
        num_steps: The number of steps of expectation maximization; where nothing is missing the
            first one is exact.

    Raises:
        ValueError: If there are fewer than two rows, or the ridge is negative.

    References:
        | Maximum likelihood from incomplete data via the EM algorithm (Dempster, Laird, Rubin,
          1977)
        | https://doi.org/10.1111/j.2517-6161.1977.tb01600.x

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [3.0, torch.nan]])
        >>> law = ConditionalGaussian(rows, ridge=1e-6)
        >>> round(float(law.impute(torch.tensor([[1.5, torch.nan]]))[0, 1]), 3)
        3.0
    """

    def __init__(self, rows: Tensor, ridge: float = 0.0, num_steps: int = 50) -> None:
        if len(rows) < 2:
            raise ValueError(f"rows are {len(rows)}, but at least 2 are needed")
        if not ridge >= 0:
            raise ValueError(f"ridge is {ridge}, but it is not negative")
        rows = rows.double()
        self.ridge = ridge
        self.mean = rows.nanmean(0)
        self.covariance = torch.diag((rows - self.mean).square().nanmean(0) + ridge)
        for _ in range(num_steps):
            self._step(rows)

    def log_prob(self, rows: Tensor) -> Tensor:
        r"""Returns the log-density of the known entries of rows (R, N), in nats, of shape (R,)."""
        known, deviation, inverse, _ = self._conditioned(rows.double())
        blocks = self._blocks(known)
        square = torch.einsum("ri,rij,rj->r", deviation, inverse, deviation)
        constant = known.sum(-1) * math.log(2 * math.pi)
        return -(square + torch.logdet(blocks) + constant) / 2

    def impute(self, rows: Tensor) -> Tensor:
        r"""Returns rows (R, N) in which missing entries are their means given the known ones."""
        rows = rows.double()
        _, deviation, _, gain = self._conditioned(rows)
        means = self.mean + torch.einsum("rij,rj->ri", gain, deviation)
        return torch.where(rows.isnan(), means, rows)

    def _step(self, rows: Tensor) -> None:
        known, _, _, gain = self._conditioned(rows)
        filled = self.impute(rows)
        missing = (~known).double()
        left = self.covariance - gain @ self.covariance
        spread = left * missing.unsqueeze(-1) * missing.unsqueeze(-2)
        self.mean = filled.mean(0)
        deviation = filled - self.mean
        self.covariance = (deviation.T @ deviation + spread.sum(0)) / len(rows)
        self.covariance += self.ridge * torch.eye(len(self.mean), dtype=rows.dtype)

    def _blocks(self, known: Tensor) -> Tensor:
        r"""Returns the covariances of the known entries, with an identity for the others."""
        pairs = known.unsqueeze(-1) & known.unsqueeze(-2)
        return self.covariance * pairs + torch.diag_embed((~known).double())

    def _conditioned(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Returns what is known, deviations there, inverses of their covariances, and gains."""
        known = ~rows.isnan()
        deviation = (rows - self.mean).masked_fill(~known, 0.0)
        inverse = torch.linalg.inv(self._blocks(known))
        gain = (self.covariance * known.unsqueeze(-2)) @ inverse * known.unsqueeze(-2)
        return known, deviation, inverse, gain
