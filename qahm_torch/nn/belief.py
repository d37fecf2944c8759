r"""Layers of stochastic units, each conditional on the one before."""

from __future__ import annotations

__all__ = ["BeliefNetwork", "Draw"]

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qahm_torch.nn.units import Spins, VisibleDistribution


class Draw(NamedTuple):
    r"""States drawn from a belief network, and how probable they were."""

    states: list[Tensor]  # one (*, width) per layer after the input
    log_prob: Tensor  # (*), in nats, differentiable in the parameters


class BeliefNetwork(nn.Module):
    r"""A directed network of stochastic layers.

    .. math::
        p(x_1, \dots, x_L | x_0) = \prod_{k=1}^{L} p(x_k | a_k(x_{k-1})),

    where the :math:`a_k` are modules, linear by default, and the layers are spins, except that the
    last one may have another distribution. Any module will do that maps rows (B, width of the
    layer before) to rows (B, number of parameters of the layer's distribution).

    Arguments:
        widths: The numbers of units, input first.
        layers: The modules, one per layer after the input; None for linear ones.
        output: The distribution of the last layer; spins by default.

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
        output: VisibleDistribution | None = None,
    ):
        super().__init__()
        self.widths = tuple(int(w) for w in widths)
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths are {list(widths)}; two or more positive ones are needed")
        units: list[VisibleDistribution] = [Spins(w) for w in self.widths[1:]]
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
            raise ValueError(f"{len(layers)} modules for {len(units)} layers")
        self.layers = nn.ModuleList(layers)
        self.units = nn.ModuleList(units)

    @property
    def output(self) -> VisibleDistribution:
        r"""The distribution of the last layer."""
        return self.units[-1]  # type: ignore[return-value]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return self.sample(inputs)

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        r"""Returns a state (*, width) of each layer after the input, given inputs (*, width_0)."""
        states: list[Tensor] = []
        for k, units in enumerate(self.units):
            inputs = units.sample(self.activations(k, inputs), generator)  # type: ignore[operator]
            states.append(inputs)
        return states

    def draw(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        r"""Returns states of the layers and their log-probability, in one pass.

        The states carry no gradient; the log-probability does.
        """
        states: list[Tensor] = []
        log_prob = inputs.new_zeros(inputs.shape[:-1])
        for k, units in enumerate(self.units):
            parameters = self.activations(k, inputs)
            inputs = units.sample(parameters.detach(), generator)  # type: ignore[operator]
            states.append(inputs)
            log_prob = log_prob + units.log_prob(inputs, parameters)  # type: ignore[operator]
        return Draw(states, log_prob)

    def log_prob(self, states: Sequence[Tensor], observed: Tensor | None = None) -> Tensor:
        r"""Returns :math:`\log p(x_1, \dots, x_L | x_0)` in nats, of shape (*).

        Arguments:
            states: The input and the states of all layers, in order; each of shape (*, width).
            observed: Where the units of the last layer count (True = counts), of a shape that
                broadcasts to it; None for all. Units that do not count are summed out. Numbers
                weigh the units' log-probabilities.

        Raises:
            ValueError: If there are not as many states as widths.
        """
        if len(states) != len(self.widths):
            raise ValueError(f"{len(states)} states for {len(self.widths)} widths")
        terms: Tensor | float = 0.0
        last = len(self.layers) - 1
        for k, units in enumerate(self.units):
            parameters = self.activations(k, states[k])
            if k == last and observed is not None:
                by_unit = units.unit_log_prob(states[k + 1], parameters)  # type: ignore[operator]
                terms = terms + (by_unit * observed).sum(-1)
            else:
                terms = terms + units.log_prob(states[k + 1], parameters)  # type: ignore[operator]
        assert isinstance(terms, Tensor)
        return terms

    def mean(self, penultimate: Tensor) -> Tensor:
        r"""Returns the mean of the last layer, of shape (*, width), given the one before it."""
        return self.output.mean(self.activations(len(self.layers) - 1, penultimate))

    def activations(self, layer: int, inputs: Tensor) -> Tensor:
        r"""Returns what a layer's module makes of states (*, width) of the layer before."""
        rows = self.layers[layer](inputs.reshape(-1, inputs.shape[-1]))
        return rows.reshape(*inputs.shape[:-1], -1)

    def extra_repr(self) -> str:
        return f"widths={list(self.widths)}"
