r"""The Boltzmann machine as a module whose gradient comes from a sampler."""

from __future__ import annotations

__all__ = ["QuantumPriorLayer"]

from collections.abc import Sequence
from importlib import import_module
from numbers import Integral
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Ising, Samples
from qahm_torch.nn.told import as_tensor, told_by
from qahm_torch.priors.boltzmann import BoltzmannPrior
from qahm_torch.priors.hidden import HiddenUnits
from qahm_torch.samplers import GibbsSampler, Sampler


class QuantumPriorLayer(BoltzmannPrior):
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
        graph_or_n: The graph, also one of networkx, or a number of spins for a complete one.
        hidden: The spins that are hidden, by their positions, or by their labels where these are
            no integers. The visible ones are the others, in order.
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
        graph_or_n: CouplingGraph | int | nx.Graph,
        *,
        hidden: Sequence[int | str] = (),
        gamma: float | Tensor = 0.0,
        sampler: Sampler | None = None,
        num_samples: int = 1024,
        persistent: bool = True,
        hidden_sampler: Sampler | None = None,
    ):
        if torch.get_default_device().type == "meta":
            raise NotImplementedError(
                "a layer cannot be built on the meta device, since its graph is read and its "
                "log Z estimated: build it on the CPU, and then call load_state_dict"
            )
        graph = CouplingGraph.of(graph_or_n)
        super().__init__(
            graph,
            gamma=gamma,
            sampler=sampler,
            num_samples=num_samples,
            persistent=persistent,
        )
        positions = [int(u) if isinstance(u, Integral) else graph.index(u) for u in hidden]
        self.hidden_units = HiddenUnits(graph, positions)
        self.hidden_sampler = hidden_sampler or GibbsSampler(num_sweeps=20)
        # The free energy of hidden units is not that of means, their energy is.
        self.is_multilinear = len(self.hidden_units.hidden) == 0
        self.reset_parameters()

    @classmethod
    def from_ising(cls, ising: Ising, **settings: Any) -> QuantumPriorLayer:
        r"""Returns a layer that begins as a given model, with an estimate of its log Z.

        Arguments:
            ising: The model, as `Ising.from_bqm` and `Ising.from_biases` make it.
            settings: Those of the layer, but for the graph and gamma.

        Example:
            >>> graph = CouplingGraph.of(nx.path_graph(["a", "b", "c"]))
            >>> ising = Ising.from_biases(graph, {"a": 0.5}, {("b", "a"): -1.0})
            >>> QuantumPriorLayer.from_ising(ising, hidden=["c"]).hidden
            [2]
        """
        layer = cls(ising.graph, gamma=0.0 if ising.gamma is None else ising.gamma, **settings)
        layer.to(ising.h)
        with torch.no_grad():
            layer.h.copy_(ising.h)
            layer.J.copy_(ising.J)
        layer._anchor(num_chains=128, num_temperatures=200)
        return layer

    @classmethod
    def from_grbm(cls, grbm: Any, **settings: Any) -> QuantumPriorLayer:
        r"""Returns the layer of a `GraphRestrictedBoltzmannMachine` of dwave-pytorch-plugin.

        It has the same energies, hidden units and labels. What it has of its own are a sampler,
        chains and a log Z.

        Arguments:
            grbm: The machine.
            settings: Those of the layer, but for the graph and the hidden units.
        """
        index = {node: i for i, node in enumerate(grbm.nodes)}
        edges = [(index[u], index[v]) for u, v in grbm.edges]
        graph = CouplingGraph(len(index), edges, list(index))
        ising = Ising(graph, grbm.linear.detach(), grbm.quadratic.detach())
        return cls.from_ising(ising, hidden=[index[u] for u in grbm.hidden_nodes], **settings)

    def to_grbm(self) -> Any:
        r"""Returns the machine of dwave-pytorch-plugin with its energies.

        Raises:
            ImportError: If the plugin is not installed.
            ValueError: If gamma is not 0, of which the plugin knows nothing.
        """
        if self.gamma is not None:
            raise ValueError("gamma is not 0, but the plugin's machine has no transverse field")
        try:
            models = import_module("dwave.plugins.torch.models")
        except ImportError as error:
            message = "to_grbm needs the plugin: pip install dwave-pytorch-plugin"
            raise ImportError(message) from error
        labels = self.graph.labels
        edges = [(labels[i], labels[j]) for i, j in self.graph.edges.tolist()]
        hidden = [labels[i] for i in self.hidden]
        grbm = models.GraphRestrictedBoltzmannMachine(list(labels), edges, hidden_nodes=hidden)
        grbm.to(self.h)
        with torch.no_grad():
            grbm.linear.copy_(self.h)
            grbm.quadratic.copy_(self.J)
        return grbm

    @property
    def num_visible(self) -> int:
        return len(self.hidden_units.visible)

    @property
    def hidden(self) -> list[int]:
        r"""The hidden spins."""
        return self.hidden_units.hidden.tolist()

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

    def free_energy(self, spins: Tensor) -> Tensor:
        r"""Returns F(v) of shape (*) for visible spins of shape (*, N_visible).

        Without hidden units it is the energy. With groups of more than 10 connected hidden units
        it is an upper bound, by mean field.
        """
        return self.hidden_units.free_energy(self.ising(), spins, self.hidden_sampler)

    def to_visible(self, spins: Tensor) -> Tensor:
        r"""Returns the visible spins (*, N_visible) of all spins (*, N)."""
        if len(self.hidden_units.hidden) == 0:
            return spins
        return spins[..., self.hidden_units.visible.to(spins.device)]

    def clamp_of(self, visible: Tensor) -> Tensor:
        self._check_visible(visible)
        return self.hidden_units.complete(visible)

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

    def get_extra_state(self) -> Tensor:
        r"""Returns the graph, so that a state dict cannot be loaded into another one."""
        return as_tensor(
            {
                "num_spins": self.graph.num_spins,
                "edges": self.graph.edges,
                "labels": self.graph.labels,
                "hidden": self.hidden,
            }
        )

    def set_extra_state(self, state: Any) -> None:
        # The graph has been compared in `_load_from_state_dict`, before anything was copied.
        self.forget_chains()

    def extra_repr(self) -> str:
        hidden = len(self.hidden_units.hidden)
        return (
            f"num_spins={self.graph.num_spins}, num_edges={self.graph.num_edges}, "
            f"hidden={hidden}, num_samples={self.num_samples}, sampler={self.sampler!r}"
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        extra = told_by(state_dict.get(prefix + "_extra_state"))
        if extra is not None and extra != told_by(self.get_extra_state()):
            raise ValueError(
                f"the state is of another graph: {extra['num_spins']} spins, "
                f"{len(extra['edges'])} edges, {len(extra['hidden'])} hidden; this layer has "
                f"{self.graph.num_spins} spins, {self.graph.num_edges} edges, "
                f"{len(self.hidden_units.hidden)} hidden, or the same numbers with other edges "
                "or labels"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
