r"""Columns of different kinds, one after the other, some of whose values may be missing."""

from __future__ import annotations

__all__ = ["Filled", "MixedDistribution", "MixedUnits"]

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import linear

from qahm_torch.nn.distributions import LayerDistribution, Shape, draw, unit_log_prob
from qahm_torch.nn.missing import flag_missing
from qahm_torch.nn.support import Support, missing_or
from qahm_torch.nn.units import Units


class Filled(NamedTuple):
    r"""Values of which none is missing, and the log-probability of those that were known."""

    values: Tensor  # (*, num_units)
    log_prob: Tensor  # (*), in nats: of each known column given all columns before it


class MixedDistribution(LayerDistribution):
    r"""Columns drawn one after the other, in which NaN is a value that is missing.

    .. math::
        \log p(v \mid a) = \sum_{k \text{ known}} \log p_k(v_k \mid a_k + c_k(v_{<k}))

    Missing columns do not count, and the context c sees that they are missing. Without a context
    that sums them out. With one it is a law of the known columns for each pattern of missing ones,
    normalized, but not the marginal of the law of complete rows: `fill` is for that.

    Arguments:
        columns: The units of each column.
        context: The module c, from values and bits (*, 2 num_units) to (*, num_parameters); None
            for independent columns.
        activations: The activations a, of shape (*, num_parameters).
    """

    def __init__(
        self, columns: Sequence[Units], context: nn.Module | None, activations: Tensor
    ) -> None:
        self.columns = tuple(columns)
        self.context = context
        self.activations = activations
        self._sizes = [column.num_units for column in self.columns]
        super().__init__(activations.shape[:-1], torch.Size([sum(self._sizes)]))

    @property
    def mean(self) -> Tensor:
        if self.context is not None:
            raise NotImplementedError(
                "columns that see those before them have no exact mean; draws can be averaged"
            )
        return torch.cat([column.mean for column in self._split(self.activations)], dim=-1)

    def unit_log_prob(self, values: Tensor) -> Tensor:
        values = values.to(self.activations.dtype)
        missing = values.isnan()
        # Filled before and not after: the gradient of a term that is NaN would be NaN, too.
        own = torch.split(values.masked_fill(missing, 0.0), self._sizes, dim=-1)
        pairs = zip(self._given(values, self.activations), own, strict=True)
        terms = torch.cat([unit_log_prob(column, v) for column, v in pairs], dim=-1)
        return terms.masked_fill(missing, 0.0)

    @torch.no_grad()
    def fill(self, values: Tensor, generator: torch.Generator | None = None) -> Filled:
        r"""Returns values in which missing columns are drawn, each given all columns before it.

        With :math:`w = \prod_{k \text{ known}} p(v_k \mid v_{<k})` of the filled values, which is
        the exponential of the log-probability that is returned, :math:`E[w] = p(v_{known})` is
        the marginal of complete rows, and draws weighted by w are of
        :math:`p(v_{missing} \mid v_{known})`.

        Arguments:
            values: Values of a shape that broadcasts to (*, num_units), NaN where missing.
            generator: The source of randomness.
        """
        activations = self.activations
        shape = torch.broadcast_shapes(values.shape[:-1], activations.shape[:-1])
        activations = activations.expand(*shape, -1)
        filled = values.to(activations.dtype).expand(*shape, -1).clone()
        total = activations.new_zeros(shape)
        first = 0
        for k, size in enumerate(self._sizes):
            part = slice(first, first + size)
            column = self._given(filled, activations)[k]
            missing = filled[..., part].isnan()
            filled[..., part] = torch.where(missing, draw(column, generator), filled[..., part])
            known = column.log_prob(filled[..., part])
            total = total + known.masked_fill(missing.any(-1), 0.0)
            first += size
        return Filled(filled, total)

    def last_column(self, values: Tensor) -> Distribution:
        r"""Returns the law of the last column given values (*, num_units) of those before it."""
        return self._given(values, self.activations)[-1]

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        activations = self._spread(self.activations, sample_shape)
        empty = activations.new_full((*activations.shape[:-1], self.event_shape[0]), torch.nan)
        return (
            MixedDistribution(self.columns, self.context, activations)
            .fill(empty, generator)
            .values
        )

    def expand(self, batch_shape: Shape, _instance: object = None) -> MixedDistribution:
        shape = torch.Size(batch_shape) + self.activations.shape[-1:]
        return MixedDistribution(self.columns, self.context, self.activations.expand(shape))

    def _given(self, values: Tensor, activations: Tensor) -> list[Distribution]:
        r"""Returns the columns, each given the values of those before it."""
        if self.context is None:
            return self._split(activations)
        return self._split(activations + self.context(flag_missing(values)))

    def _split(self, activations: Tensor) -> list[Distribution]:
        pieces = torch.split(activations, [c.num_parameters for c in self.columns], dim=-1)
        pairs = zip(self.columns, pieces, strict=True)
        return [cast(Distribution, column(own)) for column, own in pairs]


