r"""Boltzmann machines of common couplings, a row of fields for each, and their enumeration."""

from __future__ import annotations

__all__ = ["MAX_ENUMERATED", "FieldRows", "RowMoments", "row_log_partition"]

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Ising, all_states
from qahm_torch.ising.derivatives import only_once

MAX_ENUMERATED = 16  # spins
ENTRIES_PER_CHUNK = 2**22  # of a table of rows and states, which has to fit into memory


class RowMoments(NamedTuple):
    r"""Moments of machines, summed with a weight for each."""

    mean: Tensor  # w_r <s_i>, of shape (R, N)
    correlation: Tensor  # the sum of w_r <s_i s_j> over rows, of shape (E,)

    @staticmethod
    def of(rows: FieldRows, spins: Tensor, weights: Tensor) -> RowMoments:
        r"""Returns the moments of samples, (S, R, N), with weights of the rows, (R,)."""
        weighted = weights.unsqueeze(-1) * spins / len(spins)
        pairs = spins.flatten(0, 1).T @ weighted.flatten(0, 1)
        i, j = rows.graph.edges.to(pairs.device).unbind(-1)
        return RowMoments(weighted.sum(0), pairs[i, j])


class FieldRows(NamedTuple):
    r"""Machines :math:`p_r(s) = e^{-E_r(s)} / Z_r` of one graph, one for each row of fields.

    .. math::
        E_r(s) = \sum_i h_{ri} s_i + \sum_{i<j} J_{ij} s_i s_j
    """

    graph: CouplingGraph
    fields: Tensor  # h, of shape (R, N)
    J: Tensor  # of shape (E,)

    def energy(self, spins: Tensor) -> Tensor:
        r"""Returns the energies (*, R) of spins (*, R, N)."""
        with torch.autocast(spins.device.type, enabled=False):
            spins = spins.to(self.J.dtype)
            return (spins * self.fields).sum(-1) + self._pairs().energy(spins)

    def detach(self) -> FieldRows:
        r"""Returns the machines without gradients."""
        return FieldRows(self.graph, self.fields.detach(), self.J.detach())

    def log_z(self) -> Tensor:
        r"""Returns log Z of each machine, (R,), by enumeration."""
        return torch.cat([weights.logsumexp(-1) for _, weights in self._tables()])

    def log_probs(self) -> Tensor:
        r"""Returns the log-probabilities of all states, (R, 2^N), in the order of `all_states`."""
        return torch.cat([weights.log_softmax(-1) for _, weights in self._tables()])

    def moments(self, weights: Tensor) -> RowMoments:
        r"""Returns the moments of all machines by enumeration, with weights of shape (R,)."""
        states, means = self._states(), []
        total = self.J.new_zeros(len(states))
        for rows, table in self._tables():
            law = table.softmax(-1)
            means.append(weights[rows].unsqueeze(-1) * (law @ states))
            total += weights[rows] @ law
        pairs = (states * total.unsqueeze(-1)).T @ states
        i, j = self.graph.edges.to(pairs.device).unbind(-1)
        return RowMoments(torch.cat(means), pairs[i, j])

    def draws(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        r"""Returns independent draws of each machine, of shape (S, R, N), by enumeration."""
        states, drawn = self._states(), []
        for _, table in self._tables():
            # In double precision, in which all of many rare states have their probability.
            cumulative = table.double().softmax(-1).cumsum(-1)
            size = (len(table), num_samples)
            uniform = torch.rand(
                size, generator=generator, dtype=torch.float64, device=table.device
            )
            index = torch.searchsorted(cumulative, uniform).clamp(max=len(states) - 1)
            drawn.append(states[index.T])
        return torch.cat(drawn, 1)

    def _tables(self) -> Iterator[tuple[slice, Tensor]]:
        r"""Yields some rows, and their log-weights -E of all states, (rows, 2^N)."""
        states = self._states()
        energy = self._pairs().energy(states)
        size = max(1, ENTRIES_PER_CHUNK // len(states))
        for start in range(0, len(self.fields), size):
            rows = slice(start, start + size)
            yield rows, -(self.fields[rows] @ states.T) - energy

    def _states(self) -> Tensor:
        return all_states(self.graph.num_spins, self.J.dtype, self.J.device)

    def _pairs(self) -> Ising:
        return Ising(self.graph, self.J.new_zeros(self.graph.num_spins), self.J)


def row_log_partition(
    rows: FieldRows, value: Tensor, negative: Callable[[FieldRows, Tensor], RowMoments]
) -> Tensor:
    r"""Returns `value` with the gradient of :math:`\log Z_r` in the fields and couplings.

    .. math::
        \partial \log Z_r / \partial h_{ri} = -\langle s_i \rangle_r, \qquad
        \partial \log Z_r / \partial J_{ij} = -\langle s_i s_j \rangle_r

    The moments are asked for once, in the backward pass; with exact moments the gradient is exact.

    Arguments:
        rows: The machines.
        value: Estimates of their log Z, of shape (R,); they get no gradient.
        negative: Returns the moments of the machines, given a weight (R,) for each.
    """
    result: Tensor = _RowLogPartition.apply(rows.fields, rows.J, value, rows.graph, negative)
    return result


class _RowLogPartition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        fields: Tensor,
        J: Tensor,
        value: Tensor,
        graph: CouplingGraph,
        negative: Callable[[FieldRows, Tensor], RowMoments],
    ) -> Tensor:
        ctx.save_for_backward(fields, J)
        ctx.graph, ctx.negative = graph, negative
        return value.detach().to(J.dtype).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        fields, J = ctx.saved_tensors
        moments = ctx.negative(FieldRows(ctx.graph, fields, J).detach(), grad.detach())
        why = "the log Z of rows of machines has no second derivative"
        return (
            only_once(-moments.mean, fields, why),
            only_once(-moments.correlation, J, why),
            *(None, None, None),
        )
