r"""Units of which each depends on those before it."""

from __future__ import annotations

__all__ = ["Autoregressive", "AutoregressiveDistribution", "CausalLinear"]

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import linear

from qahm_torch.nn.causal import JointContext
from qahm_torch.nn.distributions import (
    LayerDistribution,
    Shape,
    draw,
    has_independent_units,
    unit_log_prob,
)
from qahm_torch.nn.support import Support
from qahm_torch.nn.units import Units, check_positive


class AutoregressiveDistribution(LayerDistribution):
    r"""A layer whose units are drawn one after the other.

    .. math::
        \log p(v \mid a) = \sum_i \log p(v_i \mid a + c(v_{<i}))

    A log-probability takes one pass of the context c for all units, a draw one pass per unit.
    There is no exact mean.

    Arguments:
        units: The units, independent given their activations.
        context: The module c, from rows (B, num_units) to rows (B, num_parameters), or a
            `JointContext`.
        activations: The activations a, of shape (*, num_parameters), and after them the maps of a
            `JointContext` that has some.
    """

    def __init__(self, units: Units, context: nn.Module, activations: Tensor) -> None:
        self.units = units
        self.context = context
        self.activations = activations
        super().__init__(activations.shape[:-1], torch.Size([units.num_units]))

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError(
            "autoregressive units have no exact mean; draws can be averaged instead"
        )

    def unit_log_prob(self, values: Tensor) -> Tensor:
        return unit_log_prob(self._given(values, self.activations), values)

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        activations = self._spread(self.activations, sample_shape)
        if isinstance(self.context, JointContext):
            return self._drawn(self.context, activations, generator)
        values = activations.new_zeros(*activations.shape[:-1], self.units.num_units)
        for i in range(self.units.num_units):
            values[..., i] = draw(self._given(values, activations), generator)[..., i]
        return values

    def _drawn(
        self, context: JointContext, activations: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        num_units = self.units.num_units
        rows = activations.reshape(-1, activations.shape[-1])
        values = rows.new_zeros(len(rows), num_units)
        step = context.stepwise(rows)
        joined = rows[:, : self.units.num_parameters].clone()
        for i in range(num_units):
            joined[:, i::num_units] = step(i, values).to(joined.dtype)
            values[:, i] = draw(self.units(joined), generator)[:, i]
        return values.view(*activations.shape[:-1], num_units)

    def expand(self, batch_shape: Shape, _instance: object = None) -> AutoregressiveDistribution:
        shape = torch.Size(batch_shape) + self.activations.shape[-1:]
        return AutoregressiveDistribution(self.units, self.context, self.activations.expand(shape))

    def _given(self, values: Tensor, activations: Tensor) -> Distribution:
        r"""Returns independent units, each given the values of those before it."""
        values = values.to(activations.dtype)
        if isinstance(self.context, JointContext):
            return cast(Distribution, self.units(_joined(self.context, activations, values)))
        rows = values.reshape(-1, values.shape[-1])
        context = self.context(rows).reshape(*values.shape[:-1], activations.shape[-1])
        return cast(Distribution, self.units(activations + context))


def _joined(context: JointContext, activations: Tensor, values: Tensor) -> Tensor:
    r"""Returns activations (*, P) joined with what values (*, N) say."""
    batch = torch.broadcast_shapes(activations.shape[:-1], values.shape[:-1])
    width = activations.shape[-1]
    activations, values = activations.expand(*batch, width), values.expand(*batch, -1)
    rows = values.reshape(-1, values.shape[-1])
    if values.ndim > 2 and values.stride()[0] == 0:
        # The values of one datum stand in many rows, and are looked at once.
        rows = values[0].reshape(-1, values.shape[-1])
    stacked = activations.reshape(-1, len(rows), width)
    joined: Tensor = context(stacked, context.features(rows))
    return joined.reshape(*batch, joined.shape[-1])


class Autoregressive(Units):
    r"""Units of which each depends on those before it, given the output of the network in front.

    .. math::
        p(v \mid a) = \prod_i p(v_i \mid a + c(v_{<i}))

    The activations a come from the network, once per datum. The context c says what the units
    add for those after them: one pass for a log-probability, and one pass per unit for a draw,
    which is slow for large layers. There is no exact mean, and units can be left unknown only
    where none after them is known.

    Arguments:
        units: The units, independent given their activations.
        context: The module c, from rows (B, num_units) to rows (B, num_parameters). What it gives
            to the activations of a unit must depend on the units before that one only, which is
            tried with random inputs and parameters. A `JointContext` sees the activations as
            well, and its maps, which the network in front gives after these.

    Raises:
        ValueError: If the units depend on each other, or the context has another output shape, or
            lets a unit depend on itself or on one after it.

    References:
        | The neural autoregressive distribution estimator (Larochelle, Murray, 2011)
        | https://proceedings.mlr.press/v15/larochelle11a.html
        | MADE: masked autoencoder for distribution estimation (Germain, Gregor, Murray,
          Larochelle, 2015)
        | https://arxiv.org/abs/1502.03509

    Example:
        >>> from qahm_torch import Spins
        >>> pixels = Autoregressive(Spins(3), CausalLinear(3))(torch.zeros(5, 3))
        >>> pixels.sample().shape, pixels.log_prob(torch.ones(3)).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    is_sequential = True

    units: Units
    context: nn.Module

    def __init__(self, units: Units, context: nn.Module) -> None:
        num_maps = context.num_maps if isinstance(context, JointContext) else 0
        super().__init__(units.num_units, units.num_parameters + num_maps * units.num_units)
        leak = _leak(units, context)
        if leak is not None:
            raise ValueError(
                f"context lets unit {leak[0]} depend on unit {leak[1]}, but a unit may depend "
                "only on those before it"
            )
        self.units = units
        self.context = context
        self.is_density = units.is_density

    @property
    def supports(self) -> list[tuple[int, Support]]:
        return self.units.supports

    def _distribution(self, activations: Tensor) -> Distribution:
        return AutoregressiveDistribution(self.units, self.context, activations)


class CausalLinear(nn.Module):
    r"""A linear context of autoregressive units, in which each unit sees those before it.

    .. math::
        c(v)_{ki} = \sum_{j < i} W_{kij} v_j

    for the k-th parameter of unit i. The weights start at 0, where the units are independent.
    There is no bias, which the network in front has.

    Arguments:
        num_units: The number of units.
        num_per_unit: The number of parameters of a unit: 2 where there is a scale, 1 elsewhere.

    Raises:
        ValueError: If a number is not a positive integer.

    References:
        | Connectionist learning of belief networks (Neal, 1992)
        | https://doi.org/10.1016/0004-3702(92)90065-6

    Example:
        >>> CausalLinear(4, num_per_unit=2)(torch.ones(3, 4)).shape
        torch.Size([3, 8])
    """

    mask: Tensor

    def __init__(self, num_units: int, num_per_unit: int = 1) -> None:
        super().__init__()
        check_positive("num_units", num_units)
        check_positive("num_per_unit", num_per_unit)
        self.num_units = num_units
        self.num_per_unit = num_per_unit
        mask = torch.ones(num_units, num_units).tril(-1).repeat(num_per_unit, 1)
        self.weight = nn.Parameter(torch.zeros_like(mask))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        r"""Returns the contexts (*, num_per_unit * num_units) of values (*, num_units)."""
        return linear(values, self.weight * self.mask)

    def extra_repr(self) -> str:
        return f"num_units={self.num_units}, num_per_unit={self.num_per_unit}"


@torch.enable_grad()
def _leak(units: Units, context: nn.Module) -> tuple[int, int] | None:
    r"""Returns a unit, and another not before it on which its log-probability depends, if any."""
    generator = torch.Generator().manual_seed(0)
    units = deepcopy(units).to("cpu", torch.float64)
    # Away from where it starts: weights that are 0 for now do not show what they connect.
    context = _shaken(deepcopy(context).to("cpu", torch.float64).eval(), generator)
    num_units = units.num_units
    # Row i is for the term of unit i, so that one backward pass finds all slopes.
    seen = torch.randn(num_units, num_units, generator=generator, dtype=torch.float64)
    seen.requires_grad_()
    if isinstance(context, JointContext):
        num_inputs = units.num_parameters + context.num_maps * num_units
        inputs = torch.randn(num_units, num_inputs, generator=generator).to(seen)
        activations = _joined(context, inputs, seen)
    else:
        activations = context(seen)
    if activations.shape != (num_units, units.num_parameters):
        raise ValueError(
            f"context makes {tuple(activations.shape)} of rows {tuple(seen.shape)}, but the "
            f"units need {(num_units, units.num_parameters)}"
        )
    distribution = units(activations)
    if not has_independent_units(distribution):
        raise ValueError(
            f"units are {type(units).__name__}, but ones that are independent otherwise are needed"
        )
    terms = unit_log_prob(distribution, draw(distribution, generator))
    if not terms.requires_grad:
        return None
    (slope,) = torch.autograd.grad(terms.diagonal().sum(), seen, materialize_grads=True)
    leaks = (slope.triu() != 0).nonzero()
    return None if len(leaks) == 0 else (int(leaks[0, 0]), int(leaks[0, 1]))


@torch.no_grad()
def _shaken(module: nn.Module, generator: torch.Generator) -> nn.Module:
    r"""Returns a module after a random step of all its parameters."""
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.add_(noise)
    return module
