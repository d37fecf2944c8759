r"""What the distribution of a layer can do: draw from a generator, and tell its units apart."""

from __future__ import annotations

__all__ = [
    "IndependentUnits",
    "Joint",
    "LayerDistribution",
    "SeededDistribution",
    "draw",
    "full_precision",
    "has_independent_units",
    "logistic_like",
    "mean_or_draw",
    "rdraw",
    "uniform_like",
    "unit_log_prob",
]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions.constraints import Constraint

Shape = torch.Size | Sequence[int]

_NO_SHAPE = torch.Size()

# Of what kind of distributions it is can be said to type checkers only, and only of late.
if TYPE_CHECKING:
    _Independent = Independent[Distribution]
else:
    _Independent = Independent


class SeededDistribution(Distribution, ABC):
    r"""A distribution that draws from a generator of the caller, which torch's own do not.

    Its arguments are never checked. A draw has the dtype and the device of the parameters.

    Arguments:
        batch_shape: The shape of the draws before the event.
        event_shape: The shape of one event.
    """

    def __init__(self, batch_shape: torch.Size, event_shape: torch.Size = _NO_SHAPE) -> None:
        super().__init__(batch_shape, event_shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        return {}

    def sample(self, sample_shape: Shape = (), generator: torch.Generator | None = None) -> Tensor:
        r"""Returns draws of shape (*sample, *batch, *event), without gradient."""
        with torch.no_grad():
            return self._sample(sample_shape, generator)

    def rsample(
        self, sample_shape: Shape = (), generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns draws of shape (*sample, *batch, *event), differentiable in the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no differentiable draws")

    @abstractmethod
    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        r"""Returns draws as `sample` does; gradients are off already."""

    def _spread(self, parameter: Tensor, sample_shape: Shape) -> Tensor:
        r"""Returns a parameter of the shape of the draws."""
        if not sample_shape:
            return parameter
        return parameter.expand(torch.Size(sample_shape) + parameter.shape)


class LayerDistribution(SeededDistribution):
    r"""A distribution of a layer with a log-probability that is a sum of one term per unit.

    It is for units that depend on each other. Those that do not are in `IndependentUnits`.
    """

    @abstractmethod
    def unit_log_prob(self, values: Tensor) -> Tensor:
        r"""Returns the terms in nats, of shape (*, num_units), of values of that shape."""

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Returns the log-probabilities in nats, of shape (*), of values (*, num_units)."""
        _check_values(value, self._event_shape)
        return self.unit_log_prob(value).sum(-1)


class IndependentUnits(_Independent):
    r"""A layer of independent units, for which torch's `Independent` knows no generator.

    .. math::
        \log p(v) = \sum_i \log p(v_i)

    Arguments:
        base: The distribution of single units, whose last batch dimension is the unit.

    Example:
        >>> from torch.distributions import Normal
        >>> layer = IndependentUnits(Normal(torch.zeros(3, 2), 1.0, validate_args=False))
        >>> layer.batch_shape, layer.event_shape
        (torch.Size([3]), torch.Size([2]))
        >>> layer.sample(generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """

    def __init__(self, base: Distribution) -> None:
        self.base_dist = base
        self.reinterpreted_batch_ndims = 1
        # What torch's own constructor comes to, which takes more time than some draws.
        shape = base.batch_shape
        Distribution.__init__(self, shape[:-1], shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        _check_values(value, self._event_shape)
        # Plainer than torch's own, which also stumbles over an empty batch.
        return self.base_dist.log_prob(value).sum(-1)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy().sum(-1)

    def sample(self, sample_shape: Shape = (), generator: torch.Generator | None = None) -> Tensor:
        return draw(self, generator, sample_shape)

    def rsample(
        self, sample_shape: Shape = (), generator: torch.Generator | None = None
    ) -> Tensor:
        return rdraw(self, generator, sample_shape)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> IndependentUnits:
        return IndependentUnits(self.base_dist.expand(torch.Size(batch_shape) + self.event_shape))


class Joint(LayerDistribution):
    r"""Layers side by side, independent of each other, as one layer.

    .. math::
        \log p(v) = \sum_k \log p_k(v_k), \quad v = (v_1, v_2, \dots)

    Arguments:
        parts: The distributions of the parts, all of one batch shape, in the order of their units.

    Example:
        >>> from torch.distributions import Normal
        >>> part = IndependentUnits(Normal(torch.zeros(3, 2), 1.0, validate_args=False))
        >>> Joint([part, part]).event_shape
        torch.Size([4])
    """

    def __init__(self, parts: Sequence[Distribution]) -> None:
        self.parts = tuple(parts)
        self.has_rsample = all(part.has_rsample for part in self.parts)
        self._sizes = [part.event_shape[0] for part in self.parts]
        super().__init__(self.parts[0].batch_shape, torch.Size([sum(self._sizes)]))

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], dim=-1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([part.variance for part in self.parts], dim=-1)

    def unit_log_prob(self, values: Tensor) -> Tensor:
        return torch.cat([unit_log_prob(part, own) for part, own in self._split(values)], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        _check_values(value, self._event_shape)
        first, *rest = [part.log_prob(own) for part, own in self._split(value)]
        return sum(rest, start=first)

    def entropy(self) -> Tensor:
        first, *rest = [part.entropy() for part in self.parts]
        return sum(rest, start=first)

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        return torch.cat([draw(part, generator, sample_shape) for part in self.parts], dim=-1)

    def rsample(
        self, sample_shape: Shape = (), generator: torch.Generator | None = None
    ) -> Tensor:
        return torch.cat([rdraw(part, generator, sample_shape) for part in self.parts], dim=-1)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Joint:
        return Joint([part.expand(torch.Size(batch_shape)) for part in self.parts])

    def _split(self, values: Tensor) -> Iterator[tuple[Distribution, Tensor]]:
        return zip(self.parts, torch.split(values, self._sizes, dim=-1), strict=True)


def unit_log_prob(distribution: Distribution, values: Tensor) -> Tensor:
    r"""Returns the log-probability, or log-density, unit by unit.

    Arguments:
        distribution: The distribution of a layer: a `LayerDistribution`, or independent units.
        values: The values of the units, of shape (*, num_units).

    Returns:
        The terms in nats, of shape (*, num_units), whose sum over units is the log-probability.

    Raises:
        ValueError: If the last dimension of the values has another size.
        TypeError: If the distribution does not split into units.
    """
    _check_values(values, distribution.event_shape)
    if isinstance(distribution, LayerDistribution):
        return distribution.unit_log_prob(values)
    if isinstance(distribution, Independent) and has_independent_units(distribution):
        terms: Tensor = distribution.base_dist.log_prob(values)
        return terms
    raise TypeError(
        f"the distribution is {type(distribution).__name__}, but a term for each unit needs "
        "independent units, or a LayerDistribution that has them"
    )


def has_independent_units(distribution: Distribution) -> bool:
    r"""Returns whether the units of a layer's distribution are independent of each other."""
    if isinstance(distribution, Joint):
        return all(has_independent_units(part) for part in distribution.parts)
    return isinstance(distribution, Independent) and len(distribution.event_shape) == 1


def draw(
    distribution: Distribution,
    generator: torch.Generator | None = None,
    sample_shape: Shape = (),
) -> Tensor:
    r"""Returns draws of a distribution without gradient, of shape (*sample, *batch, *event).

    Arguments:
        distribution: The distribution, one of torch as well.
        generator: The source of randomness, on the device of the distribution; None for torch's.
        sample_shape: The shape of the draws before the batch.
    """
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    if isinstance(distribution, SeededDistribution):
        return distribution.sample(sample_shape, generator)
    if generator is None:
        return distribution.sample(torch.Size(sample_shape))
    with _torch_draws_from(generator):
        return distribution.sample(torch.Size(sample_shape))


def rdraw(
    distribution: Distribution,
    generator: torch.Generator | None = None,
    sample_shape: Shape = (),
) -> Tensor:
    r"""Returns draws that are differentiable in the parameters, where a distribution has some.

    Arguments:
        distribution: The distribution, one of torch as well.
        generator: The source of randomness, on the device of the distribution; None for torch's.
        sample_shape: The shape of the draws before the batch.

    Raises:
        NotImplementedError: If the distribution has no such draws.
    """
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    if isinstance(distribution, SeededDistribution):
        return distribution.rsample(sample_shape, generator)
    if generator is None:
        return distribution.rsample(torch.Size(sample_shape))
    with _torch_draws_from(generator):
        return distribution.rsample(torch.Size(sample_shape))


def mean_or_draw(distribution: Distribution, generator: torch.Generator | None = None) -> Tensor:
    r"""Returns the exact mean of a layer; of a part that has none, one draw, which estimates it.

    Arguments:
        distribution: The distribution of a layer.
        generator: The source of randomness of a draw, on the device of the distribution.
    """
    if isinstance(distribution, Joint):
        return torch.cat([mean_or_draw(part, generator) for part in distribution.parts], dim=-1)
    try:
        return distribution.mean
    except NotImplementedError:
        return draw(distribution, generator)


def full_precision(activations: Tensor) -> Tensor:
    r"""Returns activations as they are, except that those of half precision by autocast are full.

    A log-probability is a sum over many units, which half precision would blur.
    """
    is_half = activations.dtype in (torch.bfloat16, torch.float16)
    if is_half and torch.is_autocast_enabled(activations.device.type):
        return activations.float()
    return activations


def uniform_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Returns uniform numbers of [0, 1), in the shape, dtype and device of a tensor."""
    if generator is None:
        return torch.rand_like(like)  # which torch.compile can trace at any shape
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def logistic_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Returns draws of the standard logistic distribution, in the shape of a tensor."""
    # The margin keeps a uniform draw of exactly 0 from an infinitely far tail.
    margin = torch.finfo(like.dtype).eps / 2
    return torch.logit(uniform_like(like, generator), eps=margin)


@contextmanager
def _torch_draws_from(generator: torch.Generator) -> Iterator[None]:
    r"""Within it, torch's global source of randomness follows a generator, and resumes after."""
    device = generator.device
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else [], device_type="cuda"):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _check_values(values: Tensor, event_shape: torch.Size) -> None:
    if values.shape[-1:] != event_shape:
        raise ValueError(
            f"values have shape {tuple(values.shape)}, but the last dimension of a layer of "
            f"{event_shape[0]} units is {event_shape[0]}"
        )
