r"""A machine for a folder of images: its widths are those of the pixels and classes."""

from __future__ import annotations

__all__ = ["ImageMachine"]

from collections.abc import Sequence

from qahm_torch.nn.belief import BeliefNetwork
from qahm_torch.nn.machine import HelmholtzMachine
from qahm_torch.nn.mlp import NormalizedMLP
from qahm_torch.nn.prior import Prior
from qahm_torch.nn.units import Units


class ImageMachine(HelmholtzMachine):
    r"""A machine with one layer of spins and perceptrons to both sides, for units of any kind.

    .. math::
        p(v, u) = p(v \mid d(u)) \, p(u), \qquad
        q(u \mid v) = \prod_j \sigma\big(2 u_j \, e_j(v)\big)

    where d and e are of rectified and normalized layers. In a configuration `units` is left out:
    it is that of the data set, so that no width is told twice.

    Arguments:
        units: The visible units, such as `ImageFolder.units`.
        prior: The law of the spins, such as a `QuantumPriorLayer`.
        hidden: The numbers of rectified units from the pixels to the spins, and backwards from
            the spins to the pixels.
        temperature: That of relaxed spins, for `RelaxedELBO`.

    Raises:
        ValueError: If units are missing, as those of a data set that has none, or a number is out
            of its range.

    References:
        | GumBolt: extending Gumbel trick to Boltzmann priors (Khoshaman & Amin, 2018)
        | https://arxiv.org/abs/1805.07349

    Example:
        >>> from qahm_torch import QuantumPriorLayer, Spins
        >>> machine = ImageMachine(Spins(16), QuantumPriorLayer(4), hidden=[8])
        >>> machine.generate(2).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        units: Units,
        prior: Prior,
        hidden: Sequence[int] = (200,),
        temperature: float = 1 / 7,
    ):
        if not isinstance(units, Units):
            raise ValueError(
                f"units are {units!r}, but an ImageMachine takes those of a data set, such as "
                "qahm_torch.data.ImageFolder"
            )
        pixels, spins = units.num_units, prior.num_visible
        encoder = NormalizedMLP(pixels, hidden, spins)
        decoder = NormalizedMLP(spins, list(hidden)[::-1], units.num_parameters)
        super().__init__(
            BeliefNetwork([pixels, spins], layers=[encoder], temperature=temperature),
            BeliefNetwork([spins, pixels], layers=[decoder], output=units),
            prior,
        )
        self.hidden = tuple(hidden)
        self.temperature = temperature

    @property
    def units(self) -> Units:
        r"""The visible units."""
        return self.generator.output
