r"""Gray values: a density on [-1, 1]."""

from __future__ import annotations

__all__ = [
    "ContinuousSpins",
    "SpinContinuousBernoulli",
    "differential_entropy",
    "langevin",
    "log_normalizer",
]

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.distributions import Distribution

from qahm_torch.nn.distributions import (
    IndependentUnits,
    SeededDistribution,
    Shape,
    uniform_like,
)
from qahm_torch.nn.support import INTERVAL
from qahm_torch.nn.units import Units

# Where the two formulas of the Langevin function change places: below, the direct one loses
# digits to cancellation; above, five terms of the continued fraction are too few in float64.
_CROSSOVER = 0.3

# The same for the slope of a draw, whose series is cut off after the fourth power.
_SLOPE_CROSSOVER = 0.02


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


def differential_entropy(parameters: Tensor) -> Tensor:
    r"""Returns the differential entropy of a spin that takes every value of [-1, 1].

    .. math::
        h(a) = \log \frac{2 \sinh a}{a} - a L(a)

    It is even in a, log 2 at 0 and nearly :math:`1 - \log |a|` far from it. The value keeps the
    precision of the dtype everywhere, relative to 1; its slope is -a times that of `langevin`.

    Arguments:
        parameters: The natural parameters a, of shape (*).

    Returns:
        The entropies in nats, of shape (*).

    Example:
        >>> differential_entropy(torch.tensor([0.0, 1.0, -100.0]))
        tensor([ 0.6931,  0.5416, -3.6052])
    """
    return cast(Tensor, _Entropy.apply(parameters))


class SpinContinuousBernoulli(SeededDistribution):
    r"""Single units with values in [-1, 1]: torch's `ContinuousBernoulli` on that interval.

    .. math::
        p(v \mid a) = \frac{a}{2 \sinh a} \, e^{a v}

    It is the exponential family of `SpinBernoulli` on the interval instead of its two ends. It is
    a density: its logarithm may be positive, and it is comparable with other densities on [-1, 1]
    only (that of the same values in [0, 1] is larger by log 2). Values outside [-1, 1] have
    density zero, which is not checked.

    Draws, by the inverse of the distribution function, are differentiable (`rsample`).

    Arguments:
        activation: The natural parameters a, of shape (*).

    References:
        | The continuous Bernoulli: fixing a pervasive error in variational autoencoders
          (Loaiza-Ganem, Cunningham, 2019)
        | https://arxiv.org/abs/1907.06845

    Example:
        >>> SpinContinuousBernoulli(torch.tensor([0.0, 3.0])).mean
        tensor([0.0000, 0.6716])
    """

    has_rsample = True

    def __init__(self, activation: Tensor) -> None:
        self.activation = activation
        super().__init__(activation.shape)

    @property
    def mean(self) -> Tensor:
        return langevin(self.activation)

    @property
    def variance(self) -> Tensor:
        return _langevin_slope(self.activation)

    def log_prob(self, value: Tensor) -> Tensor:
        a = self.activation
        return a * value.to(a.dtype) - log_normalizer(a)

    def entropy(self) -> Tensor:
        return differential_entropy(self.activation)

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        a = self._spread(self.activation, sample_shape)
        return _above(a, uniform_like(a, generator))

    def rsample(
        self, sample_shape: Shape = (), generator: torch.Generator | None = None
    ) -> Tensor:
        a = self._spread(self.activation, sample_shape)
        return cast(Tensor, _Above.apply(a, uniform_like(a, generator)))

    def expand(self, batch_shape: Shape, _instance: object = None) -> SpinContinuousBernoulli:
        return SpinContinuousBernoulli(self.activation.expand(torch.Size(batch_shape)))


class ContinuousSpins(Units):
    r"""Independent units with values in [-1, 1], such as gray pixels.

    .. math::
        p(v_i \mid a) = \frac{a_i}{2 \sinh a_i} \, e^{a_i v_i}

    It is a density on [-1, 1] (see `SpinContinuousBernoulli`).

    Arguments:
        num_units: The number of units.

    Raises:
        ValueError: If the number is not a positive integer.

    Example:
        >>> pixels = ContinuousSpins(2)(torch.tensor([0.0, 3.0]))
        >>> pixels.log_prob(torch.tensor([0.5, 1.0]))
        tensor(0.4079)
        >>> pixels.mean
        tensor([0.0000, 0.6716])
    """

    is_density = True
    support = INTERVAL

    def __init__(self, num_units: int) -> None:
        super().__init__(num_units, num_parameters=num_units)

    def _distribution(self, activations: Tensor) -> Distribution:
        return IndependentUnits(SpinContinuousBernoulli(activations))


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
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0] * langevin(*ctx.saved_tensors)


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
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0] * _langevin_slope(*ctx.saved_tensors)


class _Entropy(Function):
    r"""The differential entropy, whose slope is -a L'(a)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(parameters: Tensor) -> Tensor:
        # As in the log-normalizer, less the x that would cancel: 1 - 2x / (e^2x - 1) remains.
        x = parameters.abs().clamp(min=torch.finfo(parameters.dtype).tiny)
        t = torch.tanh(x)
        log = (t + 1).mul_(x).reciprocal_().mul_(t).log_().add_(math.log(2) + 1)
        return log.sub_(2 * x / torch.expm1(2 * x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        a: Tensor = ctx.saved_tensors[0]
        return -grad_outputs[0] * a * _langevin_slope(a)


def _above(parameters: Tensor, uniform: Tensor) -> Tensor:
    r"""Returns values above which spins are with probabilities u (below, where a < 0)."""
    # Below the machine precision the density is flat, and zero could not be divided by.
    x = parameters.abs().clamp_(min=torch.finfo(parameters.dtype).eps)
    tail = uniform.mul((-2 * x).expm1_()).log1p_()
    draws = tail.div_(x).add_(1).clamp_(min=-1)
    return draws.mul_(torch.ones_like(x).copysign_(parameters))  # torch.where is slower


class _Above(Function):
    r"""What `_above` says, differentiable in the parameters."""

    generate_vmap_rule = True

    @staticmethod
    def forward(parameters: Tensor, uniform: Tensor) -> Tensor:
        return _above(parameters, uniform)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0] * _draw_slope(*ctx.saved_tensors), None


def _draw_slope(parameters: Tensor, draws: Tensor) -> Tensor:
    r"""Returns the derivative of draws in their parameters, at a fixed value of the tail."""
    # Both signs are alike, so that a density that rises is all that has to be looked at.
    x, v = parameters.abs(), draws * torch.ones_like(draws).copysign(parameters)
    small = x < _SLOPE_CROSSOVER
    near = _draw_slope_series(torch.where(small, x, 0.0), v)
    x = torch.where(small, 1.0, x)
    far = (2 * torch.expm1(-x * (1 + v)) / torch.expm1(-2 * x) - (1 + v)) / x
    return torch.where(small, near, far)


def _draw_slope_series(a: Tensor, v: Tensor) -> Tensor:
    r"""Returns the slope for small a >= 0, by the first five Bernoulli polynomials it has."""
    q = 1 - v.square()
    fourth = q * (q + 2) / 720
    third = v * (3 * q + 4) / 360
    return q * (((fourth * a + third) * a - q / 24) * a - v / 6) * a + q / 2


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
