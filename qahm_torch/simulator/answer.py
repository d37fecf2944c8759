r"""What the simulated annealer answers."""

from __future__ import annotations

__all__ = ["answer"]

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qahm_torch.simulator.access_times import access_times
from qahm_torch.simulator.request import Request

if TYPE_CHECKING:
    import dimod


def answer(
    bqm: dimod.BinaryQuadraticModel,
    spins: NDArray[np.int8],
    request: Request,
    family: str,
    label: str | None,
) -> dimod.SampleSet:
    r"""Returns reads with their energies and with the times of the run.

    Arguments:
        bqm: The problem as asked.
        spins: The reads of shape (R, N), in the order of the variables.
        request: The settings of the run.
        family: The topology of the chip.
        label: The label of the problem.
    """
    import dimod

    count = np.ones(len(spins), np.int64)
    if request.answer_mode == "histogram":
        spins, count = _distinct(spins)
    values = spins if bqm.vartype is dimod.SPIN else (spins + 1) // 2
    labels = list(bqm.variables)
    energies = np.asarray(bqm.energies((values, labels)), np.float64).reshape(len(values))
    if request.answer_mode == "histogram":
        order = np.argsort(energies, kind="stable")
        values, energies, count = values[order], energies[order], count[order]
    timing = access_times(family, len(labels), request)
    info = {"timing": timing} if label is None else {"timing": timing, "problem_label": label}
    make: Callable[..., dimod.SampleSet] = dimod.SampleSet.from_samples
    return make(
        (values, labels),
        bqm.vartype,
        energies,
        info=info,
        num_occurrences=count,
        sort_labels=False,
    )


def _distinct(spins: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    r"""Returns the distinct reads and how often each came."""
    # Packed into bytes, rows are compared as one value each, which is much faster.
    packed = np.packbits(spins > 0, axis=1)
    if not packed.shape[1]:
        return spins[:1], np.array([len(spins)])
    rows = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, count = np.unique(rows, return_index=True, return_counts=True)
    return spins[first], count
