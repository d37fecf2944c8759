r"""Layers of stochastic units, each conditional on the one before."""

from __future__ import annotations

__all__ = ["BeliefNetwork"]

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from qahm_torch.nn.distributions import (
    draw,
    full_precision,
    mean_or_draw,
    rdraw,
    unit_log_prob,
)
from qahm_torch.nn.recognition import Draw, Recognition, without_repeats
from qahm_torch.nn.units import Spins, Units


class BeliefNetwork(Recognition):
    r"""A directed network of stochastic layers.

    .. math::
        p(x_1, \dots, x_L | x_0) = \prod_{k=1}^{L} p(x_k | a_k(x_{k-1})),

    where the :math:`a_k` are modules, linear by default, and the layers are spins, except that the
    last one may have other units. Any module will do that maps rows (B, width of the layer before)
    to rows (B, number of parameters of the layer's units).

    Arguments:
        widths: The numbers of units, input first.
        layers: The modules, one per layer after the input; None for linear ones.
        output: The units of the last layer; spins by default.
        temperature: That of the relaxed spins that `rsample` draws; None for no such draws.
        hard: Whether these are spins, whose gradient alone is relaxed (straight-through).

    Raises:
        ValueError: If there are fewer than two widths, another number of modules than layers, or
            the output has another width than the last one.

    References:
        | The Helmholtz machine (Dayan et al., 1995)
        | https://doi.org/10.1162/neco.1995.7.5.889

    Example:
        >>> network = BeliefNetwork([6, 4, 3])
        >>> [x.shape[-1] for x in network(torch.ones(2, 6))]
        [4, 3]

        A convolution and a multilayer perceptron in front of the spins:

        >>> picture = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 2, stride=2))
        >>> first = nn.Sequential(picture, nn.ReLU(), nn.Flatten(), nn.Linear(64, 20))
        >>> second = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 10))
        >>> network = BeliefNetwork([64, 20, 10], layers=[first, second])
        >>> [x.shape for x in network(torch.ones(5, 2, 64))]
        [torch.Size([5, 2, 20]), torch.Size([5, 2, 10])]
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        layers: Sequence[nn.Module] | None = None,
        output: Units | None = None,
        temperature: float | None = None,
        hard: bool = False,
    ):
        super().__init__(widths)
        units: list[Units] = [Spins(width, temperature, hard) for width in self.widths[1:]]
        if output is not None:
            if output.num_units != self.widths[-1]:
                raise ValueError(
                    f"the output has {output.num_units} units, but the last width is "
                    f"{self.widths[-1]}"
                )
            units[-1] = output
        if layers is None:
            sizes = zip(self.widths[:-1], units, strict=True)
            layers = [nn.Linear(width, unit.num_parameters) for width, unit in sizes]
        if len(layers) != len(units):
            raise ValueError(
                f"layers are {len(layers)} modules, but widths {list(widths)} need {len(units)}"
            )
        self.layers = nn.ModuleList(layers)
        self.units = nn.ModuleList(units)

    @property
    def output(self) -> Units:
        r"""The units of the last layer."""
        return cast(Units, self.units[-1])

    @property
    def temperature(self) -> float | None:
        r"""The temperature of relaxed spins, or None."""
        first = self.units[0]
        return first.temperature if isinstance(first, Spins) else None

    @property
    def hard(self) -> bool:
        r"""Whether relaxed draws are spins, whose gradient alone is relaxed."""
        first = self.units[0]
        return isinstance(first, Spins) and first.hard

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        r"""Returns a state (*, width) of each layer after the input, given inputs (*, width_0)."""
        states: list[Tensor] = []
        for k in range(len(self.layers)):
            inputs = draw(self.conditional(k, inputs), generator)
            states.append(inputs)
        return states

    def draw(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        r"""Returns states of the layers and their log-probability, in one pass.

        The states carry no gradient; the log-probability does.

        Arguments:
            inputs: The states of the input, of shape (*, width_0).
            generator: The source of randomness, on the device of the inputs.
        """
        return self.run(inputs, lambda k, layer: draw(layer, generator))

    def rsample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        r"""Returns relaxed states of the layers, and their log-probability, in one pass.

        States and log-probability are differentiable in the parameters and the inputs. Relaxed
        spins have the log-probability of the extension of spins to values between -1 and +1 (see
        `SpinBernoulli`), not the logarithm of the density that they are drawn from.

        Arguments:
            inputs: The states of the input, of shape (*, width_0).
            generator: The source of randomness, on the device of the inputs.

        Raises:
            NotImplementedError: If the units of a layer have no differentiable draws.
        """
        return self.run(inputs, lambda k, layer: self._relaxed(k, layer, generator))

    def run(self, inputs: Tensor, choose: Callable[[int, Distribution], Tensor]) -> Draw:
        r"""Returns states that a function chooses, layer by layer, and their log-probability.

        Arguments:
            inputs: The states of the input, of shape (*, width_0).
            choose: Returns states (*, width) of a layer, given its number and its distribution.
        """
        states: list[Tensor] = []
        log_prob = inputs.new_zeros(inputs.shape[:-1])
        for k in range(len(self.layers)):
            layer = self.conditional(k, inputs)
            inputs = choose(k, layer)
            states.append(inputs)
            log_prob = log_prob + layer.log_prob(inputs)
        return Draw(states, log_prob)

    def log_prob(self, states: Sequence[Tensor], observed: Tensor | None = None) -> Tensor:
        r"""Returns :math:`\log p(x_1, \dots, x_L | x_0)` in nats, of shape (*).

        Arguments:
            states: The input and the states of all layers, in order; each of shape (*, width).
            observed: Where the units of the last layer count (True = counts), of a shape that
                broadcasts to it; None for all. Units that do not count are summed out, unless
                units that count depend on them (see `Autoregressive`). Numbers weigh the units'
                log-probabilities.

        Raises:
            ValueError: If there are not as many states as widths.
        """
        if len(states) != len(self.widths):
            raise ValueError(f"states are {len(states)}, but {len(self.widths)} are needed")
        *inner, last = [self.conditional(k, states[k]) for k in range(len(self.layers))]
        if observed is None:
            total = last.log_prob(states[-1])
        else:
            # What does not count may be anything, NaN included, which no factor of 0 removes.
            counts = torch.as_tensor(observed != 0)
            values = torch.where(counts, states[-1], 0.0)
            total = (unit_log_prob(last, values) * observed).sum(-1)
        terms = zip(inner, states[1:-1], strict=True)
        return sum((layer.log_prob(state) for layer, state in terms), start=total)

    def mean(self, penultimate: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Returns the mean of the last layer, of shape (*, width), given the one before it.

        It is exact, and differentiable. Units that have no exact mean, such as autoregressive
        ones, are drawn: one draw, without gradient, is an unbiased estimate of their mean.

        Arguments:
            penultimate: States of the layer before the last, of shape (*, width).
            generator: The source of randomness of such draws.
        """
        return mean_or_draw(self.conditional(len(self.layers) - 1, penultimate), generator)

    def conditional(self, layer: int, inputs: Tensor) -> Distribution:
        r"""Returns the distribution of a layer, the first being 0, given the one before it.

        Arguments:
            layer: The number of the layer after the input, counted from 0.
            inputs: States of the layer before, of shape (*, width).
        """
        return cast(Distribution, self.units[layer](self.activations(layer, inputs)))

    def activations(self, layer: int, inputs: Tensor) -> Tensor:
        r"""Returns what a layer's module makes of states (*, width) of the layer before.

        Of states that `expand` repeats, such as a datum of which there are several particles, the
        module sees one only, so that a dropped unit is dropped for all of them.
        """
        once = without_repeats(inputs)
        rows: Tensor = self.layers[layer](once.reshape(-1, inputs.shape[-1]))
        found = full_precision(rows).reshape(*once.shape[:-1], rows.shape[-1])
        return found.expand(*inputs.shape[:-1], rows.shape[-1])

    def extra_repr(self) -> str:
        return f"widths={list(self.widths)}"

    def _relaxed(self, k: int, layer: Distribution, generator: torch.Generator | None) -> Tensor:
        if not layer.has_rsample:
            raise NotImplementedError(
                f"layer {k + 1} is {type(self.units[k]).__name__}, but relaxed states need units "
                "with differentiable draws, such as spins with a temperature"
            )
        return rdraw(layer, generator)
