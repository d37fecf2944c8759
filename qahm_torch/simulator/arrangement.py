r"""A problem as the compiled kernels take it: rows of neighbors, clusters, Trotter slices."""

from __future__ import annotations

__all__ = ["arrange_program"]

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from qahm_torch.kernels.adjacency import neighbor_table

if TYPE_CHECKING:
    from qahm_torch.kernels.clusters import Clusters, Rows

# The couplings that bind a cluster: at least this fraction of the strongest one ...
FRACTIONS = (0.7, 0.5, 0.35)
# ... and at least this in units of the temperature; below, single spins move freely.
BINDING = 0.5
# Larger clusters must leave out half of the spins: the giant ones of large problems cost much and
# are rarely flipped.
SMALL = 64


def arrange_program(
    h: NDArray[np.float64],
    edges: NDArray[np.int64],
    J: NDArray[np.float64],
    gamma: float = 0.0,
    num_slices: int = 1,
) -> tuple[Rows, Clusters]:
    r"""Returns the fields of a problem and the clusters that a sweep tries to flip.

    With a transverse field, the spins are those of `num_slices` slices one after the other, at
    :math:`h / M` and :math:`J / M`, and the slices of a spin are coupled in a ring by
    :math:`\frac12 \log \tanh(\Gamma / M)` (Suzuki-Trotter). A slice then follows the diagonal of
    :math:`e^{-H}` but for terms in :math:`1 / M^2`.

    A cluster is a connected component of strong couplings, like the chain of qubits that stands
    for a variable. Flipping a fixed set by heat bath satisfies detailed balance whatever the set;
    the choice only decides how fast the chains mix. So clusters may not depend on the spins.

    World lines in continuous time, as in `kernels.worldlines`, would need no slices, but they are
    redrawn one spin at a time, and so hardly move where many qubits stand for one variable.

    Arguments:
        h: The fields of shape (N,), in units of the temperature.
        edges: The pairs of spins that interact, of shape (E, 2).
        J: Their couplings of shape (E,), in units of the temperature.
        gamma: The transverse field in units of the temperature.
        num_slices: The number of slices M.
    """
    matrix = _couplings(len(h), edges, J)
    members = _bound_sets(matrix)
    if gamma > 0 and num_slices > 1:
        h, matrix, members = _sliced(h, matrix, members, gamma, num_slices)
    return _rows(h, matrix), _clusters(h, matrix, members)


def _couplings(
    num_spins: int, edges: NDArray[np.int64], J: NDArray[np.float64]
) -> sparse.csr_array:
    near = neighbor_table(num_spins, torch.from_numpy(edges))
    starts, _, others, index = (values.numpy() for values in near)
    return sparse.csr_array((J[index], others, starts), shape=(num_spins, num_spins))


def _bound_sets(matrix: sparse.csr_array) -> sparse.csr_array:
    r"""Returns the clusters as rows of zeros and ones, of shape (G, N)."""
    n = len(matrix.indptr) - 1
    strongest = abs(matrix).max() if matrix.nnz else 0.0
    sets: dict[bytes, NDArray[np.int64]] = {}
    for fraction in FRACTIONS:
        labels = _components(matrix, max(BINDING, fraction * strongest))
        order = np.argsort(labels, kind="stable")
        for sites in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
            if 2 <= len(sites) <= max(SMALL, n // 2):
                sets[sites.tobytes()] = sites
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets.values()])
    columns = np.concatenate([*sets.values(), np.empty(0, np.int64)])
    return sparse.csr_array((np.ones(len(columns)), (rows, columns)), shape=(len(sets), n))


def _components(matrix: sparse.csr_array, threshold: float) -> NDArray[np.int32]:
    from scipy.sparse.csgraph import connected_components

    labels: NDArray[np.int32] = connected_components(abs(matrix) >= threshold, directed=False)[1]
    return labels


def _sliced(
    h: NDArray[np.float64],
    matrix: sparse.csr_array,
    members: sparse.csr_array,
    gamma: float,
    num_slices: int,
) -> tuple[NDArray[np.float64], sparse.csr_array, sparse.csr_array]:
    n, one = len(h), sparse.eye_array(num_slices)
    ring = sparse.csr_array(np.roll(np.eye(num_slices), 1, axis=1))
    bond = 0.5 * np.log(np.tanh(gamma / num_slices))
    slices = sparse.kron(one, matrix / num_slices)
    times = sparse.kron(bond * (ring + ring.T), sparse.eye_array(n))
    # The world lines of spins and of chains, and the chains within a slice.
    lines = sparse.kron(np.ones((1, num_slices)), sparse.vstack([sparse.eye_array(n), members]))
    sets = sparse.csr_array(sparse.vstack([lines, sparse.kron(one, members)]))
    return np.tile(h / num_slices, num_slices), sparse.csr_array(slices + times), sets


def _rows(h: NDArray[np.float64], matrix: sparse.csr_array) -> Rows:
    from qahm_torch.kernels.clusters import STRIDE, Rows

    count = np.diff(matrix.indptr)
    starts = np.concatenate([[0], np.cumsum(-(-count // STRIDE) * STRIDE)])
    neighbors = np.zeros(starts[-1], np.uint64)
    couplings = np.zeros(starts[-1], np.float32)
    slot = np.arange(matrix.nnz) + np.repeat(starts[:-1] - matrix.indptr[:-1], count)
    neighbors[slot], couplings[slot] = matrix.indices, matrix.data
    return Rows(h.astype(np.float32), starts.astype(np.uint64), neighbors, couplings)


def _clusters(
    h: NDArray[np.float64], matrix: sparse.csr_array, members: sparse.csr_array
) -> Clusters:
    from qahm_torch.kernels.clusters import Clusters

    n, sites = len(h), members.indices.astype(np.int64)
    count = np.diff(members.indptr)
    cluster = np.repeat(np.arange(len(count)), count)
    terms = matrix[sites].tocoo()
    inside = np.isin(cluster[terms.row] * n + terms.col, cluster * n + sites)
    outside = sparse.coo_array(
        (terms.data[~inside], (terms.row[~inside], terms.col[~inside])), shape=terms.shape
    )
    fields = _rows(h[sites], outside.tocsr())
    return Clusters(members.indptr.astype(np.uint64), sites.astype(np.uint64), fields)
