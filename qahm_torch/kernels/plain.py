r"""Heat-bath sweeps in plain torch: many chains at once, one color class at a time."""

from __future__ import annotations

__all__ = ["Blocks", "arrange", "logistic_noise", "random_spins", "sweep_"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Ising

# Below this fraction of possible pairs, gathering neighbors beats the product with a full matrix.
DENSE_FRACTION = 0.05
# Up to this size a full matrix is cheap whatever the graph.
DENSE_SPINS = 256


class Blocks(NamedTuple):
    r"""A model arranged for sweeps: the spins of a color class are contiguous rows.

    The couplings are held either as a matrix or as a table of neighbors.
    """

    order: Tensor  # the spin at each row, of shape (N,)
    bounds: tuple[tuple[int, int], ...]  # first and last row of each color class
    h: Tensor  # the fields in row order, of shape (N, 1)
    matrix: Tensor | None  # couplings in row order, of shape (N, N)
    neighbors: Tensor | None  # rows of the neighbors, of shape (degree, N)
    weights: Tensor | None  # their couplings, of shape (degree, N, 1)

    @property
    def backend(self) -> str:
        if self.matrix is None:
            return "torch-sparse"
        return "torch-bipartite" if len(self.bounds) == 2 else "torch-dense"


def arrange(ising: Ising) -> Blocks:
    r"""Returns the model in the order in which a sweep visits its spins."""
    classes = ising.graph.color_classes
    device = ising.h.device
    order = torch.cat(classes).to(device)
    stops = torch.tensor([len(c) for c in classes]).cumsum(0).tolist()
    bounds = tuple(zip([0, *stops[:-1]], stops, strict=True))
    dtype = torch.promote_types(ising.h.dtype, torch.float32)
    h = ising.h.detach().to(dtype)[order].unsqueeze(-1)
    n = ising.num_spins
    if n <= DENSE_SPINS or ising.graph.num_edges > DENSE_FRACTION * n * n / 2:
        matrix = ising.couplings().detach().to(dtype)[order][:, order]
        return Blocks(order, bounds, h, matrix, None, None)
    neighbors, weights = _neighbor_table(ising, order, dtype)
    return Blocks(order, bounds, h, None, neighbors, weights)


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
    if blocks.matrix is None:
        return _sparse_sweep_(state, blocks, threshold)
    if len(blocks.bounds) == 2:
        return _bipartite_sweep_(state, blocks.matrix, blocks.bounds[0][1], threshold)
    if len(blocks.bounds) == len(state):
        return _sequential_sweep_(state, blocks.matrix, threshold)
    one = state.new_ones(())
    for start, stop in blocks.bounds:
        excess = torch.addmm(threshold[start:stop], blocks.matrix[start:stop], state, alpha=-1)
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


def _sparse_sweep_(state: Tensor, blocks: Blocks, threshold: Tensor) -> Tensor:
    assert blocks.neighbors is not None and blocks.weights is not None
    one = state.new_ones(())
    for start, stop in blocks.bounds:
        excess = threshold[start:stop]
        for neighbor, weight in zip(blocks.neighbors, blocks.weights, strict=True):
            excess.addcmul_(state[neighbor[start:stop]], weight[start:stop], value=-1)
        torch.copysign(one, excess, out=state[start:stop])
    return state


def _neighbor_table(ising: Ising, order: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    n = ising.num_spins
    row = torch.empty_like(order)
    row[order] = torch.arange(n, device=order.device)
    edges = row[ising.graph.edges.to(order.device)]
    source = torch.cat([edges[:, 0], edges[:, 1]])
    target = torch.cat([edges[:, 1], edges[:, 0]])
    coupling = torch.cat([ising.J, ising.J]).detach().to(dtype)
    sort = source.argsort(stable=True)
    source, target, coupling = source[sort], target[sort], coupling[sort]
    degree = torch.bincount(source, minlength=n)
    slot = torch.arange(len(source), device=order.device) - (degree.cumsum(0) - degree)[source]
    width = int(degree.max())
    neighbors = torch.zeros(width, n, dtype=torch.int64, device=order.device)
    weights = torch.zeros(width, n, 1, dtype=dtype, device=order.device)
    neighbors[slot, source] = target
    weights[slot, source, 0] = coupling
    return neighbors, weights
