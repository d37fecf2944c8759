r"""Heat-bath sweeps in plain torch: many chains at once, one color class at a time."""

from __future__ import annotations

__all__ = ["Blocks", "arrange", "logistic_noise", "random_spins", "sweep_"]

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Ising
from qahm_torch.kernels.adjacency import neighbors_of

# Below this fraction of possible pairs, gathering neighbors beats the product with a full matrix.
DENSE_FRACTION = 0.05
# Up to this size a full matrix is cheap whatever the graph.
DENSE_SPINS = 256


class Padded(NamedTuple):
    r"""Couplings as a table of neighbors, filled up to the largest number of them."""

    neighbors: Tensor  # rows of the neighbors, of shape (degree, N)
    weights: Tensor  # their couplings, of shape (degree, N, 1)


class Blocks(NamedTuple):
    r"""A model arranged for sweeps: the spins of a color class are contiguous rows."""

    order: Tensor  # the spin at each row, of shape (N,)
    bounds: tuple[tuple[int, int], ...]  # first and last row of each color class
    h: Tensor  # the fields in row order, of shape (N, 1)
    couplings: Tensor | Padded  # in row order, as a matrix of shape (N, N) or as a table

    @property
    def backend(self) -> str:
        if isinstance(self.couplings, Padded):
            return "torch-sparse"
        return "torch-bipartite" if len(self.bounds) == 2 else "torch-dense"


def arrange(ising: Ising) -> Blocks:
    r"""Returns the model in the order in which a sweep visits its spins."""
    classes = ising.graph.color_classes
    order = torch.cat(classes).to(ising.h.device)
    stops = list(itertools.accumulate(map(len, classes)))
    bounds = tuple(zip([0, *stops[:-1]], stops, strict=True))
    dtype = torch.promote_types(ising.h.dtype, torch.float32)
    h = ising.h.detach().to(dtype)[order].unsqueeze(-1)
    n = ising.num_spins
    if n > DENSE_SPINS and ising.graph.num_edges <= DENSE_FRACTION * n * n / 2:
        return Blocks(order, bounds, h, _padded(ising, order, dtype))
    return Blocks(order, bounds, h, ising.couplings().detach().to(dtype)[order][:, order])


def random_spins(
    size: tuple[int, int], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns independent uniform spins of shape (N, S), dtype and device as `like`."""
    bits = torch.randint(2, size, generator=generator, device=like.device)
    return bits.to(like.dtype) * 2 - 1


def logistic_noise(
    size: tuple[int, int], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    r"""Returns half-logistic noise of shape (N, S).

    A spin in the field f is +1 with probability :math:`\sigma(-2f)`, which is the probability that
    the noise exceeds f.
    """
    uniform = torch.rand(size, dtype=like.dtype, device=like.device, generator=generator)
    return torch.logit(uniform).mul_(0.5)


def sweep_(state: Tensor, blocks: Blocks, noise: Tensor) -> Tensor:
    r"""Updates every spin once, in place, by heat bath given the others.

    Arguments:
        state: The spins of shape (N, S), in row order.
        blocks: The model.
        noise: `logistic_noise` of shape (N, S); a spin whose noise is +-inf becomes +-1, which is
            how a spin is clamped.
    """
    threshold = noise - blocks.h
    couplings = blocks.couplings
    if isinstance(couplings, Padded):
        return _sparse_sweep_(state, couplings, blocks.bounds, threshold)
    if len(blocks.bounds) == 2:
        return _bipartite_sweep_(state, couplings, blocks.bounds[0][1], threshold)
    if len(blocks.bounds) == len(state):
        return _sequential_sweep_(state, couplings, threshold)
    one = state.new_ones(())
    for start, stop in blocks.bounds:
        excess = torch.addmm(threshold[start:stop], couplings[start:stop], state, alpha=-1)
        torch.copysign(one, excess, out=state[start:stop])
    return state


def _bipartite_sweep_(state: Tensor, matrix: Tensor, split: int, threshold: Tensor) -> Tensor:
    one = state.new_ones(())
    a, b = state[:split], state[split:]
    torch.copysign(one, torch.addmm(threshold[:split], matrix[:split, split:], b, alpha=-1), out=a)
    torch.copysign(one, torch.addmm(threshold[split:], matrix[split:, :split], a, alpha=-1), out=b)
    return state


def _sequential_sweep_(state: Tensor, matrix: Tensor, threshold: Tensor) -> Tensor:
    one = state.new_ones(())
    chains = state.T
    rows = zip(state.unbind(0), matrix.unbind(0), threshold.unbind(0), strict=True)
    for spin, couplings, limit in rows:
        torch.copysign(one, torch.addmv(limit, chains, couplings, alpha=-1), out=spin)
    return state


def _sparse_sweep_(
    state: Tensor, table: Padded, bounds: tuple[tuple[int, int], ...], threshold: Tensor
) -> Tensor:
    one = state.new_ones(())
    for start, stop in bounds:
        excess = threshold[start:stop]
        for neighbor, weight in zip(*table, strict=True):
            excess.addcmul_(state[neighbor[start:stop]], weight[start:stop], value=-1)
        torch.copysign(one, excess, out=state[start:stop])
    return state


def _padded(ising: Ising, order: Tensor, dtype: torch.dtype) -> Padded:
    near = neighbors_of(ising.graph, order.device)
    row = torch.empty_like(order)
    row[order] = torch.arange(len(order), device=order.device)
    size = (int(near.degrees.max()), len(order))
    neighbors, weights = order.new_zeros(size), ising.J.new_zeros(size, dtype=dtype)
    neighbors[near.slots, row[near.spins]] = row[near.others]
    weights[near.slots, row[near.spins]] = ising.J.detach().to(dtype)[near.edges]
    return Padded(neighbors, weights.unsqueeze(-1))
