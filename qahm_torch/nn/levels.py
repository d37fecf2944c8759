r"""Levels of a grid on [-1, 1]: gray levels, and ordinal values."""

from __future__ import annotations

__all__ = [
    "BinnedLogistic",
    "DiscretizedLogistic",
    "LevelDistribution",
    "OrderedLogistic",
    "OrdinalUnits",
]

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid, pad

from qahm_torch.nn.distributions import (
    IndependentUnits,
    SeededDistribution,
    Shape,
    logistic_like,
)
from qahm_torch.nn.support import Support, grid
from qahm_torch.nn.units import Units, check_positive

# Of a logistic; a broader one puts all of its mass into the outermost levels anyway.
_MAX_LOG_SCALE = 20.0


class LevelDistribution(SeededDistribution):
    r"""Single units with L levels, cut out of a logistic variable by L - 1 thresholds.

    .. math::
        P(\text{level} \ge l) = \sigma(g_l), \quad g_1 > \dots > g_{L-1}, \quad
        v_l = \frac{2 l}{L - 1} - 1

    Values must be on the grid :math:`v_l`. Another one counts as the level nearest to it, and no
    gradient reaches the values.

    Arguments:
        like: Any parameter of the shape (*) of the units.
        num_levels: The number of levels L.
    """

    def __init__(self, like: Tensor, num_levels: int) -> None:
        self.num_levels = num_levels
        self._like = like
        super().__init__(like.shape)

    @abstractmethod
    def _threshold(self, level: Tensor) -> Tensor:
        r"""Returns :math:`g_l`; of a level that is not among 1, ..., L - 1, any number."""

    @abstractmethod
    def _gap(self, level: Tensor) -> Tensor:
        r"""Returns :math:`g_l - g_{l+1} > 0`; any positive number for the outermost levels."""

    @property
    def mean(self) -> Tensor:
        r"""The exact means, -1 + 2 / (L - 1) times the sum of P(level >= l) over l > 0.

        The sum runs over the levels one after the other: the memory is that of a few layers
        where no gradient is recorded, and of all levels where it is.
        """
        total = torch.zeros_like(self._like)
        for level in range(1, self.num_levels):
            total = total + torch.sigmoid(self._threshold(self._filled(level)))
        return self._value(total)

    def log_prob(self, value: Tensor) -> Tensor:
        top = self.num_levels - 1
        level = (value.to(self._like.dtype) + 1) * (top / 2)
        return self._log_mass(level.round().clamp(0, top))

    def entropy(self) -> Tensor:
        r"""Returns the exact entropies, summed over the levels one after the other."""
        total = torch.zeros_like(self._like)
        for level in range(self.num_levels):
            log_p = self._log_mass(self._filled(level))
            total = total - log_p.exp() * log_p
        return total

    def _log_mass(self, level: Tensor) -> Tensor:
        top = self.num_levels - 1
        not_lowest, not_highest = level.clamp(max=1), (top - level).clamp(max=1)
        below_upper = logsigmoid(-self._threshold(level + 1))
        above_lower = logsigmoid(self._threshold(level))
        # sigmoid(x) - sigmoid(y) = sigmoid(x) sigmoid(-y) (1 - exp(y - x)), without cancellation.
        inside = torch.log(-torch.expm1(-self._gap(level)))
        return (
            not_highest * below_upper
            + not_lowest * above_lower
            + not_lowest * not_highest * inside
        )

    def _filled(self, level: int) -> Tensor:
        return torch.full_like(self._like, level)

    def _value(self, level: Tensor) -> Tensor:
        return level * (2 / (self.num_levels - 1)) - 1


