r"""Counts, which are integers from 0 on."""

from __future__ import annotations

__all__ = ["PoissonUnits"]

import torch
from torch import Tensor
from torch.distributions import Distribution, Poisson

from qahm_torch.nn.distributions import IndependentUnits
from qahm_torch.nn.support import COUNTS
from qahm_torch.nn.units import Units

# Of a rate, whose exponential could overflow or vanish.
_MAX_LOG_RATE = 20.0


class PoissonUnits(Units):
    r"""Independent units with counts 0, 1, 2, ...

    .. math::
        P(n_i \mid a) = \frac{\lambda_i^{n_i} e^{-\lambda_i}}{n_i!}, \qquad
        \lambda_i = e^{a_i}

    The activations are the log-rates. One beyond -20 or 20 is taken for that one, and gets no
    gradient.

    Arguments:
        num_units: The number of units.

    Raises:
        ValueError: If the number is not a positive integer.

    Example:
        >>> PoissonUnits(2)(torch.zeros(2)).log_prob(torch.tensor([0.0, 2.0]))
        tensor(-2.6931)
    """

    support = COUNTS

    def __init__(self, num_units: int) -> None:
        super().__init__(num_units, num_parameters=num_units)

    def _distribution(self, activations: Tensor) -> Distribution:
        rate = torch.exp(activations.clamp(-_MAX_LOG_RATE, _MAX_LOG_RATE))
        return IndependentUnits(Poisson(rate, validate_args=False))
