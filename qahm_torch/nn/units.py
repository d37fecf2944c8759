r"""Layers of units, as distributions given the output of the network in front."""

from __future__ import annotations

__all__ = [
    "Concatenated",
    "OneHot",
    "Spins",
    "Units",
    "check_positive",
]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from qahm_torch.nn.distributions import IndependentUnits, Joint
from qahm_torch.nn.spin_laws import SpinBernoulli, SpinOneHot
from qahm_torch.nn.support import ONE_HOT, REAL, SPIN, Support


class Units(nn.Module, ABC):
    r"""A layer of units, whose distribution is set by the output of the network in front.

    .. math::
        a \mapsto p(v \mid a)

    Called with activations a of shape (*, num_parameters), it returns a torch distribution with
    batch shape (*) and event shape (num_units,). Draws and log-probabilities have the dtype and
    the device of the activations. Values broadcast against the batch, and are not checked there
    (see `support`).

    Arguments:
        num_units: The number of units in the layer.
        num_parameters: The number of outputs that the network in front must have.

    Raises:
        ValueError: If either number is not a positive integer; when called, if the last dimension
            of the activations has another size.

    Example:
        A subclass says what the activations do:

        >>> from torch.distributions import Independent, Laplace
        >>> class LaplaceUnits(Units):
        ...     def __init__(self, num_units):
        ...         super().__init__(num_units, num_parameters=num_units)
        ...
        ...     def _distribution(self, activations):
        ...         return Independent(Laplace(activations, 1.0), 1, validate_args=False)
        >>> LaplaceUnits(2)(torch.zeros(3, 2)).log_prob(torch.ones(2))
        tensor([-3.3863, -3.3863, -3.3863])
    """

    num_units: int
    num_parameters: int

    is_sequential: bool = False
    r"""Whether units depend on those before them, so that none of these can be left unknown."""

    is_density: bool = False
    r"""Whether values are continuous, so that their likelihood is a density."""

    support: Support = REAL
    r"""Which values they take; data are checked once (see `check_values`), draws never."""

    def __init__(self, num_units: int, num_parameters: int) -> None:
        super().__init__()
        self.num_units = check_positive("num_units", num_units)
        self.num_parameters = check_positive("num_parameters", num_parameters)

    def forward(self, activations: Tensor) -> Distribution:
        r"""Returns the distribution of the layer, given activations (*, num_parameters)."""
        if activations.shape[-1:] != (self.num_parameters,):
            raise ValueError(
                f"activations have shape {tuple(activations.shape)}, but the last dimension of "
                f"those of {type(self).__name__} is {self.num_parameters} here"
            )
        return self._distribution(activations)

    @property
    def supports(self) -> list[tuple[int, Support]]:
        r"""The number of units of each kind, in their order, and the values that they take."""
        return [(self.num_units, self.support)]

    @property
    def num_classes(self) -> int:
        r"""The number of class units, which are `OneHot` and come last; 0 if there are none."""
        return 0

    @abstractmethod
    def _distribution(self, activations: Tensor) -> Distribution:
        r"""Returns the distribution, given activations whose last dimension is right."""

    def extra_repr(self) -> str:
        r"""Returns what `repr` shows of the settings."""
        return f"num_units={self.num_units}, num_parameters={self.num_parameters}"


class Spins(Units):
    r"""Independent spins of +-1, with the activations for natural parameters.

    .. math::
        p(s_i \mid a) = \frac{e^{a_i s_i}}{2 \cosh a_i} = \sigma(2 a_i s_i)

    Arguments:
        num_units: The number of spins.
        temperature: That of relaxed draws (see `SpinBernoulli`); None for no such draws.
        hard: Whether these are spins, whose gradient alone is relaxed (straight-through).

    Raises:
        ValueError: If the number is not a positive integer, or the temperature is not positive.

    References:
        | Mean field theory for sigmoid belief networks (Saul, Jaakkola, Jordan, 1996)
        | https://arxiv.org/abs/cs/9603102

    Example:
        >>> spins = Spins(2)(torch.tensor([0.0, 1.0]))
        >>> spins.log_prob(torch.tensor([1.0, -1.0]))
        tensor(-2.8201)
        >>> spins.mean
        tensor([0.0000, 0.7616])
    """

    support = SPIN

    temperature: float | None

    def __init__(
        self, num_units: int, temperature: float | None = None, hard: bool = False
    ) -> None:
        super().__init__(num_units, num_parameters=num_units)
        self.temperature = _check_temperature(temperature)
        self.hard = hard

    def _distribution(self, activations: Tensor) -> Distribution:
        return IndependentUnits(SpinBernoulli(activations, self.temperature, self.hard))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}{_shown(self.temperature)}"


