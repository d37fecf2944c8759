r"""The discrete variational autoencoder, as a Helmholtz machine."""

from __future__ import annotations

__all__ = ["DiscreteVAE"]

from typing import cast

from torch import nn

from qahm_torch.nn.belief import BeliefNetwork
from qahm_torch.nn.machine import HelmholtzMachine
from qahm_torch.nn.prior import Prior
from qahm_torch.nn.units import Units


class DiscreteVAE(HelmholtzMachine):
    r"""A variational autoencoder with one layer of spins between encoder and decoder.

    .. math::
        p(v, u) = p\big(v \mid d(u)\big) \, p(u), \qquad q(u \mid v) = \prod_j \sigma(2 e_j(v) u_j)

    It is a `HelmholtzMachine` of one hidden layer, with `recognition` and `generator` made of two
    modules of one's own, and does all that one does. `RelaxedELBO` trains it as a variational
    autoencoder is usually trained.

    Arguments:
        encoder: The module e, from rows (B, num_visible) to rows (B, N), half the log-odds of the
            N spins.
        decoder: The module d, from rows (B, N) of spins to rows (B, number of parameters of the
            visible units).
        prior: The law of the spins, such as a `QuantumPriorLayer`.
        num_visible: The number of visible units.
        output: The visible units; spins by default.
        temperature: That of relaxed spins in training.
        hard: Whether these are spins, whose gradient alone is relaxed (straight-through).

    Raises:
        ValueError: If the output has another number of units, or the temperature is not positive.

    References:
        | Discrete variational autoencoders (Rolfe, 2016)
        | https://arxiv.org/abs/1609.02200
        | GumBolt: extending Gumbel trick to Boltzmann priors (Khoshaman & Amin, 2018)
        | https://arxiv.org/abs/1805.07349

    Example:
        >>> import torch
        >>> from qahm_torch import QuantumPriorLayer, RelaxedELBO
        >>> encoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> decoder = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6))
        >>> machine = DiscreteVAE(encoder, decoder, QuantumPriorLayer(3), num_visible=6)
        >>> losses = RelaxedELBO()(machine, torch.ones(4, 6), machine.prior.draw())
        >>> losses["loss"].backward()
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        *,
        num_visible: int,
        output: Units | None = None,
        temperature: float = 1 / 7,
        hard: bool = False,
    ):
        widths = [num_visible, prior.num_visible]
        recognition = BeliefNetwork(widths, layers=[encoder], temperature=temperature, hard=hard)
        generator = BeliefNetwork(widths[::-1], layers=[decoder], output=output)
        super().__init__(recognition, generator, prior)

    @property
    def encoder(self) -> nn.Module:
        r"""The module from data to half the log-odds of the spins."""
        return cast(BeliefNetwork, self.recognition).layers[0]

    @property
    def decoder(self) -> nn.Module:
        r"""The module from spins to the parameters of the visible units."""
        return self.generator.layers[0]

    @property
    def num_visible(self) -> int:
        return self.generator.widths[-1]

    @property
    def output(self) -> Units:
        r"""The visible units."""
        return self.generator.output

    @property
    def temperature(self) -> float | None:
        r"""The temperature of relaxed spins."""
        return cast(BeliefNetwork, self.recognition).temperature

    @property
    def hard(self) -> bool:
        r"""Whether relaxed draws are spins, whose gradient alone is relaxed."""
        return cast(BeliefNetwork, self.recognition).hard