class BinnedLogistic(LevelDistribution):
    r"""Single units with L levels, each the bin of a logistic variable.

    .. math::
        P(l \mid m, s) = \sigma\left(\frac{v_l + d - m}{s}\right)
        - \sigma\left(\frac{v_l - d - m}{s}\right), \quad
        v_l = \frac{2 l}{L - 1} - 1, \quad d = \frac{1}{L - 1}

    The bins of the lowest and the highest level take the tails, so that the probabilities of the
    levels l = 0, ..., L - 1 sum to one.

    Arguments:
        loc: The locations m, of shape (*).
        log_scale: The log-scales log s, of shape (*).
        num_levels: The number of levels L.

    Example:
        >>> BinnedLogistic(torch.tensor(0.2), torch.tensor(-1.0), 4).mean
        tensor(0.1770)
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, num_levels: int) -> None:
        self.loc = loc
        self.log_scale = log_scale
        # In units of half a level, in which edges of bins are integers.
        self._center = (num_levels - 1) * loc
        self._rate = torch.exp(-log_scale) / (num_levels - 1)
        super().__init__(loc, num_levels)

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        logistic = logistic_like(self._spread(self._center, sample_shape), generator)
        top = self.num_levels - 1
        return self._value(
            ((self._center + logistic / self._rate + top) / 2).round().clamp(0, top)
        )

    def expand(self, batch_shape: Shape, _instance: object = None) -> BinnedLogistic:
        shape = torch.Size(batch_shape)
        return BinnedLogistic(
            self.loc.expand(shape), self.log_scale.expand(shape), self.num_levels
        )

    def _threshold(self, level: Tensor) -> Tensor:
        # Edges are odd or even integers, hence exact: adjacent bins share theirs bit by bit.
        return (self._center - (2 * level - self.num_levels)) * self._rate

    def _gap(self, level: Tensor) -> Tensor:
        return 2 * self._rate


class OrderedLogistic(LevelDistribution):
    r"""Single units with L levels, cut out of a standard logistic variable around a location.

    .. math::
        P(\text{level} \ge l) = \sigma(m - c_l), \qquad c_1 < c_2 < \dots < c_{L-1}

    Arguments:
        loc: The locations m, of shape (*, num_units).
        first: The first thresholds :math:`c_1`, of shape (num_units,).
        gaps: The positive differences :math:`c_{l+1} - c_l`, of shape (num_units, L - 2).

    References:
        | Regression models for ordinal data (McCullagh, 1980)
        | https://doi.org/10.1111/j.2517-6161.1980.tb01109.x

    Example:
        >>> OrderedLogistic(torch.zeros(1), torch.zeros(1), torch.ones(1, 1)).mean
        tensor([-0.2311])
    """

    def __init__(self, loc: Tensor, first: Tensor, gaps: Tensor) -> None:
        self.loc = loc
        self.first = first
        self.gaps = gaps
        self._thresholds = first.unsqueeze(-1) + pad(gaps, (1, 0)).cumsum(-1)
        super().__init__(loc, gaps.shape[-1] + 2)

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        loc = self._spread(self.loc, sample_shape)
        latent = (loc + logistic_like(loc, generator)).unsqueeze(-1)
        return self._value((latent > self._thresholds).sum(-1).to(loc.dtype))

    def expand(self, batch_shape: Shape, _instance: object = None) -> OrderedLogistic:
        return OrderedLogistic(self.loc.expand(torch.Size(batch_shape)), self.first, self.gaps)

    def _threshold(self, level: Tensor) -> Tensor:
        return self.loc - self._of_level(self._thresholds, level - 1)

    def _gap(self, level: Tensor) -> Tensor:
        return self._of_level(pad(self.gaps, (1, 1), value=1.0), level)

    def _of_level(self, table: Tensor, index: Tensor) -> Tensor:
        r"""Returns what a table (num_units, n) has for each unit's index, (*, num_units)."""
        unit = torch.arange(table.shape[0], device=table.device)
        return table[unit, index.long().clamp(0, table.shape[1] - 1)]


