r"""Grey values: a density on [-1, 1], and probabilities of grey levels."""

from __future__ import annotations

__all__ = ["ContinuousSpins", "DiscretizedLogistic", "langevin", "log_normalizer"]

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import logsigmoid

from qahm_torch.nn.units import VisibleDistribution, check_positive, uniform_like

# Where the two formulas of the Langevin function change places: below, the direct one loses
# digits to cancellation; above, five terms of the continued fraction are too few in float64.
_CROSSOVER = 0.3

# Of a logistic; a broader one puts all of its mass into the outermost levels anyway.
_MAX_LOG_SCALE = 20.0


def log_normalizer(parameters: Tensor) -> Tensor:
    r"""Returns the log-normalizer of a spin that takes every value of [-1, 1].

    .. math::
        \log \int_{-1}^{1} e^{a v} \, dv = \log \frac{2 \sinh a}{a}

    It is even in a, log 2 at 0 and nearly :math:`|a| - \log |a|` far from it; its gradient is
    `langevin(a)`. The value and the first two derivatives keep the precision of the dtype, at
    a = 0 as much as at :math:`|a| = 10^4`.

    Arguments:
        parameters: The natural parameters a, of shape (*).

    Returns:
        The log-normalizers in nats, of shape (*).

    Example:
        >>> log_normalizer(torch.tensor([0.0, 1.0, -1e4]))
        tensor([6.9315e-01, 8.5459e-01, 9.9908e+03])
    """
    return cast(Tensor, _LogNormalizer.apply(parameters))


def langevin(parameters: Tensor) -> Tensor:
    r"""Returns the Langevin function, the mean of a spin that takes every value of [-1, 1].

    .. math::
        L(a) = \coth a - \frac{1}{a}

    It is odd in a, nearly a / 3 at 0 and :math:`\pm 1 - 1/a` far from it.

    Arguments:
        parameters: The natural parameters a, of shape (*).

    Returns:
        The means, in (-1, 1), of shape (*).

    Example:
        >>> langevin(torch.tensor([0.0, 1.0, -100.0]))
        tensor([ 0.0000,  0.3130, -0.9900])
    """
    return cast(Tensor, _Langevin.apply(parameters))


class ContinuousSpins(VisibleDistribution):
    r"""Independent units with values in [-1, 1], such as gray pixels.

    .. math::
        p(v_i \mid a) = \frac{a_i}{2 \sinh a_i} \, e^{a_i v_i}

    It is the exponential family of `Spins` on the interval instead of its two ends,
    that is, the continuous Bernoulli distribution, rescaled. It is a density: its logarithm
    may be positive, and it is comparable with other densities on [-1, 1] only (that of the
    same pixels in [0, 1] is larger by log 2 for each unit). Values outside [-1, 1] have
    density zero, which is not checked.

    Arguments:
        num_units: The number of units.

    Raises:
        ValueError: If the number is not a positive integer.

    References:
        | The continuous Bernoulli: fixing a pervasive error in variational autoencoders
          (Loaiza-Ganem, Cunningham, 2019)
        | https://arxiv.org/abs/1907.06845

    Example:
        >>> pixels = ContinuousSpins(2)
        >>> pixels.log_prob(torch.tensor([0.5, 1.0]), torch.tensor([0.0, 3.0]))
        tensor(0.4079)
        >>> pixels.mean(torch.tensor([0.0, 3.0]))
        tensor([0.0000, 0.6716])
    """

    def __init__(self, num_units: int) -> None:
        super().__init__(num_units, num_parameters=num_units)

    def unit_log_prob(self, values: Tensor, parameters: Tensor) -> Tensor:
        self._check_values(values)
        self._check_parameters(parameters)
        return parameters * values.to(parameters.dtype) - log_normalizer(parameters)

    @torch.no_grad()
    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        self._check_parameters(parameters)
        # Below the machine precision the density is flat, and zero could not be divided by.
        x = parameters.abs().clamp_(min=torch.finfo(parameters.dtype).eps)
        tail = uniform_like(parameters, generator).mul_((-2 * x).expm1_()).log1p_()
        draws = tail.div_(x).add_(1).clamp_(min=-1)
        return draws.mul_(torch.ones_like(x).copysign_(parameters))  # torch.where is slower

    def mean(self, parameters: Tensor) -> Tensor:
        self._check_parameters(parameters)
        return langevin(parameters)


