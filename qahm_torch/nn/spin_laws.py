r"""The laws of spins, one by one and as a class out of many, as torch distributions."""

from __future__ import annotations

__all__ = ["SpinBernoulli", "SpinOneHot"]

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softplus

from qahm_torch.nn.distributions import (
    LayerDistribution,
    SeededDistribution,
    Shape,
    logistic_like,
    uniform_like,
)


class SpinBernoulli(SeededDistribution):
    r"""Single spins of +-1, which is torch's `Bernoulli` in the coding of spins.

    .. math::
        p(s \mid a) = \frac{e^{a s}}{2 \cosh a} = \sigma(2 a s)

    Between +1 and -1 the log-probability is that of the right-hand side, so the gradient with
    respect to a relaxed spin is that of this extension, not of the left-hand side.

    Given a temperature, `rsample` draws relaxed spins, of the binary concrete distribution on
    (-1, 1); their signs have the distribution above, and they tend to their signs as the
    temperature tends to 0. If they are hard, they are their signs, with the gradient of the
    relaxed ones (straight-through). The log-probability is then that of the left-hand side, which
    is linear in between, as the energy of a Boltzmann machine is in each spin. It is not the
    density of the relaxed draws.

    Arguments:
        activation: The natural parameters a, of shape (*).
        temperature: That of the relaxed draws; None for no such draws.
        hard: Whether the relaxed draws are spins, whose gradient alone is relaxed.

    References:
        | GumBolt: extending Gumbel trick to Boltzmann priors (Khoshaman & Amin, 2018)
        | https://arxiv.org/abs/1805.07349
        | The concrete distribution: a continuous relaxation of discrete random variables
          (Maddison, Mnih, Teh, 2016)
        | https://arxiv.org/abs/1611.00712

    Example:
        >>> SpinBernoulli(torch.tensor([0.0, 1.0])).mean
        tensor([0.0000, 0.7616])
    """

    def __init__(
        self, activation: Tensor, temperature: float | None = None, hard: bool = False
    ) -> None:
        self.activation = activation
        self.temperature = temperature
        self.hard = hard
        self.has_rsample = temperature is not None
        super().__init__(activation.shape)

    @property
    def mean(self) -> Tensor:
        return torch.tanh(self.activation)

    @property
    def variance(self) -> Tensor:
        return torch.cosh(self.activation).square().reciprocal()

    def log_prob(self, value: Tensor) -> Tensor:
        if self.temperature is not None:
            spins = value.to(self.activation.dtype)
            return self.activation * (spins + 1) - softplus(2 * self.activation)
        # Doubling the values keeps one multiplication out of the backward pass.
        return logsigmoid(self.activation * (2 * value.to(self.activation.dtype)))

    def entropy(self) -> Tensor:
        a = 2 * self.activation
        return -torch.sigmoid(a) * logsigmoid(a) - torch.sigmoid(-a) * logsigmoid(-a)

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        a = self._spread(self.activation, sample_shape)
        # Up where u < sigmoid(2a). The sign costs less than a comparison and its conversion, and
        # that of -0 is negative, so that a draw of sigmoid(2a) itself counts as not below it.
        below = uniform_like(a, generator).sub_(torch.sigmoid(2 * a)).neg_()
        return torch.ones_like(below).copysign_(below)

    def rsample(
        self, sample_shape: Shape = (), generator: torch.Generator | None = None
    ) -> Tensor:
        if self.temperature is None:
            return super().rsample(sample_shape, generator)
        a = self._spread(self.activation, sample_shape)
        relaxed = torch.tanh((a + logistic_like(a, generator) / 2) / self.temperature)
        if not self.hard:
            return relaxed
        return relaxed + (torch.ones_like(relaxed).copysign(relaxed) - relaxed).detach()

    def expand(self, batch_shape: Shape, _instance: object = None) -> SpinBernoulli:
        activation = self.activation.expand(torch.Size(batch_shape))
        return SpinBernoulli(activation, self.temperature, self.hard)


class SpinOneHot(LayerDistribution):
    r"""One class out of many as spins, which is torch's `OneHotCategorical` in their coding.

    .. math::
        \log p(s \mid a) = \sum_i \frac{s_i + 1}{2} \log \operatorname{softmax}(a)_i

    The term of a unit is zero unless the unit is +1, so that a sum over some of the units is
    the log-probability of the class where the class is among them, and zero where it is not. So
    is the term of a unit that is not known, NaN: a class that is missing does not count.

    Given a temperature, `rsample` draws relaxed classes, 2 x - 1 of the concrete distribution.

    Arguments:
        logits: The activations a, of shape (*, num_units).
        temperature: That of the relaxed draws; None for no such draws.

    References:
        | A* sampling (Maddison, Tarlow, Minka, 2014), for the draw by Gumbel noise
        | https://arxiv.org/abs/1411.0030
        | The concrete distribution: a continuous relaxation of discrete random variables
          (Maddison, Mnih, Teh, 2016)
        | https://arxiv.org/abs/1611.00712

    Example:
        >>> SpinOneHot(torch.zeros(3)).mean
        tensor([-0.3333, -0.3333, -0.3333])
    """

    def __init__(self, logits: Tensor, temperature: float | None = None) -> None:
        self.logits = logits
        self.temperature = temperature
        self.has_rsample = temperature is not None
        super().__init__(logits.shape[:-1], logits.shape[-1:])

    @property
    def mean(self) -> Tensor:
        return 2 * torch.softmax(self.logits, dim=-1) - 1

    @property
    def variance(self) -> Tensor:
        p = torch.softmax(self.logits, dim=-1)
        return 4 * p * (1 - p)

    def unit_log_prob(self, values: Tensor) -> Tensor:
        chosen = (values.to(self.logits.dtype) + 1) / 2
        return chosen.masked_fill(chosen.isnan(), 0.0) * log_softmax(self.logits, dim=-1)

    def entropy(self) -> Tensor:
        log_p = log_softmax(self.logits, dim=-1)
        return -(log_p.exp() * log_p).sum(-1)

    def _sample(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        logits = self._spread(self.logits, sample_shape)
        # Gumbel-max rather than torch.multinomial, whose check of its input synchronizes a GPU.
        winner = (logits + _gumbel_like(logits, generator)).argmax(-1, keepdim=True)
        return torch.full_like(logits, -1.0).scatter_(-1, winner, 1.0)

    def rsample(
        self, sample_shape: Shape = (), generator: torch.Generator | None = None
    ) -> Tensor:
        if self.temperature is None:
            return super().rsample(sample_shape, generator)
        logits = self._spread(self.logits, sample_shape)
        noisy = (logits + _gumbel_like(logits, generator)) / self.temperature
        return 2 * torch.softmax(noisy, dim=-1) - 1

    def expand(self, batch_shape: Shape, _instance: object = None) -> SpinOneHot:
        shape = torch.Size(batch_shape) + self.event_shape
        return SpinOneHot(self.logits.expand(shape), self.temperature)


def _gumbel_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return uniform_like(like, generator).log_().neg_().log_().neg_()