class DiscretizedLogistic(Units):
    r"""Independent units with L gray levels, each the bin of a logistic variable.

    .. math::
        P(l \mid m, s) = \sigma\left(\frac{v_l + d - m}{s}\right)
        - \sigma\left(\frac{v_l - d - m}{s}\right), \quad
        v_l = \frac{2 l}{L - 1} - 1, \quad d = \frac{1}{L - 1}

    See `BinnedLogistic`. The activations are the locations m of all units, then the log-scales
    log s of all units.

    Values must be on the grid :math:`v_l`. Another one counts as the level nearest to it, and no
    gradient reaches the values. Dequantized pixels, 2 (l + u) / L - 1 with u uniform in [0, 1),
    would land on wrong levels.

    Arguments:
        num_units: The number of units.
        num_levels: The number of levels L.
        min_log_scale: The least log-scale. A lower one is taken for this one and gets no
            gradient, nor does one above 20, where all is in the outermost levels.

    Raises:
        ValueError: If a number is not a positive integer, there are fewer than 2 levels, or the
            least log-scale is not below 20.

    References:
        | Improving variational inference with inverse autoregressive flow (Kingma et al., 2016)
        | https://arxiv.org/abs/1606.04934
        | PixelCNN++: improving the PixelCNN with discretized logistic mixture likelihood and
          other modifications (Salimans, Karpathy, Chen, Kingma, 2017)
        | https://arxiv.org/abs/1701.05517

    Example:
        >>> pixels = DiscretizedLogistic(num_units=1, num_levels=4)(torch.tensor([0.2, -1.0]))
        >>> pixels.log_prob(torch.linspace(-1, 1, 4).unsqueeze(-1)).exp()
        tensor([0.0866, 0.2807, 0.4132, 0.2195])
        >>> pixels.mean
        tensor([0.1770])
    """

    num_levels: int
    min_log_scale: float

    def __init__(self, num_units: int, num_levels: int = 256, min_log_scale: float = -7.0) -> None:
        super().__init__(num_units, num_parameters=2 * check_positive("num_units", num_units))
        self.num_levels = _check_levels(num_levels)
        if not -math.inf < min_log_scale < _MAX_LOG_SCALE:
            raise ValueError(
                f"min_log_scale is {min_log_scale}, but a finite one below {_MAX_LOG_SCALE} is "
                "needed"
            )
        self.min_log_scale = min_log_scale

    @property
    def supports(self) -> list[tuple[int, Support]]:
        return [(self.num_units, grid(self.num_levels))]

    def _distribution(self, activations: Tensor) -> Distribution:
        loc, log_scale = activations.chunk(2, dim=-1)
        log_scale = log_scale.clamp(self.min_log_scale, _MAX_LOG_SCALE)
        return IndependentUnits(BinnedLogistic(loc, log_scale, self.num_levels))

    def extra_repr(self) -> str:
        settings = f"num_levels={self.num_levels}, min_log_scale={self.min_log_scale}"
        return f"{super().extra_repr()}, {settings}"


class OrdinalUnits(Units):
    r"""Independent units with L ordered levels, such as answers from "never" to "always".

    .. math::
        P(\text{level} \ge l \mid m) = \sigma(m - c_l), \qquad v_l = \frac{2 l}{L - 1} - 1

    The cumulative logits of a unit differ by constants: the activations are the locations m, and
    the thresholds :math:`c_1 < \dots < c_{L-1}` are parameters of the units, which start where all
    levels are equally probable at m = 0. How far apart levels are is thus learned, and what they
    are called does not matter: values are on the grid :math:`v_l`, as those of gray levels.

    Arguments:
        num_units: The number of units.
        num_levels: The number of levels L.

    Raises:
        ValueError: If a number is not a positive integer, or there are fewer than 2 levels.

    References:
        | Regression models for ordinal data (McCullagh, 1980)
        | https://doi.org/10.1111/j.2517-6161.1980.tb01109.x

    Example:
        >>> answers = OrdinalUnits(num_units=1, num_levels=4)(torch.tensor([1.0]))
        >>> answers.log_prob(torch.linspace(-1, 1, 4).unsqueeze(-1)).exp()
        tensor([0.1092, 0.1597, 0.2557, 0.4754], grad_fn=<ExpBackward0>)
    """

    num_levels: int

    def __init__(self, num_units: int, num_levels: int) -> None:
        super().__init__(num_units, num_parameters=num_units)
        self.num_levels = _check_levels(num_levels)
        even = torch.logit(torch.arange(1, num_levels) / num_levels)
        self.first = nn.Parameter(even[0].repeat(num_units))
        self.log_gaps = nn.Parameter(even.diff().log().repeat(num_units, 1))

    @property
    def supports(self) -> list[tuple[int, Support]]:
        return [(self.num_units, grid(self.num_levels))]

    def _distribution(self, activations: Tensor) -> Distribution:
        first, log_gaps = self.first.to(activations.dtype), self.log_gaps.to(activations.dtype)
        return IndependentUnits(OrderedLogistic(activations, first, log_gaps.exp()))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_levels={self.num_levels}"


def _check_levels(num_levels: int) -> int:
    if check_positive("num_levels", num_levels) < 2:
        raise ValueError(f"num_levels is {num_levels}, but at least 2 levels are needed")
    return num_levels
