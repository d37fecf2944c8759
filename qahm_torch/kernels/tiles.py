r"""Models in tiles of a few rows, as the kernels for CUDA read them."""

from __future__ import annotations

__all__ = [
    "MATRIX_COLUMNS",
    "TABLE_COLUMNS",
    "Matrix",
    "Table",
    "arrange_chains",
    "arrange_matrix",
    "arrange_table",
    "rounded_up",
]

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from qahm_torch.ising import CouplingGraph, Ising
from qahm_torch.kernels.adjacency import neighbors_of

# Above this fraction of possible pairs, multiplying zeros is cheaper than gathering neighbors.
DENSE_FRACTION = 0.2
# Spins whose fields a program computes at once: with a matrix, and with a table of neighbors.
MATRIX_ROWS, TABLE_ROWS = 16, 32
# Columns of the matrix, and neighbors of each spin, that a program takes at once.
MATRIX_COLUMNS, TABLE_COLUMNS = 32, 4


class Matrix(NamedTuple):
    r"""A model of many couplings, with rows filled up to whole tiles."""

    num_spins: int
    h: Tensor  # fields less base, of shape (rows,)
    base: Tensor  # fields of independent spins, of shape (rows,)
    weights: Tensor  # couplings (rows, rows) to the spins as they are when a tile begins
    own: Tensor  # couplings (rows, MATRIX_ROWS) to the spins that the tile has updated before


class Table(NamedTuple):
    r"""A model of few couplings: the rows of a tile have one color, and a list of neighbors."""

    num_spins: int
    h: Tensor  # fields less base, of shape (rows,)
    base: Tensor  # fields of independent spins, of shape (rows,)
    order: Tensor  # the spin at each row, 0 where it is filled up, of shape (rows,)
    place: Tensor  # the row of each spin, of shape (N,)
    bounds: Tensor  # the first tile of each color, and the end, of shape (C + 1,)
    starts: Tensor  # the first list entry of each tile, and the end, of shape (tiles + 1,)
    neighbors: Tensor  # the rows of the neighbors, of shape (entries, rows of a tile)
    weights: Tensor  # their couplings, of shape (entries, rows of a tile)


def arrange_chains(ising: Ising, base: Tensor | None = None) -> Matrix | Table:
    r"""Returns the model as the kernels read it, on its device.

    Arguments:
        ising: A classical model.
        base: The fields b of independent spins, of shape (N,); None for zero.
    """
    n = ising.num_spins
    dense = ising.graph.num_edges > DENSE_FRACTION * n * (n - 1) / 2
    return arrange_matrix(ising, base) if dense else arrange_table(ising, base)


def arrange_matrix(ising: Ising, base: Tensor | None = None) -> Matrix:
    r"""Returns the model as a matrix, whatever its graph; arguments as in `arrange_chains`."""
    n, rows = ising.num_spins, rounded_up(ising.num_spins, MATRIX_COLUMNS)
    weights = ising.h.new_zeros(rows, rows, dtype=torch.float32)
    weights[:n, :n] = ising.couplings().detach()
    tiles = weights.view(rows // MATRIX_ROWS, MATRIX_ROWS, rows // MATRIX_ROWS, MATRIX_ROWS)
    diagonal = tiles.diagonal(dim1=0, dim2=2)
    own = diagonal.permute(2, 0, 1).tril(-1).reshape(rows, MATRIX_ROWS).contiguous()
    # What is left next to the diagonal are the spins that the tile has not updated yet.
    diagonal.copy_(diagonal.permute(2, 0, 1).triu(1).permute(1, 2, 0))
    h, base = _fields(ising, base, torch.arange(n, device=weights.device), rows)
    return Matrix(n, h, base, weights, own)


def arrange_table(ising: Ising, base: Tensor | None = None, tile: int = TABLE_ROWS) -> Table:
    r"""Returns the model as lists of neighbors; arguments as in `arrange_chains`.

    The number of rows in a tile, a power of two, changes nothing but the speed.
    """
    place, bounds = _rows_of_spins(ising.graph, tile)
    rows = int(bounds[-1]) * tile
    order = torch.zeros(rows, dtype=torch.int32)
    order[place] = torch.arange(ising.num_spins, dtype=torch.int32)
    device = ising.h.device
    h, base = _fields(ising, base, place.to(device), rows)
    starts, neighbors, weights = _neighbor_lists(ising, place, rows, tile)
    index = (order, place, bounds.int(), starts.int(), neighbors)
    order, place, bounds, starts, neighbors = (i.to(device) for i in index)
    return Table(ising.num_spins, h, base, order, place, bounds, starts, neighbors, weights)


def rounded_up(number: int, step: int) -> int:
    r"""Returns the least multiple of a step that is no less than the number."""
    return -(-number // step) * step


def _fields(
    ising: Ising, base: Tensor | None, place: Tensor, num_rows: int
) -> tuple[Tensor, Tensor]:
    h = torch.zeros(2, num_rows, device=ising.h.device)
    h[0, place] = ising.h.detach().float()
    if base is not None:
        h[1, place] = base.detach().to(h)
        h[0] -= h[1]
    return h[0], h[1]


def _rows_of_spins(graph: CouplingGraph, tile: int) -> tuple[Tensor, Tensor]:
    r"""Returns the row of each spin (N,), and the first tile of each color (C + 1,)."""
    degree = neighbors_of(graph).degrees
    place = torch.empty_like(degree)
    bounds = [0]
    for members in graph.color_classes:
        # Spins of about as many neighbors share a tile, since its lists are filled up.
        members = members[degree[members].argsort(descending=True, stable=True)]
        place[members] = bounds[-1] * tile + torch.arange(len(members))
        bounds.append(bounds[-1] - (-len(members) // tile))
    return place, torch.tensor(bounds)


def _neighbor_lists(
    ising: Ising, place: Tensor, num_rows: int, tile: int
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Returns the first entry of each tile's lists, the entries, and their couplings."""
    near = neighbors_of(ising.graph)
    row = place[near.spins]
    degree = place.new_zeros(num_rows)
    degree[place] = near.degrees
    widths = -(-degree.view(-1, tile).amax(1) // TABLE_COLUMNS) * TABLE_COLUMNS
    starts = pad(widths.cumsum(0), (1, 0))
    at = (starts[row // tile] + near.slots) * tile + row % tile
    neighbors = torch.zeros(int(starts[-1]) * tile, dtype=torch.int32)
    neighbors[at] = place[near.others].int()
    J = ising.J.detach().float()
    weights = J.new_zeros(len(neighbors))
    weights[at.to(J.device)] = J[near.edges.to(J.device)]
    return starts, neighbors.view(-1, tile), weights.view(-1, tile)
