r"""The maximum mean discrepancy of spins, and training by it from readings alone."""

from __future__ import annotations

__all__ = ["SampledMMD", "gaussian_kernel", "squared_mmd"]

from collections.abc import Sequence

import torch
from torch import Tensor

from qahm_torch.priors.circuit import CircuitPrior


def gaussian_kernel(s: Tensor, t: Tensor, bandwidths: Sequence[float]) -> Tensor:
    r"""Returns a mean of Gaussian kernels of all pairs of states.

    .. math::
        K(s, t) = \frac1B \sum_\sigma e^{-d(s, t) / 2 \sigma^2}

    where d is the number of spins that differ.

    Arguments:
        s: States of shape (A, N).
        t: States of shape (B, N).
        bandwidths: The bandwidths :math:`\sigma`.

    Returns:
        The kernel, of shape (A, B).
    """
    distance = (s.shape[-1] - s @ t.T) / 2
    return torch.stack([torch.exp(-distance / (2 * b**2)) for b in bandwidths]).mean(0)


def squared_mmd(s: Tensor, t: Tensor, bandwidths: Sequence[float]) -> Tensor:
    r"""Returns an unbiased estimate of the squared maximum mean discrepancy of two laws.

    .. math::
        \mathrm{MMD}^2 = E[K(s, s')] - 2 E[K(s, t)] + E[K(t, t')]

    It can be below 0, since it is unbiased.

    Arguments:
        s: Samples of one law, of shape (A, N), at least 2.
        t: Samples of the other, of shape (B, N), at least 2.
        bandwidths: The bandwidths of `gaussian_kernel`.

    Raises:
        ValueError: If there are fewer than 2 samples of a law.

    References:
        | A kernel two-sample test (Gretton et al., 2012)
        | https://jmlr.org/papers/v13/gretton12a.html

    Example:
        >>> up, down = torch.ones(4, 3), -torch.ones(4, 3)
        >>> squared_mmd(up, up, [1.0]), squared_mmd(up, down, [1.0])
        (tensor(0.), tensor(1.5537))
    """
    if min(len(s), len(t)) < 2:
        raise ValueError(f"there are {len(s)} and {len(t)} samples, but at least 2 are needed")

    def within(x: Tensor) -> Tensor:
        kernel = gaussian_kernel(x, x, bandwidths)
        return (kernel.sum() - kernel.diagonal().sum()) / (len(x) * (len(x) - 1))

    return within(s) - 2 * gaussian_kernel(s, t, bandwidths).mean() + within(t)


class SampledMMD:
    r"""The squared maximum mean discrepancy of a circuit and data, by readings of the circuit.

    It asks of the circuit nothing but readings, as a device gives them: at its angles for the
    value, and at two shifted angles per angle for the gradient,

    .. math::
        \frac{\partial \, \mathrm{MMD}^2}{\partial \theta_k} =
        E_{p_{k+}}[w] - E_{p_{k-}}[w], \qquad
        w(s) = E_p[K(s, \cdot)] - E_{\text{data}}[K(s, \cdot)],

    where the laws :math:`p_{k \pm}` are those at :math:`\theta_k \pm \pi / 2`. Both are unbiased
    estimates. A step with P angles takes (2 P + 1) times `num_samples` readings; without a
    gradient (`torch.no_grad`), `num_samples`.

    Arguments:
        bandwidths: The bandwidths of `gaussian_kernel`.
        num_samples: The number of readings at each setting of the angles, at least 2.

    Raises:
        ValueError: If a bandwidth is not positive, or there are too few samples.

    References:
        | Differentiable learning of quantum circuit Born machines (Liu & Wang, 2018)
        | https://arxiv.org/abs/1804.04168

    Example:
        >>> from qahm_torch import CircuitPrior, hardware_efficient
        >>> prior = CircuitPrior(3, hardware_efficient(1))
        >>> SampledMMD([1.0], num_samples=50)(prior, torch.ones(5, 3)).backward()
        >>> prior.angles.grad.shape
        torch.Size([9])
    """

    def __init__(self, bandwidths: Sequence[float] = (0.5, 1.0, 2.0), num_samples: int = 1000):
        check_bandwidths(bandwidths)
        if num_samples < 2:
            raise ValueError(f"num_samples is {num_samples}, but at least 2 are needed")
        self.bandwidths = tuple(bandwidths)
        self.num_samples = num_samples

    def __call__(
        self, circuit: CircuitPrior, data: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns the estimate for data (B, N), whose backward gives that of the gradient."""
        angles = circuit.angles
        (own,) = circuit.read(self.num_samples, angles.detach()[None], generator=generator)
        value = squared_mmd(own, data, self.bandwidths)
        if not torch.is_grad_enabled():
            return value
        gradient = self._gradient(circuit, own, data, generator)
        # The second term is 0, and has the gradient.
        return value + gradient @ (angles - angles.detach())

    @torch.no_grad()
    def _gradient(
        self, circuit: CircuitPrior, own: Tensor, data: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        shifted = circuit.shifted_angles()
        read = circuit.read(self.num_samples, shifted.flatten(0, 1), generator=generator)
        rows, which = _distinct(read.flatten(0, 1))
        kernels = [gaussian_kernel(rows, t, self.bandwidths).mean(-1) for t in (own, data)]
        witness = (kernels[0] - kernels[1])[which]
        means = witness.view(2, len(circuit.angles), -1).mean(-1)
        return means[0] - means[1]


def check_bandwidths(bandwidths: Sequence[float]) -> None:
    r"""Refuses bandwidths of a kernel that are none.

    Raises:
        ValueError: If there is none, or one is not positive.
    """
    if len(bandwidths) == 0 or min(bandwidths) <= 0:
        raise ValueError(f"bandwidths are {list(bandwidths)}, but one or more above 0 are needed")


def _distinct(spins: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the states that occur, and which of them each row is: few, of many readings."""
    places = 1 << torch.arange(spins.shape[-1], device=spins.device)
    codes, which = torch.unique((spins > 0).long() @ places, return_inverse=True)
    return ((codes.unsqueeze(-1) & places) > 0).to(spins) * 2 - 1, which