class OneHot(Units):
    r"""One class out of many, coded as spins: +1 at the class and -1 at the rest.

    .. math::
        \log p(s \mid a) = \sum_i \frac{s_i + 1}{2} \log \operatorname{softmax}(a)_i

    Arguments:
        num_units: The number of classes.
        temperature: That of relaxed draws (see `SpinOneHot`); None for no such draws.

    Raises:
        ValueError: If the number is not a positive integer, or the temperature is not positive.

    Example:
        >>> classes = OneHot(3)(torch.zeros(3))
        >>> classes.log_prob(torch.tensor([-1.0, 1.0, -1.0]))
        tensor(-1.0986)
        >>> classes.mean
        tensor([-0.3333, -0.3333, -0.3333])
    """

    support = ONE_HOT

    temperature: float | None

    def __init__(self, num_units: int, temperature: float | None = None) -> None:
        super().__init__(num_units, num_parameters=num_units)
        self.temperature = _check_temperature(temperature)

    @property
    def num_classes(self) -> int:
        return self.num_units

    def _distribution(self, activations: Tensor) -> Distribution:
        return SpinOneHot(activations, self.temperature)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}{_shown(self.temperature)}"


class Concatenated(Units):
    r"""Several kinds of units side by side, such as the pixels of an image and then its class.

    .. math::
        \log p(v \mid a) = \sum_k \log p_k(v_k \mid a_k), \quad
        v = (v_1, v_2, \dots), \quad a = (a_1, a_2, \dots)

    Arguments:
        parts: The units, in the order of their values and of their activations.

    Raises:
        TypeError: If a part is not `Units`.
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
        >>> digits(torch.zeros(74)).log_prob(-torch.ones(74))
        tensor(-44.3614)
    """

    parts: nn.ModuleList

    def __init__(self, parts: Sequence[Units]) -> None:
        parts = list(parts)
        if not parts:
            raise ValueError("parts are [], but at least one layer of units is needed")
        for part in parts:
            if not isinstance(part, Units):
                raise TypeError(f"a part is {part!r}, but parts are Units")
        super().__init__(
            num_units=sum(part.num_units for part in parts),
            num_parameters=sum(part.num_parameters for part in parts),
        )
        self.parts = nn.ModuleList(parts)
        self.is_sequential = any(part.is_sequential for part in parts)
        self.is_density = any(part.is_density for part in parts)
        self._sizes = [part.num_parameters for part in parts]

    @property
    def supports(self) -> list[tuple[int, Support]]:
        return [piece for part in self.parts for piece in cast(Units, part).supports]

    @property
    def num_classes(self) -> int:
        return cast(Units, self.parts[-1]).num_classes

    def _distribution(self, activations: Tensor) -> Distribution:
        pieces = torch.split(activations, self._sizes, dim=-1)
        return Joint([part(own) for part, own in zip(self.parts, pieces, strict=True)])


def check_positive(name: str, number: int) -> int:
    r"""Returns a number of units or levels; raises ValueError if it is not a positive integer."""
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} is {number!r}, but a positive integer is needed")
    return number


def _check_temperature(temperature: float | None) -> float | None:
    if temperature is not None and not temperature > 0:
        raise ValueError(
            f"temperature is {temperature}, but that of relaxed draws is positive, or None"
        )
    return temperature


def _shown(temperature: float | None) -> str:
    return "" if temperature is None else f", temperature={temperature}"
