r"""Conditional distributions of a layer of units, given the output of the network in front."""

from __future__ import annotations

__all__ = [
    "Concatenated",
    "OneHot",
    "Spins",
    "VisibleDistribution",
    "check_positive",
    "uniform_like",
]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid


class VisibleDistribution(nn.Module, ABC):
    r"""A distribution of a layer of units, independent of each other given a network's output.

    .. math::
        \log p(v \mid a) = \sum_i \log p(v_i \mid a)

    Values and parameters broadcast over their leading dimensions. What comes back has the
    dtype and the device of the parameters. A subclass whose units depend on each other (see
    `OneHot`) splits its log-probability into one term per unit.

    Arguments:
        num_units: The number of units in the layer.
        num_parameters: The number of outputs that the network in front must have.

    Raises:
        ValueError: If either number is not a positive integer.

    Example:
        A subclass says what one unit does:

        >>> import math
        >>> class UnitGaussian(VisibleDistribution):
        ...     def __init__(self, num_units):
        ...         super().__init__(num_units, num_parameters=num_units)
        ...
        ...     def unit_log_prob(self, values, parameters):
        ...         return -0.5 * ((values - parameters) ** 2 + math.log(2 * math.pi))
        ...
        ...     def sample(self, parameters, generator=None):
        ...         return torch.normal(parameters.detach(), 1.0, generator=generator)
        ...
        ...     def mean(self, parameters):
        ...         return parameters
        >>> UnitGaussian(2).log_prob(torch.zeros(3, 2), torch.zeros(2))
        tensor([-1.8379, -1.8379, -1.8379])
    """

    num_units: int
    num_parameters: int

    def __init__(self, num_units: int, num_parameters: int) -> None:
        super().__init__()
        self.num_units = check_positive("num_units", num_units)
        self.num_parameters = check_positive("num_parameters", num_parameters)

    @abstractmethod
    def unit_log_prob(self, values: Tensor, parameters: Tensor) -> Tensor:
        r"""Returns the log-probability, or log-density, unit by unit.

        Arguments:
            values: The values of the units, of shape (*, num_units).
            parameters: The output of the network, of shape (*, num_parameters).

        Returns:
            The terms in nats, of shape (*, num_units).

        Raises:
            ValueError: If a last dimension has another size.
        """

    def log_prob(self, values: Tensor, parameters: Tensor) -> Tensor:
        r"""Returns the log-probability, or log-density, summed over the units.

        Arguments:
            values: The values of the units, of shape (*, num_units).
            parameters: The output of the network, of shape (*, num_parameters).

        Returns:
            The log-probabilities in nats, of shape (*).

        Raises:
            ValueError: If a last dimension has another size.
        """
        return self.unit_log_prob(values, parameters).sum(-1)

    @abstractmethod
    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draws one value of each unit; no gradient flows.

        Arguments:
            parameters: The output of the network, of shape (*, num_parameters).
            generator: The source of randomness, on the device of the parameters.

        Returns:
            The draws, of shape (*, num_units).

        Raises:
            ValueError: If the last dimension has another size.
        """

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        r"""Returns the exact mean of each unit, differentiable in the parameters.

        Arguments:
            parameters: The output of the network, of shape (*, num_parameters).

        Returns:
            The means, of shape (*, num_units).

        Raises:
            ValueError: If the last dimension has another size.
        """

    def extra_repr(self) -> str:
        r"""Returns what `repr` shows of the settings."""
        return f"num_units={self.num_units}, num_parameters={self.num_parameters}"

    def _check_values(self, values: Tensor) -> None:
        _check_last("values", values, self.num_units)

    def _check_parameters(self, parameters: Tensor) -> None:
        _check_last("parameters", parameters, self.num_parameters)


class Spins(VisibleDistribution):
    r"""Independent spins of +-1.

    .. math::
        p(s_i \mid a) = \frac{e^{a_i s_i}}{2 \cosh a_i} = \sigma(2 a_i s_i)

    The values are +-1. Between these the log-probability is that of the right-hand side, so the
    gradient with respect to a relaxed spin is that of this extension, not of the left-hand side.

    Arguments:
        num_units: The number of spins.

    Raises:
        ValueError: If the number is not a positive integer.

    References:
        | Mean field theory for sigmoid belief networks (Saul, Jaakkola, Jordan, 1996)
        | https://arxiv.org/abs/cs/9603102

    Example:
        >>> spins = Spins(2)
        >>> spins.log_prob(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 1.0]))
        tensor(-2.8201)
        >>> spins.mean(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.7616])
    """

    def __init__(self, num_units: int) -> None:
        super().__init__(num_units, num_parameters=num_units)

    def unit_log_prob(self, values: Tensor, parameters: Tensor) -> Tensor:
        self._check_values(values)
        self._check_parameters(parameters)
        # Doubling the values keeps one multiplication out of the backward pass.
        return logsigmoid(parameters * (2 * values.to(parameters.dtype)))

    @torch.no_grad()
    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        self._check_parameters(parameters)
        # Up where u < sigmoid(2a). The sign costs less than a comparison and its conversion, and
        # that of -0 is negative, so that a draw of sigmoid(2a) itself counts as not below it.
        below = uniform_like(parameters, generator).sub_(torch.sigmoid(2 * parameters)).neg_()
        return torch.ones_like(below).copysign_(below)

    def mean(self, parameters: Tensor) -> Tensor:
        self._check_parameters(parameters)
        return torch.tanh(parameters)


class OneHot(VisibleDistribution):
    r"""One class out of many, coded as spins: +1 at the class and -1 at the rest.

    .. math::
        \log p(s \mid a) = \sum_i \frac{s_i + 1}{2} \log \operatorname{softmax}(a)_i

    The term of a unit is zero unless the unit is +1, so that a sum over some of the units is
    the log-probability of the class where the class is among them, and zero where it is not.

    Arguments:
        num_units: The number of classes.

    Raises:
        ValueError: If the number is not a positive integer.

    References:
        | A* sampling (Maddison, Tarlow, Minka, 2014), for the draw by Gumbel noise
        | https://arxiv.org/abs/1411.0030

    Example:
        >>> classes = OneHot(3)
        >>> classes.log_prob(torch.tensor([-1.0, 1.0, -1.0]), torch.zeros(3))
        tensor(-1.0986)
        >>> classes.mean(torch.zeros(3))
        tensor([-0.3333, -0.3333, -0.3333])
    """

    def __init__(self, num_units: int) -> None:
        super().__init__(num_units, num_parameters=num_units)

    def unit_log_prob(self, values: Tensor, parameters: Tensor) -> Tensor:
        self._check_values(values)
        self._check_parameters(parameters)
        return (values.to(parameters.dtype) + 1) / 2 * log_softmax(parameters, dim=-1)

    @torch.no_grad()
    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        self._check_parameters(parameters)
        # Gumbel-max rather than torch.multinomial, whose check of its input synchronizes a GPU.
        gumbel = uniform_like(parameters, generator).log_().neg_().log_().neg_()
        winner = (parameters + gumbel).argmax(-1, keepdim=True)
        return torch.full_like(parameters, -1.0).scatter_(-1, winner, 1.0)

    def mean(self, parameters: Tensor) -> Tensor:
        self._check_parameters(parameters)
        return 2 * torch.softmax(parameters, dim=-1) - 1


class Concatenated(VisibleDistribution):
    r"""Several distributions side by side, such as the pixels of an image and then its class.

    .. math::
        \log p(v \mid a) = \sum_k \log p_k(v_k \mid a_k), \quad
        v = (v_1, v_2, \dots), \quad a = (a_1, a_2, \dots)

    Arguments:
        parts: The distributions, in the order of their units and of their parameters.

    Raises:
        TypeError: If a part is not a `VisibleDistribution`.
        ValueError: If there is no part.

    References:
        | A fast learning algorithm for deep belief nets (Hinton, Osindero, Teh, 2006), for class
          units beside others
        | https://doi.org/10.1162/neco.2006.18.7.1527

    Example:
        >>> from qahm_torch import ContinuousSpins
        >>> digits = Concatenated([ContinuousSpins(64), OneHot(10)])
        >>> digits.num_units, digits.num_parameters
        (74, 74)
        >>> digits.log_prob(-torch.ones(74), torch.zeros(74))
        tensor(-44.3614)
    """

    parts: nn.ModuleList

    def __init__(self, parts: Sequence[VisibleDistribution]) -> None:
        parts = list(parts)
        if not parts:
            raise ValueError("parts must hold at least one distribution, got none")
        for part in parts:
            if not isinstance(part, VisibleDistribution):
                raise TypeError(f"parts must be VisibleDistributions, got {part!r}")
        super().__init__(
            num_units=sum(part.num_units for part in parts),
            num_parameters=sum(part.num_parameters for part in parts),
        )
        self.parts = nn.ModuleList(parts)

    def unit_log_prob(self, values: Tensor, parameters: Tensor) -> Tensor:
        self._check_values(values)
        pieces = values.split([part.num_units for part in self._distributions()], dim=-1)
        split = zip(pieces, self._split(parameters), strict=True)
        return torch.cat([part.unit_log_prob(piece, own) for piece, (part, own) in split], dim=-1)

    @torch.no_grad()
    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        split = self._split(parameters)
        return torch.cat([part.sample(own, generator) for part, own in split], dim=-1)

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.cat([part.mean(own) for part, own in self._split(parameters)], dim=-1)

    def _distributions(self) -> list[VisibleDistribution]:
        return cast(list[VisibleDistribution], list(self.parts))

    def _split(self, parameters: Tensor) -> Iterator[tuple[VisibleDistribution, Tensor]]:
        r"""Pairs each part with its own parameters."""
        self._check_parameters(parameters)
        parts = self._distributions()
        sizes = [part.num_parameters for part in parts]
        return zip(parts, parameters.split(sizes, dim=-1), strict=True)


def uniform_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Returns uniform numbers of [0, 1), in the shape, dtype and device of a tensor."""
    if generator is None:
        return torch.rand_like(like)  # which torch.compile can trace at any shape
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def check_positive(name: str, number: int) -> int:
    r"""Returns a number of units or levels; raises ValueError if it is not a positive integer."""
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a positive integer, got {number!r}")
    return number


def _check_last(name: str, tensor: Tensor, size: int) -> None:
    if tensor.shape[-1:] != (size,):
        raise ValueError(
            f"the last dimension of {name} must be {size}, got shape {tuple(tensor.shape)}"
        )