class DiscretizedLogistic(VisibleDistribution):
    r"""Independent units with L gray levels, each the bin of a logistic variable.

    .. math::
        P(l \mid m, s) = \sigma\left(\frac{v_l + d - m}{s}\right)
        - \sigma\left(\frac{v_l - d - m}{s}\right), \quad
        v_l = \frac{2 l}{L - 1} - 1, \quad d = \frac{1}{L - 1}

    The bins of the lowest and the highest level take the tails, so that the probabilities of the
    levels l = 0, ..., L - 1 sum to one. The parameters of a layer are the locations m of all
    units, then the log-scales log s of all units.

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
        >>> pixels = DiscretizedLogistic(num_units=1, num_levels=4)
        >>> levels = torch.linspace(-1, 1, 4).unsqueeze(-1)
        >>> pixels.log_prob(levels, torch.tensor([0.2, -1.0])).exp()
        tensor([0.0866, 0.2807, 0.4132, 0.2195])
        >>> pixels.mean(torch.tensor([0.2, -1.0]))
        tensor([0.1770])
    """

    num_levels: int
    min_log_scale: float

    def __init__(self, num_units: int, num_levels: int = 256, min_log_scale: float = -7.0) -> None:
        super().__init__(num_units, num_parameters=2 * check_positive("num_units", num_units))
        if check_positive("num_levels", num_levels) < 2:
            raise ValueError(f"num_levels must be at least 2, got {num_levels}")
        if not -math.inf < min_log_scale < _MAX_LOG_SCALE:
            raise ValueError(
                f"min_log_scale must be finite and below {_MAX_LOG_SCALE}, got {min_log_scale}"
            )
        self.num_levels = num_levels
        self.min_log_scale = min_log_scale

    def unit_log_prob(self, values: Tensor, parameters: Tensor) -> Tensor:
        self._check_values(values)
        location, rate = self._location_and_rate(parameters)
        top = self.num_levels - 1
        level = ((values.to(parameters.dtype) + 1) * (top / 2)).round().clamp(0, top)
        not_lowest, not_highest = level.clamp(max=1), (top - level).clamp(max=1)
        # Edges are odd or even integers, hence exact: adjacent bins share theirs bit by bit.
        edge = 2 * level - self.num_levels
        below_upper = logsigmoid((edge + 2 - location) * rate)
        above_lower = logsigmoid((location - edge) * rate)
        # sigmoid(x) - sigmoid(y) = sigmoid(x) sigmoid(-y) (1 - exp(y - x)), without cancellation.
        inside = torch.log(-torch.expm1(-2 * rate))
        return (
            not_highest * below_upper
            + not_lowest * above_lower
            + not_lowest * not_highest * inside
        )

    @torch.no_grad()
    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        location, rate = self._location_and_rate(parameters)
        # The margin keeps a uniform draw of exactly 0 from an infinitely far tail.
        margin = torch.finfo(parameters.dtype).eps / 2
        logistic = torch.logit(uniform_like(location, generator), eps=margin)
        top = self.num_levels - 1
        level = ((location + logistic / rate + top) / 2).round().clamp(0, top)
        return level * (2 / top) - 1

    def mean(self, parameters: Tensor) -> Tensor:
        r"""Returns the exact mean of each unit, differentiable in the parameters.

        .. math::
            E[v] = -1 + \frac{2}{L - 1} \sum_{l=1}^{L-1} P(\text{level} \ge l)

        The sum runs over the levels one after the other: the memory is that of a few layers
        where no gradient is recorded, and of all levels where it is.

        Arguments:
            parameters: The output of the network, of shape (*, num_parameters).

        Returns:
            The means, of shape (*, num_units).

        Raises:
            ValueError: If the last dimension has another size.
        """
        location, rate = self._location_and_rate(parameters)
        level = torch.zeros_like(location)
        for edge in range(2 - self.num_levels, self.num_levels, 2):
            level = level + torch.sigmoid((location - edge) * rate)
        return level * (2 / (self.num_levels - 1)) - 1

    def extra_repr(self) -> str:
        r"""Returns what `repr` shows of the settings."""
        settings = f"num_levels={self.num_levels}, min_log_scale={self.min_log_scale}"
        return f"{super().extra_repr()}, {settings}"

    def _location_and_rate(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the locations and the inverse scales, in units of half a level."""
        self._check_parameters(parameters)
        location, log_scale = parameters.chunk(2, dim=-1)
        log_scale = log_scale.clamp(self.min_log_scale, _MAX_LOG_SCALE)
        return (self.num_levels - 1) * location, torch.exp(-log_scale) / (self.num_levels - 1)


class _LogNormalizer(Function):
    r"""The log-normalizer log(2 sinh(a) / a), with the Langevin function as its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(parameters: Tensor) -> Tensor:
        # log(2 sinh x / x) = x + log(2 t / ((1 + t) x)) with t = tanh x loses no digits at 0 and
        # never overflows. In place, because fresh memory costs more time than the arithmetic.
        x = parameters.abs().clamp(min=torch.finfo(parameters.dtype).tiny)
        t = torch.tanh(x)
        return (t + 1).mul_(x).reciprocal_().mul_(t).log_().add_(x).add_(math.log(2))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * langevin(*ctx.saved_tensors)


class _Langevin(Function):
    r"""The Langevin function coth(a) - 1/a."""

    generate_vmap_rule = True

    @staticmethod
    def forward(parameters: Tensor) -> Tensor:
        x = parameters.abs()
        # The truncated fraction bounds L(x) from above, also with the square cut off (which keeps
        # it finite), because L(x) / x decreases. The direct formula increases. So the smaller of
        # the two is the right one, and no mask is needed, which would be slower.
        near = x / _fraction(x.square().clamp(max=1))
        x = x.clamp(min=_CROSSOVER)
        far = torch.tanh(x).reciprocal_().sub_(x.reciprocal_())
        return torch.minimum(near, far).copysign_(parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * _langevin_slope(*ctx.saved_tensors)


def _langevin_slope(parameters: Tensor) -> Tensor:
    r"""Returns the derivative of the Langevin function, itself differentiable by autograd."""
    small = parameters.abs() < _CROSSOVER
    # Each branch gets a harmless argument where the other is taken: a NaN would pass `where`.
    square = torch.where(small, parameters, 0.0).square()
    fraction = _fraction(square)
    near = 1 - 2 / fraction - square / fraction.square()
    a = torch.where(small, 1.0, parameters)
    far = (1 - torch.tanh(a).square().reciprocal()) + a.square().reciprocal()
    return torch.where(small, near, far)


def _fraction(square: Tensor) -> Tensor:
    r"""Returns :math:`a / L(a)` for small a, given its square.

    These are the first five terms of Gauss's continued fraction 3 + a^2 / (5 + a^2 / (7 + ...)),
    in which no digits cancel.
    """
    fraction = square / 11 + 9
    for odd in (7, 5, 3):
        fraction = (square / fraction).add_(odd)
    return fraction
