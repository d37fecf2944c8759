r"""Summing out the hidden units of a Boltzmann machine."""

from __future__ import annotations

__all__ = ["HiddenUnits"]

from collections.abc import Sequence
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Ising, all_states
from qahm_torch.ising.derivatives import only_once
from qahm_torch.ising.transforms import refuse_transforms
from qahm_torch.samplers import Sampler

MAX_GROUP = 10
MEAN_FIELD_STEPS = 30


class HiddenUnits:
    r"""The hidden units of a graph, and the free energy of the visible ones.

    Given the visible spins, hidden units that are not connected are independent, so the sum over
    them factorizes over the connected groups of the graph of the hidden units:

    .. math::
        F(v) = E(v) - \sum_g \log \sum_{u_g} e^{-E(u_g | v)}.

    Groups of up to 10 units are summed by enumeration (a single unit gives
    :math:`\log 2 \cosh f`). If a group is larger, the sum over it is bounded from below by mean
    field, and its gradient is estimated from conditional samples.

    Arguments:
        graph: The graph of all spins.
        hidden: The hidden spins.

    Raises:
        ValueError: If `hidden` names no spin or a spin twice, or leaves no spin visible.
    """

    def __init__(self, graph: CouplingGraph, hidden: Sequence[int]):
        _check_hidden(graph, hidden)
        self.graph = graph
        self.hidden = torch.tensor(sorted(hidden), dtype=torch.int64)
        is_hidden = torch.zeros(graph.num_spins, dtype=torch.bool)
        is_hidden[self.hidden] = True
        self.visible = (~is_hidden).nonzero().squeeze(-1)
        inner, _ = graph.subgraph(self.hidden.tolist()) if len(hidden) else (None, None)
        self.groups = [] if inner is None else _groups(inner)

    @property
    def are_exact(self) -> bool:
        r"""Whether the free energy is exact."""
        return all(len(group) <= MAX_GROUP for group in self.groups)

    def free_energy(self, ising: Ising, visible: Tensor, sampler: Sampler) -> Tensor:
        r"""Returns F(v) of shape (*) for visible spins (*, N_visible).

        Arguments:
            ising: The model of all spins; its transverse field does not count.
            visible: The visible spins.
            sampler: Draws hidden units in the backward pass, if a group of them is large.
        """
        classical = Ising(self.graph, ising.h, ising.J)
        if len(self.hidden) == 0:
            return classical.energy(visible)
        if not self.are_exact:
            what = "sample a large group of hidden units, as backward does: use torch.autograd"
            refuse_transforms(what, visible, ising.h, ising.J)
            sampled: Tensor = _SampledFreeEnergy.apply(visible, ising.h, ising.J, self, sampler)
            return sampled
        with torch.autocast(visible.device.type, enabled=False):
            return self._exact(classical, visible.to(ising.h.dtype))

    def complete(self, visible: Tensor, hidden: Tensor | float = 0.0) -> Tensor:
        r"""Returns all spins (*, N) from the visible ones, and the hidden ones or a constant."""
        spins = visible.new_zeros(*visible.shape[:-1], self.graph.num_spins)
        spins[..., self.visible.to(visible.device)] = visible
        spins[..., self.hidden.to(visible.device)] = hidden
        return spins

    def _exact(self, ising: Ising, visible: Tensor) -> Tensor:
        # Index copies keep the graph of autograd, unlike writing into the spins that were given.
        spins = visible.new_zeros(*visible.shape[:-1], self.graph.num_spins)
        spins = spins.index_copy(-1, self.visible.to(visible.device), visible)
        energy = ising.energy(spins)
        couplings = ising.couplings()
        fields = ising.h + spins @ couplings
        single = [group[0] for group in self.groups if len(group) == 1]
        if single:
            f = fields[..., self.hidden[single].to(visible.device)]
            energy = energy - torch.logaddexp(f, -f).sum(-1)
        for group in self.groups:
            if len(group) > 1:
                spin = self.hidden[group].to(visible.device)
                energy = energy - _log_sum(fields[..., spin], couplings[spin][:, spin])
        return energy

    @torch.no_grad()
    def mean_field(self, ising: Ising, visible: Tensor) -> Tensor:
        r"""Returns an upper bound of F(v) of shape (*), by the best independent hidden units."""
        spins = self.complete(visible.to(ising.h.dtype))
        couplings = ising.couplings()
        hidden = self.hidden.to(visible.device)
        inner = couplings[hidden][:, hidden]
        fields = (ising.h + spins @ couplings)[..., hidden]
        mean = -torch.tanh(fields)
        for _ in range(MEAN_FIELD_STEPS):
            mean = 0.5 * mean - 0.5 * torch.tanh(fields + mean @ inner)
        up = (1 + mean) / 2
        entropy: Tensor = torch.special.entr(up) + torch.special.entr(1 - up)
        energy: Tensor = (mean * (fields + mean @ inner / 2)).sum(-1)
        return ising.energy(spins) + energy - entropy.sum(-1)


class _SampledFreeEnergy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, visible: Tensor, h: Tensor, J: Tensor, units: HiddenUnits, sampler: Sampler
    ) -> Tensor:
        ctx.save_for_backward(visible, h, J)
        ctx.units, ctx.sampler = units, sampler
        return units.mean_field(Ising(units.graph, h, J), visible)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        visible, h, J = (x.detach().requires_grad_() for x in ctx.saved_tensors)
        model = Ising(ctx.units.graph, h, J)
        clamp = ctx.units.complete(visible.detach()).reshape(-1, model.num_spins).sign()
        drawn = ctx.sampler.sample(model.detach(), len(clamp), clamp=clamp).spins
        hidden = drawn[:, ctx.units.hidden.to(drawn.device)]
        with torch.enable_grad():
            spins = ctx.units.complete(visible, hidden.view(*visible.shape[:-1], -1))
            energy = model.energy(spins)
            gradients = torch.autograd.grad(energy, (visible, h, J), grad.detach())
        why = "a large group of hidden units is sampled, which has no second derivative"
        values = zip(gradients, ctx.saved_tensors, strict=True)
        return *(only_once(g, x, why) for g, x in values), None, None


def _log_sum(fields: Tensor, couplings: Tensor) -> Tensor:
    r"""Returns the log of the sum over a group of spins, in fields of shape (*, n)."""
    states = all_states(fields.shape[-1], fields.dtype, fields.device)
    inner = ((states @ couplings) * states).sum(-1) / 2
    return torch.logsumexp(-(fields @ states.T) - inner, -1)


def _groups(inner: CouplingGraph) -> list[list[int]]:
    return [sorted(g) for g in nx.connected_components(inner.to_networkx(labeled=False))]


def _check_hidden(graph: CouplingGraph, hidden: Sequence[int]) -> None:
    for spin in hidden:
        if not 0 <= spin < graph.num_spins:
            raise ValueError(f"hidden spin {spin} is none of 0 to {graph.num_spins - 1}")
    if len(set(hidden)) != len(hidden):
        raise ValueError(f"hidden names a spin twice: {list(hidden)}")
    if len(hidden) >= graph.num_spins:
        raise ValueError(f"all {graph.num_spins} spins are hidden, but at least 1 is visible")