class MixedUnits(Units):
    r"""Columns of a table, each with units of its own kind, of which values may be missing (NaN).

    .. math::
        p(v \mid a) = \prod_{k \text{ known}} p_k(v_k \mid a_k + c_k(v_{<k}))

    Columns may see those before them: a context c of one hidden layer per column, with a linear
    way around it, adds to their activations. It starts at 0, where the columns are independent. A
    column of normal units that sees those before it linearly is part of a full Gaussian.

    Arguments:
        columns: The units of each column, in the order in which they see each other. A column of
            several units is known or missing as a whole.
        num_hidden: The number of hidden units of a column's context, 0 for a linear one; None for
            columns that are independent given the activations.
        has_classes: Whether the last column, which is `OneHot`, is the class of a row.

    Raises:
        TypeError: If a column is not `Units`.
        ValueError: If there is no column, a column depends on units in front of it already, the
            number is negative, or the last column is no class.

    References:
        | MADE: masked autoencoder for distribution estimation (Germain, Gregor, Murray,
          Larochelle, 2015)
        | https://arxiv.org/abs/1502.03509
        | Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2018)
        | https://arxiv.org/abs/1807.03653

    Example:
        >>> from qahm_torch import NormalUnits, OneHot, Spins
        >>> person = MixedUnits([NormalUnits(1), Spins(1), OneHot(3)])
        >>> person.num_units, person.num_parameters
        (5, 6)
        >>> person(torch.zeros(6)).log_prob(torch.tensor([torch.nan, 1.0, -1.0, 1.0, -1.0]))
        tensor(-1.7918)
    """

    columns: nn.ModuleList

    def __init__(
        self,
        columns: Sequence[Units],
        num_hidden: int | None = None,
        has_classes: bool = False,
    ) -> None:
        columns = _checked(list(columns))
        if has_classes and not columns[-1].num_classes:
            raise ValueError(
                f"has_classes is true, but the last column is {type(columns[-1]).__name__}, and "
                "classes are OneHot"
            )
        if num_hidden is not None and num_hidden < 0:
            raise ValueError(f"num_hidden is {num_hidden}, but it is 0 or more, or None")
        super().__init__(
            num_units=sum(column.num_units for column in columns),
            num_parameters=sum(column.num_parameters for column in columns),
        )
        self.columns = nn.ModuleList(columns)
        self.num_hidden = num_hidden
        self.has_classes = has_classes
        self.context = None if num_hidden is None else ColumnContext(columns, num_hidden)
        self.is_sequential = self.context is not None
        self.is_density = any(column.is_density for column in columns)

    @property
    def supports(self) -> list[tuple[int, Support]]:
        pieces = [piece for column in self.columns for piece in cast(Units, column).supports]
        return [(size, missing_or(support)) for size, support in pieces]

    @property
    def num_classes(self) -> int:
        return cast(Units, self.columns[-1]).num_classes if self.has_classes else 0

    def _distribution(self, activations: Tensor) -> Distribution:
        columns = [cast(Units, column) for column in self.columns]
        return MixedDistribution(columns, self.context, activations)


class ColumnContext(nn.Module):
    r"""What columns add to the activations of those after them.

    .. math::
        c_k(x) = A_k x_{<k} + B_k \tanh(C_k x_{<k} + d_k),

    where x are values and bits of what is missing, and A and B start at 0.

    Arguments:
        columns: The units of each column.
        num_hidden: The number of hidden units per column.
    """

    seen: Tensor
    own: Tensor
    before: Tensor

    def __init__(self, columns: Sequence[Units], num_hidden: int) -> None:
        super().__init__()
        index = torch.arange(len(columns))
        unit = index.repeat_interleave(torch.tensor([c.num_units for c in columns])).repeat(2)
        parameter = index.repeat_interleave(torch.tensor([c.num_parameters for c in columns]))
        hidden = index.repeat_interleave(num_hidden)
        self.register_buffer("seen", (hidden[:, None] > unit).float(), persistent=False)
        self.register_buffer("own", (parameter[:, None] == hidden).float(), persistent=False)
        self.register_buffer("before", (parameter[:, None] > unit).float(), persistent=False)
        scale = self.seen.sum(1, keepdim=True).clamp(min=1).rsqrt()
        self.into = nn.Parameter(torch.randn(self.seen.shape) * scale)
        self.bias = nn.Parameter(torch.zeros(len(hidden)))
        self.out = nn.Parameter(torch.zeros(self.own.shape))
        self.around = nn.Parameter(torch.zeros(self.before.shape))

    def forward(self, flagged: Tensor) -> Tensor:
        r"""Returns what is added (*, num_parameters), given values and bits (*, 2 num_units)."""
        hidden = torch.tanh(linear(flagged, self.into * self.seen, self.bias))
        return linear(flagged, self.around * self.before) + linear(hidden, self.out * self.own)


def _checked(columns: list[Units]) -> list[Units]:
    if not columns:
        raise ValueError("columns are [], but at least one is needed")
    for column in columns:
        if not isinstance(column, Units):
            raise TypeError(f"a column is {column!r}, but columns are Units")
        if column.is_sequential:
            raise ValueError(
                f"a column is {type(column).__name__}, whose units depend on those before them, "
                "but a column that is missing is left out as a whole"
            )
    return columns
