r"""What all priors that are Boltzmann machines share: parameters, chains, log Z, and a sampler."""

from __future__ import annotations

__all__ = ["BoltzmannPrior"]

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qahm_torch.ising import (
    Beta,
    Chains,
    CouplingGraph,
    Ising,
    Moments,
    Samples,
    estimate_beta,
    log_partition,
    moments,
)
from qahm_torch.ising.enumeration import MAX_QUANTUM_SPINS
from qahm_torch.nn import Prior
from qahm_torch.nn.loading import AtomicLoading
from qahm_torch.priors.sharing import from_first_process, is_first_process
from qahm_torch.samplers import (
    ExactSampler,
    GibbsSampler,
    LogZ,
    Sampler,
    Submission,
    estimate_log_z,
)

INITIAL_COUPLING = 0.2


class BoltzmannPrior(AtomicLoading, Prior):
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
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}, but at least 1 sample is needed")
        self.graph = graph
        self.h = nn.Parameter(torch.empty(graph.num_spins))
        self.J = nn.Parameter(torch.empty(graph.num_edges))
        field = Ising(graph, self.h.detach(), self.J.detach(), gamma).gamma
        self.register_buffer("gamma", None if field is None else field.clone(), persistent=False)
        self.register_buffer("log_z", torch.zeros(()))
        self.sampler = sampler or self._default_sampler()
        self.num_samples = num_samples
        self.persistent = persistent
        self.chains: Chains | None = None
        self._pending: Submission | None = None
        self._drawn: tuple[int, Samples] | None = None  # by the backward pass of that number
        self._shared: list[Samples] | None = None  # within `shared_negative`: none, or the one

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
        negative_phase = partial(self._negative_moments, negative)
        if torch._C._are_functorch_transforms_active():
            # Their backward pass runs once `functional_call` has put the parameters back.
            if negative is None:
                raise RuntimeError(
                    "negative is None, but a transform of torch.func must not call the sampler: "
                    "draw samples before, and pass them as `negative` to log_prob"
                )
            samples = self._as_samples(negative)
            negative_phase = partial(moments, self.graph, samples.spins, samples.weights)
        return log_partition(self.h, self.J, self.log_z, negative_phase)

    def energy(self, spins: Tensor) -> Tensor:
        r"""Returns the classical energies of shape (*) of all spins, of shape (*, N)."""
        return self.ising().energy(spins)

    def ising(self) -> Ising:
        r"""Returns the model of the present parameters, differentiable in them."""
        return Ising(self.graph, self.h, self.J, self.gamma)

    def draw(self) -> Samples:
        r"""Runs the negative phase now: `num_samples` samples, for which the chains run on.

        To share one call of the sampler between several uses, pass the answer as `negative`.
        """
        if self._shared is None:
            return self._asked()
        if not self._shared:
            self._shared.append(self._asked())
        return self._shared[0]

    def prefetch(self) -> None:
        r"""Submits the negative phase; the next `draw` or backward pass uses its samples."""
        if self._pending is None and (is_first_process() or not self.sampler.is_billed):
            self._pending = self._submit()

    @contextmanager
    def shared_negative(self) -> Iterator[None]:
        r"""Within it, all draws and backward passes use one negative phase.

        The first of them asks the sampler, and the parameters should stay as they are until the
        last.

        Example:
            >>> from qahm_torch import QuantumPriorLayer
            >>> layer, spins = QuantumPriorLayer(4), torch.ones(2, 4)
            >>> with layer.shared_negative():
            ...     (-layer(spins).mean()).backward()
            ...     dreams = layer.draw()
        """
        outer, self._shared = self._shared, [] if self._shared is None else self._shared
        try:
            yield
        finally:
            self._shared = outer

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        clamp: Tensor | None = None,
        sampler: Sampler | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns samples of all spins, of shape (n, N).

        They start from copies of the prior's chains where there are some and nothing is clamped,
        and leave those as they are.

        Arguments:
            num_samples: The number of samples n.
            clamp: Spins to hold, of shape (N,) or (n, N): +-1, or 0 for free.
            sampler: A sampler to use instead of the prior's.
            generator: The source of random numbers.
        """
        state = None
        if clamp is None and sampler is None and self.chains is not None:
            device = self.chains.spins.device
            state = self.chains.rows(_spread(len(self.chains), num_samples, device, generator))
        sampler = sampler or self.sampler
        return sampler.sample(
            self.ising(), num_samples, clamp=clamp, state=state, generator=generator
        ).spins

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
        weights = self._weights(samples)
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

    def forget_chains(self) -> None:
        r"""Drops the chains and any samples asked for: the next negative phase starts fresh."""
        self.chains = None
        self._pending = None
        self._drawn = None

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

    def _default_sampler(self) -> Sampler:
        if self.gamma is None:
            return GibbsSampler(num_sweeps=10)
        if self.graph.num_spins > MAX_QUANTUM_SPINS:
            raise ValueError(
                f"{self.graph.num_spins} spins with a transverse field need a `sampler` of "
                f"quantum thermal states; the default, ExactSampler, takes up to "
                f"{MAX_QUANTUM_SPINS}"
            )
        return ExactSampler()

    def _asked(self) -> Samples:
        r"""Returns the samples of the sampler, which are those of all processes where it bills."""
        samples = from_first_process(self._taken) if self.sampler.is_billed else self._taken()
        if self.persistent:
            self.chains = samples.state
        return samples

    def _taken(self) -> Samples:
        pending, self._pending = self._pending or self._submit(), None
        return pending.result()

    def _submit(self) -> Submission:
        state = self.chains if self.persistent else None
        return self.sampler.submit(self.ising(), self.num_samples, state=state)

    def _negative_moments(self, negative: Tensor | Samples | None) -> Moments:
        samples = self._as_samples(self._of_this_backward() if negative is None else negative)
        if not torch.is_grad_enabled():
            return moments(self.graph, samples.spins, samples.weights)
        if self.gamma is not None:
            raise RuntimeError(
                "second derivatives of log Z need gamma = 0: with a transverse field they are no "
                "covariances of what is measured"
            )
        # For a second derivative, the moments themselves have a gradient: the covariances.
        return moments(self.graph, samples.spins, self._weights(samples))

    def _of_this_backward(self) -> Samples:
        r"""Returns the samples of the backward pass that runs, drawn by its first need of them."""
        number = torch._C._current_graph_task_id()
        if self._drawn is None or self._drawn[0] != number or number < 0:
            self._drawn = (number, self.draw())
        return self._drawn[1]

    def _weights(self, samples: Samples) -> Tensor:
        r"""Returns weights (S,) that are those of the samples, with a gradient in h and J."""
        energy = self.energy(samples.spins)
        # Reweighting that is 1 in value has the covariance as its gradient.
        weights = torch.exp(energy.detach() - energy)
        return weights if samples.weights is None else weights * samples.weights.to(weights)

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
        # Reading values stops a compiler and stalls a GPU; there the shape must do.
        is_traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        if not is_traced and spins.device.type == "cpu":
            _check_spin_values(spins)

    def __getstate__(self) -> dict[str, Any]:
        # Samples under way belong to this process and this object.
        return {**self.__dict__, "_pending": None, "_drawn": None, "_shared": None}


def _check_spin_values(spins: Tensor) -> None:
    if spins.numel() == 0:
        return
    low, high = (float(x) for x in spins.detach().aminmax())
    if not (low >= -1 - 1e-6 and high <= 1 + 1e-6):
        value = low if not low >= -1 - 1e-6 else high
        raise ValueError(f"spins hold {value}, but spins are -1 or +1 (relaxed ones in between)")
    if low == 0 and bool(((spins == 0) | (spins == 1)).all()):
        raise ValueError("spins hold bits, 0 and 1, but spins are -1 and +1: use 2 * bits - 1")


def _spread(
    num_chains: int, num_samples: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    r"""Returns random rows of the chains, each as often as the others up to one."""
    rounds = -(-num_samples // num_chains)
    rows = [torch.randperm(num_chains, generator=generator, device=device) for _ in range(rounds)]
    return torch.cat(rows)[:num_samples]
