r"""Spins smoothed by overlapping exponentials: continuous states that tell of them."""

from __future__ import annotations

__all__ = ["Smoothing", "check_beta", "smooth"]

import math
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from qahm_torch.nn.distributions import uniform_like
from qahm_torch.nn.spin_laws import SpinBernoulli

MAX_BETA = 50.0  # beyond it the squares of the hyperbolic sines overflow in single precision

# Of so sure a spin, the smoothed state no longer depends on the activation: by e^-32 at most.
_MAX_ACTIVATION = 16.0


def smooth(activation: Tensor, beta: float, generator: torch.Generator | None = None) -> Tensor:
    r"""Returns smoothed states t of spins with activations f, differentiable in these.

    .. math::
        r(t \mid s) = \frac{b}{2 \sinh b} \, e^{b s t}, \quad -1 \le t \le 1, \quad b = \beta / 2,
        \qquad q(t) = \sum_{s = \pm 1} \frac{e^{f s}}{2 \cosh f} \, r(t \mid s)
        = \frac{b \cosh(f + b t)}{2 \sinh b \cosh f},

    which in :math:`\zeta = (1 + t) / 2` is the mixture of
    :math:`r(\zeta | 0) \propto e^{-\beta \zeta}` and
    :math:`r(\zeta | 1) \propto e^{\beta (\zeta - 1)}` on [0, 1]. The inverse of its distribution
    function, at uniform u, is

    .. math::
        t = \frac1b \big( \operatorname{arsinh}( u \sinh(f + b) + (1 - u) \sinh(f - b)) - f \big).

    Arguments:
        activation: The activations f, half the log-odds of the spins, of shape (*).
        beta: The steepness of the exponentials; t is near the spin where it is large.
        generator: The source of u.

    Raises:
        ValueError: If beta is not positive, or above 50.

    References:
        | DVAE++: discrete variational autoencoders with overlapping transformations (Vahdat et
          al., 2018)
        | https://arxiv.org/abs/1802.04920

    Example:
        >>> f = torch.zeros(10_000, requires_grad=True)
        >>> t = smooth(f, beta=8.0, generator=torch.Generator().manual_seed(0))
        >>> bool((t.abs() <= 1).all()), bool(t.abs().mean() > 0.7)
        (True, True)
        >>> t.sum().backward()
    """
    b = check_beta(beta) / 2
    f = activation.clamp(-_MAX_ACTIVATION, _MAX_ACTIVATION)
    u = uniform_like(f, generator)
    t = (torch.asinh(u * torch.sinh(f + b) + (1 - u) * torch.sinh(f - b)) - f) / b
    # Rounding may leave the interval, which priors check.
    return t.clamp(-1, 1)


class Smoothing:
    r"""Draws smoothed states of groups of spins, and says what is then known of the spins.

    Given all smoothed states, spins are independent of each other, with means

    .. math::
        m_i = E[s_i \mid t] = \tanh(f_i + b t_i),

    where the activation :math:`f_i` may depend on the smoothed states of earlier groups. Before
    those of its own group are known, a spin has the mean :math:`\mu_i = \tanh f_i`.

    Arguments:
        beta: The steepness of the exponentials (see `smooth`).
        generator: The source of randomness.

    Raises:
        ValueError: If beta is not positive, or above 50.

    Example:
        >>> from qahm_torch import GroupedRecognition
        >>> recognition, smoothing = GroupedRecognition(6, 4, num_groups=2), Smoothing(8.0)
        >>> states, _ = recognition.run(torch.ones(5, 6), smoothing)
        >>> states[0].shape, smoothing.entropy.shape, [len(m[0]) for m in smoothing.means]
        (torch.Size([5, 4]), torch.Size([5]), [2, 2])
    """

    means: list[Tensor]
    r"""The means of the spins before their own group, (*, width) for each group."""

    posterior_means: list[Tensor]
    r"""The means of the spins given the smoothed states, (*, width) for each group."""

    entropy: Tensor
    r"""The sum of the entropies of the groups, each given the earlier ones, (*), in nats."""

    def __init__(self, beta: float, generator: torch.Generator | None = None):
        self.beta = check_beta(beta)
        self.generator = generator
        self.means = []
        self.posterior_means = []
        self.entropy = torch.zeros(())

    def __call__(self, number: int, law: Distribution) -> Tensor:
        r"""Returns smoothed states (*, width) of a group of spins, given its distribution."""
        f = cast(SpinBernoulli, cast("Independent[Distribution]", law).base_dist).activation
        t = smooth(f, self.beta, self.generator)
        self.means.append(torch.tanh(f))
        self.posterior_means.append(torch.tanh(f + self.beta / 2 * t))
        self.entropy = self.entropy + law.entropy()
        return t


def check_beta(beta: float) -> float:
    r"""Returns the steepness of a smoothing; raises ValueError if it is out of its range."""
    if not 0 < beta <= MAX_BETA or math.isnan(beta):
        raise ValueError(f"beta is {beta}, but smoothed spins need one above 0, up to {MAX_BETA}")
    return beta
