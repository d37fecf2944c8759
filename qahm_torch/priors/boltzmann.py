r"""What all priors that are Boltzmann machines share: parameters, chains, log Z, and a sampler."""

from __future__ import annotations

__all__ = ["BoltzmannPrior"]

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from qahm_torch.ising import (
    Beta,
    CouplingGraph,
    Ising,
    Moments,
    Samples,
    estimate_beta,
    log_partition,
    moments,
)
from qahm_torch.ising.enumeration import MAX_QUANTUM_SPINS
from qahm_torch.ising.transforms import refuse_transforms
from qahm_torch.nn.loading import AtomicLoading
from qahm_torch.priors.sampled import SampledPrior
from qahm_torch.priors.spin_values import check_spins
from qahm_torch.samplers import (
    ExactSampler,
    GibbsSampler,
    LogZ,
    Sampler,
    estimate_log_z,
)

INITIAL_COUPLING = 0.2
PASS_THEM = "and pass them as `negative` to log_prob"


class BoltzmannPrior(AtomicLoading, SampledPrior):
    r"""A prior that a Boltzmann machine on a graph stands behind.

    Samples are spins of the graph, (*, N); a subclass says how the visible ones lie in them, and
    has their log-probability.

    *When the sampler is called.* Never in a forward pass; once per backward pass through
    `log_prob`, for `num_samples` samples (the negative phase), however often `log_prob` stands in
    the loss, unless `negative` is given or `prefetch` has asked for them before. With
    `shared_negative` several backward passes use the same samples. Of several processes, only the
    first asks a sampler that bills, and shares its samples.

    *Chains.* With `persistent`, the chains of one negative phase start where the last ones ended.
    They are in `chains`, neither parameters nor buffers; the Lightning modules save them.

    Arguments:
        graph: The graph.
        gamma: The transverse field, one number or one of each spin.
        sampler: The sampler of the negative phase, which may be replaced at any time. The default
            is `GibbsSampler(num_sweeps=10)`, or `ExactSampler()` where gamma is not 0.
        num_samples: The number of samples of a negative phase.
        persistent: Whether chains run on from one negative phase to the next.

    Raises:
        ValueError: If `num_samples` is not positive, or gamma is not 0 and there are too many
            spins for the default sampler.
    """

    gamma: Tensor | None
    log_z: Tensor

    def __init__(
        self,
        graph: CouplingGraph,
        *,
        gamma: float | Tensor = 0.0,
        sampler: Sampler | None = None,
        num_samples: int = 1024,
        persistent: bool = True,
    ):
        super().__init__(sampler or _default_sampler(graph, gamma), num_samples, persistent)
        self.graph = graph
        self.h = nn.Parameter(torch.empty(graph.num_spins))
        self.J = nn.Parameter(torch.empty(graph.num_edges))
        field = Ising(graph, self.h.detach(), self.J.detach(), gamma).gamma
        self.register_buffer("gamma", None if field is None else field.clone(), persistent=False)
        self.register_buffer("log_z", torch.zeros(()))

    @abstractmethod
    def from_visible(self, spins: Tensor) -> Tensor:
        r"""Returns all spins (B, N) of visible ones (B, N_visible)."""

    @abstractmethod
    def clamp_of(self, visible: Tensor) -> Tensor:
        r"""Returns what holds visible spins: (*, N_visible) -> (*, N), 0 for spins to be free."""

    def log_partition(self, negative: Tensor | Samples | None = None) -> Tensor:
        r"""Returns `log_z`, a scalar, with the gradient of log Z by samples of the model.

        Arguments:
            negative: Samples of the model to use instead of calling the sampler, of shape (S, N).
        """
        ising = self.ising()
        h, J, gamma = ising.h, ising.J, ising.gamma
        if negative is None:
            refuse_transforms(f"call the sampler: draw samples before, {PASS_THEM}", h, J)
        samples = None if negative is None else self._as_samples(negative)
        return log_partition(h, J, self.log_z, partial(self._negative_moments, samples, gamma))

    def energy(self, spins: Tensor) -> Tensor:
        r"""Returns the classical energies of shape (*) of all spins, of shape (*, N)."""
        return self.ising().energy(spins)

    def ising(self) -> Ising:
        r"""Returns the model of the present parameters, differentiable in them."""
        return Ising(self.graph, self.h, self.J, self.gamma)

    def expectation(
        self,
        statistic: Callable[[Tensor], Tensor],
        negative: Tensor | Samples | None = None,
    ) -> Tensor:
        r"""Returns :math:`E[f(s)]`, differentiable in h and J by the covariance with f.

        .. math::
            \partial E[f] / \partial h_i = -\operatorname{Cov}(f, s_i), \qquad
            \partial E[f] / \partial J_{ij} = -\operatorname{Cov}(f, s_i s_j).

        The gradient holds for gamma = 0. Unlike `log_prob`, this calls the sampler at once, since
        the value itself is a mean over samples.

        Arguments:
            statistic: Maps spins of shape (S, N) to values of shape (S, *).
            negative: Samples of the model to use instead of calling the sampler.

        Raises:
            ValueError: If gamma is not 0.
        """
        if self.gamma is not None:
            raise ValueError("the covariance gradient needs gamma = 0")
        samples = self._as_samples(self.draw() if negative is None else negative)
        weights = _weights(samples, self.ising())
        mean: Tensor = torch.tensordot(weights / weights.sum(), statistic(samples.spins), 1)
        return mean

    def estimate_log_z(
        self,
        *,
        num_chains: int = 512,
        num_temperatures: int = 500,
        generator: torch.Generator | None = None,
    ) -> LogZ:
        r"""Estimates log Z, stores the value in `log_z` and returns (value, lower, upper, stderr).

        Exact where the size allows, otherwise by annealed importance sampling in both directions;
        see `qahm_torch.samplers.estimate_log_z` for arguments and method.
        """
        estimate = estimate_log_z(
            self.ising().detach(),
            num_chains=num_chains,
            num_temperatures=num_temperatures,
            generator=generator,
        )
        self.log_z.fill_(estimate.value)
        return estimate

    @torch.no_grad()
    def estimate_beta(self, samples: Samples | None = None) -> Beta:
        r"""Returns the inverse temperature of samples of the prior, new ones by default.

        It is 1 within errors if the sampler is at the temperature that it should be at.
        """
        samples = self.draw() if samples is None else samples
        return estimate_beta(self.ising().detach(), samples.spins, samples.weights)

    def reset_parameters(self) -> None:
        r"""Draws weak couplings, forgets the chains and estimates log Z anew.

        Fields are 0 and couplings normal with standard deviation 0.2 over the square root of the
        mean degree, so weak that 10 Gibbs sweeps reach equilibrium from any start.
        """
        degree = max(1.0, 2 * self.graph.num_edges / self.graph.num_spins)
        with torch.no_grad():
            self.h.zero_()
            self.J.normal_(0, INITIAL_COUPLING / degree**0.5)
        self.forget_chains()
        # So weak a model is annealed with little scatter, the less the more spins average it out.
        num_chains = min(128, max(16, 20_000 // self.graph.num_spins))
        self._anchor(num_chains, num_temperatures=16)

    def _anchor(self, num_chains: int, num_temperatures: int) -> None:
        # A generator of its own: how well log Z is estimated must not move the user's seed.
        generator = torch.Generator(self.h.device).manual_seed(0)
        self.estimate_log_z(
            num_chains=num_chains, num_temperatures=num_temperatures, generator=generator
        )

    def _negative_moments(
        self, samples: Samples | None, gamma: Tensor | None, h: Tensor, J: Tensor
    ) -> Moments:
        r"""Returns the moments of the model that the forward pass had, or of samples of it."""
        if samples is None:
            drawn = self._of_this_backward(Ising(self.graph, h, J, gamma))
            samples = self._as_samples(drawn)
        if not torch.is_grad_enabled():
            return moments(self.graph, samples.spins, samples.weights)
        if gamma is not None:
            raise RuntimeError(
                "second derivatives of log Z need gamma = 0: with a transverse field they are no "
                "covariances of what is measured"
            )
        # For a second derivative, the moments themselves have a gradient: the covariances.
        weights = _weights(samples, Ising(self.graph, h, J))
        return moments(self.graph, samples.spins, weights)

    def _as_samples(self, negative: Tensor | Samples) -> Samples:
        samples = Samples(negative) if isinstance(negative, Tensor) else negative
        spins = samples.spins.detach().to(self.h)
        if spins.ndim != 2 or spins.shape[1] != self.graph.num_spins:
            raise ValueError(
                f"negative has shape {tuple(spins.shape)}, but samples of this layer have "
                f"(S, {self.graph.num_spins})"
            )
        return samples._replace(spins=spins)

    def _check_visible(self, spins: Tensor) -> None:
        if spins.shape[-1:] != (self.num_visible,):
            raise ValueError(
                f"spins of shape {tuple(spins.shape)} do not fit {self.num_visible} visible "
                "spins: the last dimension is the spin"
            )

    def _check_spins(self, spins: Tensor) -> None:
        self._check_visible(spins)
        check_spins(spins)


def _default_sampler(graph: CouplingGraph, gamma: float | Tensor) -> Sampler:
    if not bool((torch.as_tensor(gamma) != 0).any()):
        return GibbsSampler(num_sweeps=10)
    if graph.num_spins > MAX_QUANTUM_SPINS:
        raise ValueError(
            f"{graph.num_spins} spins with a transverse field need a `sampler` of quantum thermal "
            f"states; the default, ExactSampler, takes up to {MAX_QUANTUM_SPINS}"
        )
    return ExactSampler()


def _weights(samples: Samples, ising: Ising) -> Tensor:
    r"""Returns weights (S,) that are those of the samples, with a gradient in h and J."""
    energy = ising.energy(samples.spins)
    # Reweighting that is 1 in value has the covariance as its gradient.
    weights = torch.exp(energy.detach() - energy)
    return weights if samples.weights is None else weights * samples.weights.to(weights)
