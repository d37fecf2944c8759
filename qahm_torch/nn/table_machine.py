r"""A machine for a table: its widths are those of the columns."""

from __future__ import annotations

__all__ = ["TableMachine"]

from typing import cast

from torch import nn

from qahm_torch.nn.belief import BeliefNetwork
from qahm_torch.nn.machine import HelmholtzMachine
from qahm_torch.nn.missing import Flagged
from qahm_torch.nn.mixed import MixedUnits
from qahm_torch.nn.prior import Prior
from qahm_torch.nn.units import Units

# Columns are standardized, so that spins that say little are the place to begin.
_INITIAL_STD = 0.1


class TableMachine(HelmholtzMachine):
    r"""A machine with one layer of spins, whose visible units are the columns of a table.

    .. math::
        p(v, u) = p(v \mid A u + b) \, p(u), \qquad
        q(u \mid v) = \prod_j \sigma\big(2 u_j \, e_j(v', m)\big)

    where e is a perceptron of one hidden layer, which sees the known values :math:`v'` and bits m
    of what is missing. In a configuration `units` is left out: it is that of the data set, so that
    no width is told twice.

    Arguments:
        units: The units of the columns, such as `TableData.units`.
        prior: The law of the spins, such as a `QuantumPriorLayer`.
        num_hidden: The number of hidden units of the recognition.
        num_context: The number of hidden units by which a column sees those before it (see
            `MixedUnits`); None for columns that are independent given the spins.

    Raises:
        ValueError: If units are missing, as those of a data set that has none, or a number is out
            of its range.

    References:
        | Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2018)
        | https://arxiv.org/abs/1807.03653

    Example:
        >>> from qahm_torch import NormalUnits, OneHot, QuantumPriorLayer
        >>> units = MixedUnits([NormalUnits(1), NormalUnits(1), OneHot(3)])
        >>> machine = TableMachine(units, QuantumPriorLayer(4))
        >>> machine.recognition.widths, machine.generate(2).shape
        ((5, 4), torch.Size([2, 5]))
    """

    def __init__(
        self,
        units: MixedUnits,
        prior: Prior,
        num_hidden: int = 32,
        num_context: int | None = None,
    ):
        if not isinstance(units, MixedUnits):
            raise ValueError(
                f"units are {units!r}, but a TableMachine takes the MixedUnits of a table, such "
                "as those of qahm_torch.data.TableData"
            )
        if num_hidden < 1:
            raise ValueError(f"num_hidden is {num_hidden}, but at least 1 hidden unit is needed")
        if num_context != units.num_hidden:
            columns = [cast(Units, column) for column in units.columns]
            units = MixedUnits(columns, num_context, units.has_classes)
        inputs, spins = 2 * units.num_units, prior.num_visible
        encoder = nn.Sequential(
            nn.Linear(inputs, num_hidden), nn.Tanh(), nn.Linear(num_hidden, spins)
        )
        decoder = nn.Linear(spins, units.num_parameters)
        nn.init.normal_(decoder.weight, std=_INITIAL_STD)
        nn.init.zeros_(decoder.bias)
        super().__init__(
            Flagged(BeliefNetwork([inputs, spins], layers=[encoder])),
            BeliefNetwork([spins, units.num_units], layers=[decoder], output=units),
            prior,
        )
        self.num_hidden = num_hidden

    @property
    def units(self) -> MixedUnits:
        r"""The units of the columns."""
        return cast(MixedUnits, self.generator.output)

    @property
    def num_context(self) -> int | None:
        r"""The number of hidden units by which a column sees those before it, or None."""
        return self.units.num_hidden
