r"""Real values without bounds, which have a scale of their own."""

from __future__ import annotations

__all__ = ["Logistic", "LogisticUnits", "NormalUnits"]

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal
from torch.nn.functional import logsigmoid

from qahm_torch.nn.distributions import (
    IndependentUnits,
    SeededDistribution,
    Shape,
    logistic_like,
)
from qahm_torch.nn.units import Units, check_positive

# Of the scale; one that needs more says that the values have not been standardized.
_MAX_LOG_SCALE = 20.0


class Logistic(SeededDistribution):
    r"""The logistic distribution of single units, with heavier tails than the normal one.

    .. math::
        p(v \mid m, s) = \frac{1}{s} \, \sigma(z) \, \sigma(-z), \qquad z = \frac{v - m}{s}

    Draws, by the inverse of the distribution function, are differentiable (`rsample`).

    Arguments:
        loc: The locations m, of shape (*).
        scale: The scales s, of shape (*); the standard deviation is :math:`\pi s / \sqrt 3`.

    Example:
        >>> Logistic(torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(0.0))
        tensor(-1.3863)
    """

    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc = loc
        self.scale = scale
        super().__init__(loc.shape)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (torch.pi**2 / 3)

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value.to(self.loc.dtype) - self.loc) / self.scale
        return logsigmoid(z) + logsigmoid(-z) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return torch.sigmoid((value - self.loc) / self.scale)

    def entropy(self) -> Tensor:
        return self.scale.log() + 2

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        return self.rsample(sample_shape, generator)

    def rsample(
        self, sample_shape: Shape = (), generator: torch.Generator | None = None
    ) -> Tensor:
        loc = self._spread(self.loc, sample_shape)
        return loc + self.scale * logistic_like(loc, generator)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Logistic:
        shape = torch.Size(batch_shape)
        return Logistic(self.loc.expand(shape), self.scale.expand(shape))


class _LocationAndScale(Units):
    r"""What units with a location and a scale share."""

    is_density = True

    min_scale: float

    def __init__(self, num_units: int, min_scale: float = 1e-3) -> None:
        super().__init__(num_units, num_parameters=2 * check_positive("num_units", num_units))
        if not 0 < min_scale < float("inf"):
            raise ValueError(f"min_scale is {min_scale}, but a positive number is needed")
        self.min_scale = min_scale

    def _location_and_scale(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = activations.chunk(2, dim=-1)
        # A sum rather than a clamp, below which there would be no gradient, and no way back up.
        return loc, torch.exp(log_scale.clamp(max=_MAX_LOG_SCALE)) + self.min_scale

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, min_scale={self.min_scale}"


class NormalUnits(_LocationAndScale):
    r"""Independent real units with a normal distribution.

    .. math::
        v_i \sim \mathcal N(m_i, s_i^2), \qquad s_i = s_{\min} + e^{b_i}

    The activations are the locations m of all units, then the log-scales b of all units. It is a
    density, comparable with others of the same values in the same units of measurement only; it
    suits values that have been standardized. Draws are differentiable (`rsample`).

    Arguments:
        num_units: The number of units.
        min_scale: The floor of the scale, without which the density of a value that never varies
            would grow without bound.

    Raises:
        ValueError: If the number is not a positive integer, or the floor is not positive.

    Example:
        >>> NormalUnits(2)(torch.zeros(4)).log_prob(torch.zeros(2))
        tensor(-1.8399)
    """

    def _distribution(self, activations: Tensor) -> Distribution:
        loc, scale = self._location_and_scale(activations)
        return IndependentUnits(Normal(loc, scale, validate_args=False))


class LogisticUnits(_LocationAndScale):
    r"""Independent real units with a logistic distribution, for values that stray further.

    .. math::
        p(v_i \mid m, s) = \frac{1}{s_i} \, \sigma(z_i) \, \sigma(-z_i), \qquad
        z_i = \frac{v_i - m_i}{s_i}, \quad s_i = s_{\min} + e^{b_i}

    The activations are the locations m of all units, then the log-scales b of all units. It is a
    density, comparable with others of the same values in the same units of measurement only; it
    suits values that have been standardized. Draws are differentiable (`rsample`).

    Arguments:
        num_units: The number of units.
        min_scale: The floor of the scale, without which the density of a value that never varies
            would grow without bound.

    Raises:
        ValueError: If the number is not a positive integer, or the floor is not positive.

    Example:
        >>> LogisticUnits(2)(torch.zeros(4)).log_prob(torch.zeros(2))
        tensor(-2.7746)
    """

    def _distribution(self, activations: Tensor) -> Distribution:
        return IndependentUnits(Logistic(*self._location_and_scale(activations)))
