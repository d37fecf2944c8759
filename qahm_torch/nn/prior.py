r"""The Boltzmann machine as a module whose gradient comes from a sampler."""

from __future__ import annotations

__all__ = ["QuantumPriorLayer"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qahm_torch.ising import (
    Beta,
    CouplingGraph,
    Ising,
    Moments,
    estimate_beta,
    log_partition,
    moments,
)
from qahm_torch.ising.exact import MAX_QUANTUM_SPINS
from qahm_torch.nn.free_energy import HiddenUnits
from qahm_torch.nn.interface import Prior
from qahm_torch.samplers import (
    ExactSampler,
    GibbsSampler,
    LogZ,
    Sampler,
    Samples,
    Submission,
    estimate_log_z,
)

INITIAL_COUPLING = 0.2


class QuantumPriorLayer(Prior):
    r"""A Boltzmann machine over spins, trained through samples of it.

    .. math::
        \log p(v) = -F(v) - \log Z, \qquad F(v) = -\log \sum_u e^{-E(v, u)},

    where v are the visible spins and u the hidden ones, if there are any. `layer(v)` is
    `layer.log_prob(v)`, and `(-layer(v).mean()).backward()` is a step of maximum likelihood.

    *When the sampler is called.* Never in a forward pass; exactly once per backward pass through
    `log_prob`, for `num_samples` samples (the negative phase), unless `negative` is given or
    `prefetch` has asked for them before.

    *Gradient.* The data side is exact and the model side is the mean over the samples. With exact
    samples it is the gradient of the log-likelihood for gamma = 0; for gamma > 0 it is that of
    the lower bound :math:`-F(v) - \log Z(\Gamma)` with the classical F. That bound drives Gamma to
    0, which is why gamma is a setting and not a parameter. The gradient also flows to the spins,
    so relaxed or straight-through encoders can be trained through the layer.

    *Value.* log Z is a stored estimate, the buffer `log_z`: set at construction, renewed by
    `estimate_log_z`, and stale in between, which the gradient is not.

    *Hidden units.* They are summed out exactly where they are not connected to each other, or in
    connected groups of up to 10. In larger groups, the value is a mean-field lower bound, and the
    gradient comes from samples of the hidden units given the visible ones, drawn in the backward
    pass by the layer's `hidden_sampler` (never by a device, which would be programmed once per
    datum).

    *Chains.* With `persistent`, the chains of one negative phase start where the last ones
    ended. They are in `chains`, neither parameters nor buffers; the Lightning modules save them.

    Arguments:
        graph_or_n: The graph, or a number of spins for a complete one.
        hidden: The spins that are hidden. The visible ones are the others, in order.
        gamma: The transverse field, one number or one of each spin.
        sampler: The sampler of the negative phase, which may be replaced at any time. The default
            is `GibbsSampler(num_sweeps=10)`, or `ExactSampler()` where gamma is not 0.
        num_samples: The number of samples of a negative phase.
        persistent: Whether chains run on from one negative phase to the next.
        hidden_sampler: The classical sampler of large groups of connected hidden units, by default
            `GibbsSampler(num_sweeps=20)`.

    Raises:
        ValueError: If a hidden spin is not in the graph, no spin is visible, `num_samples` is not
            positive, or gamma is not 0 and there are too many spins for the default sampler.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | Quantum Boltzmann machine (Amin et al., 2018)
        | https://arxiv.org/abs/1601.02036

    Example:
        >>> layer = QuantumPriorLayer(8, num_samples=64)
        >>> spins = torch.ones(5, 8)
        >>> (-layer(spins).mean()).backward()
        >>> layer.J.grad.shape
        torch.Size([28])
    """

    def __init__(
        self,
        graph_or_n: CouplingGraph | int,
        *,
        hidden: Sequence[int] = (),
        gamma: float | Tensor = 0.0,
        sampler: Sampler | None = None,
        num_samples: int = 1024,
        persistent: bool = True,
        hidden_sampler: Sampler | None = None,
    ):
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}, but at least 1 sample is needed")
        if isinstance(graph_or_n, int):
            graph_or_n = CouplingGraph.complete(graph_or_n)
        self.graph = graph_or_n
        self.hidden_units = HiddenUnits(self.graph, hidden)
        self.h = nn.Parameter(torch.empty(self.graph.num_spins))
        self.J = nn.Parameter(torch.empty(self.graph.num_edges))
        field = Ising(self.graph, self.h.detach(), self.J.detach(), gamma).gamma
        self.register_buffer("gamma", None if field is None else field.clone(), persistent=False)
        self.register_buffer("log_z", torch.zeros(()))
        self.sampler = sampler or self._default_sampler()
        self.hidden_sampler = hidden_sampler or GibbsSampler(num_sweeps=20)
        self.num_samples = num_samples
        self.persistent = persistent
        self.chains: Any = None
        self._pending: Submission | None = None
        self.reset_parameters()

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
        # A generator of its own: how well log Z is estimated must not move the user's seed.
        generator = torch.Generator(self.h.device).manual_seed(0)
        # So weak a model is annealed with little scatter, the less the more spins average it out.
        num_chains = min(128, max(16, 20_000 // self.graph.num_spins))
        self.estimate_log_z(num_chains=num_chains, num_temperatures=16, generator=generator)

    @property
    def num_visible(self) -> int:
        return len(self.hidden_units.visible)

    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        r"""Returns :math:`-F(v) - \log Z` in nats, with `log_z` for the second term.

        Arguments:
            spins: Visible spins of shape (*, N_visible).
            negative: Samples of the model to use for the gradient instead of calling the sampler,
                of shape (S, N).

        Returns:
            The values of shape (*).

        Raises:
            ValueError: If the spins are of a wrong shape, bits, NaN or beyond +-1.
        """
        self._check_spins(spins)
        return -self.free_energy(spins) - self.log_partition(negative)

    def log_partition(self, negative: Tensor | Samples | None = None) -> Tensor:
        r"""Returns `log_z`, a scalar, with the gradient of log Z by samples of the model.

        Arguments:
            negative: Samples of the model to use instead of calling the sampler, of shape (S, N).
        """
        return log_partition(self.h, self.J, self.log_z, lambda: self._negative_moments(negative))

    def energy(self, spins: Tensor) -> Tensor:
        r"""Returns the classical energies of shape (*) of all spins, of shape (*, N)."""
        return self.ising().energy(spins)

    def free_energy(self, spins: Tensor) -> Tensor:
        r"""Returns F(v) of shape (*) for visible spins of shape (*, N_visible).

        Without hidden units it is the energy. With groups of more than 10 connected hidden units
        it is an upper bound, by mean field.
        """
        return self.hidden_units.free_energy(self.ising(), spins, self.hidden_sampler)

    def ising(self) -> Ising:
        r"""Returns the model of the present parameters, differentiable in them."""
        return Ising(self.graph, self.h, self.J, self.gamma)

    def to_visible(self, spins: Tensor) -> Tensor:
        r"""Returns the visible spins (*, N_visible) of all spins (*, N)."""
        if len(self.hidden_units.hidden) == 0:
            return spins
        return spins[..., self.hidden_units.visible.to(spins.device)]

    @torch.no_grad()
    def from_visible(self, spins: Tensor) -> Tensor:
        r"""Returns all spins (B, N) of visible ones (B, N_visible).

        Hidden spins, if there are any, are drawn by the `hidden_sampler`.
        """
        model = self.ising().detach()
        clamp = self.hidden_units.complete(spins.to(model.h))
        if len(self.hidden_units.hidden) == 0:
            return clamp
        return self.hidden_sampler.sample(model, len(spins), clamp=clamp).spins

    def draw(self) -> Samples:
        r"""Runs the negative phase now: `num_samples` samples, for which the chains run on.

        To share one call of the sampler between several uses, pass the answer as `negative`.
        """
        pending, self._pending = self._pending or self._submit(), None
        samples = pending.result()
        if self.persistent:
            self.chains = samples.state
        return samples

    def prefetch(self) -> None:
        r"""Submits the negative phase; the next `draw` or backward pass uses its samples."""
        if self._pending is None:
            self._pending = self._submit()

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        clamp: Tensor | None = None,
        sampler: Sampler | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns samples of all spins, of shape (n, N).

        They start from copies of the layer's chains where there are some and nothing is clamped,
        and leave those as they are.

        Arguments:
            num_samples: The number of samples n.
            clamp: Spins to hold, of shape (N,) or (n, N): +-1, or 0 for free.
            sampler: A sampler to use instead of the layer's.
            generator: The source of random numbers.
        """
        state = None
        if clamp is None and sampler is None and isinstance(self.chains, Tensor):
            rows = _spread(len(self.chains), num_samples, self.h.device, generator)
            state = self.chains.to(self.h.device)[rows]
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
        energy = self.energy(samples.spins)
        # Reweighting that is 1 in value has the covariance as its gradient.
        weights = torch.exp(energy.detach() - energy)
        if samples.weights is not None:
            weights = weights * samples.weights.to(weights)
        values = statistic(samples.spins)
        return torch.tensordot(weights / weights.sum(), values, 1)

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
        r"""Returns the inverse temperature of samples of the layer, new ones by default.

        It is 1 within errors if the sampler is at the temperature that it should be at.
        """
        samples = self.draw() if samples is None else samples
        return estimate_beta(self.ising().detach(), samples.spins, samples.weights)

    def forget_chains(self) -> None:
        r"""Drops the chains and any samples asked for: the next negative phase starts fresh."""
        self.chains = None
        self._pending = None

    def get_extra_state(self) -> dict[str, Any]:
        r"""Returns the graph, so that a state dict cannot be loaded into another one."""
        return {
            "num_spins": self.graph.num_spins,
            "edges": self.graph.edges,
            "labels": list(self.graph.labels),
            "hidden": self.hidden_units.hidden.tolist(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        # The graph has been compared in `_load_from_state_dict`, before anything was copied.
        self.forget_chains()

    def extra_repr(self) -> str:
        hidden = len(self.hidden_units.hidden)
        return (
            f"num_spins={self.graph.num_spins}, num_edges={self.graph.num_edges}, "
            f"hidden={hidden}, num_samples={self.num_samples}, sampler={self.sampler!r}"
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

    def _submit(self) -> Submission:
        return self.sampler.submit(
            self.ising(),
            self.num_samples,
            state=self._resumed_chains() if self.persistent else None,
        )

    def _resumed_chains(self) -> Any:
        if not isinstance(self.chains, Tensor):
            return self.chains
        chains = self.chains.to(self.h.device)
        if len(chains) == self.num_samples:
            return chains
        # Another number of chains than before, as in fine-tuning: thin them out or repeat them.
        return chains[torch.arange(self.num_samples, device=chains.device) % len(chains)]

    @torch.no_grad()
    def _negative_moments(self, negative: Tensor | Samples | None) -> Moments:
        samples = self._as_samples(self.draw() if negative is None else negative)
        return moments(self.graph, samples.spins, samples.weights)

    def _as_samples(self, negative: Tensor | Samples) -> Samples:
        samples = Samples(negative) if isinstance(negative, Tensor) else negative
        spins = samples.spins.detach().to(self.h)
        if spins.ndim != 2 or spins.shape[1] != self.graph.num_spins:
            raise ValueError(
                f"negative has shape {tuple(spins.shape)}, but samples of this layer have "
                f"(S, {self.graph.num_spins})"
            )
        return samples._replace(spins=spins)

    def _check_spins(self, spins: Tensor) -> None:
        if spins.shape[-1:] != (self.num_visible,):
            raise ValueError(
                f"spins of shape {tuple(spins.shape)} do not fit {self.num_visible} visible "
                "spins: the last dimension is the spin"
            )
        # Reading values stops a compiler and stalls a GPU; there the shape must do.
        if not torch.compiler.is_compiling() and spins.device.type == "cpu":
            check_spin_values(spins)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        extra = state_dict.get(prefix + "_extra_state")
        if extra is not None and not self._same_graph(extra):
            raise ValueError(
                f"the state is of another graph: {extra['num_spins']} spins, "
                f"{len(extra['edges'])} edges, {len(extra['hidden'])} hidden; this layer has "
                f"{self.graph.num_spins} spins, {self.graph.num_edges} edges, "
                f"{len(self.hidden_units.hidden)} hidden, or the same numbers with other edges "
                "or labels"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _same_graph(self, extra: dict[str, Any]) -> bool:
        graph = CouplingGraph(extra["num_spins"], extra["edges"], extra["labels"])
        return graph == self.graph and extra["hidden"] == self.hidden_units.hidden.tolist()

    def __getstate__(self) -> dict[str, Any]:
        # Samples under way belong to this process and this object.
        return {**self.__dict__, "_pending": None}


def check_spin_values(spins: Tensor) -> None:
    r"""Raises ValueError if the values are not spins, or relaxed spins between -1 and +1."""
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
