r"""A problem as the chip of the simulated annealer takes it, and what it refuses."""

from __future__ import annotations

__all__ = ["Problem", "check_ranges", "fitting_scale", "pair_keys", "problem_on_chip"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import dimod


class Problem(NamedTuple):
    r"""An Ising problem on the qubits of a chip."""

    qubits: NDArray[np.int64]  # (N,)
    h: NDArray[np.float64]  # (N,)
    edges: NDArray[np.int64]  # (E, 2), positions in `qubits`
    J: NDArray[np.float64]  # (E,)

    def scaled(self, factor: float) -> Problem:
        r"""Returns the problem with all fields and couplings multiplied by the factor."""
        return self._replace(h=self.h * factor, J=self.J * factor)

    def totals(self) -> NDArray[np.float64]:
        r"""Returns the sum of the couplings of each qubit."""
        both = np.concatenate([self.J, self.J])
        totals = np.bincount(self.edges.T.ravel(), both, minlength=len(self.qubits))
        return totals.astype(np.float64)


def problem_on_chip(
    bqm: dimod.BinaryQuadraticModel, qubits: frozenset[int], couplers: NDArray[np.int64]
) -> Problem:
    r"""Returns the spins' problem of a model.

    Arguments:
        bqm: The model.
        qubits: The working qubits.
        couplers: The `pair_keys` of the working couplers, in ascending order.

    Raises:
        ValueError: If a field or coupling is not finite.
        dimod.exceptions.BinaryQuadraticModelStructureError: If the model uses qubits or couplers
            that the chip does not have.
    """
    import dimod
    from dimod.exceptions import BinaryQuadraticModelStructureError

    spin = bqm.change_vartype(dimod.SPIN, inplace=False)
    labels = list(spin.variables)
    strange = [v for v in labels if v not in qubits]
    if strange:
        raise BinaryQuadraticModelStructureError(
            f"variable {strange[0]!r} is not a working qubit of the chip"
        )
    h, (row, column, J) = spin.to_numpy_vectors(variable_order=labels)[:2]
    sites = np.array(labels, np.int64)
    edges = np.stack([row, column], axis=-1).astype(np.int64)
    missing = _missing(pair_keys(sites[edges]), couplers)
    if missing.any():
        u, v = sorted(sites[edges[missing.argmax()]].tolist())
        raise BinaryQuadraticModelStructureError(
            f"the chip has no coupler between the qubits {u} and {v}"
        )
    problem = Problem(sites, h.astype(np.float64), edges, J.astype(np.float64))
    _check_finite(problem)
    return problem


def fitting_scale(problem: Problem, properties: Mapping[str, Any]) -> float:
    r"""Returns the largest factor that keeps the problem within all ranges."""
    excess = max(
        max(values.min(initial=0) / low, values.max(initial=0) / high)
        for _, values, (low, high) in _ranges(problem, properties)
    )
    return 1 / excess if excess > 0 else 1.0


def check_ranges(problem: Problem, properties: Mapping[str, Any]) -> None:
    r"""Raises ValueError if a value, or a sum of couplings, is out of the range of the device."""
    for name, values, (low, high) in _ranges(problem, properties):
        outside = (values < low) | (values > high)
        if outside.any():
            raise ValueError(
                f"{_named(problem, name, values, outside)}, but the range of the device is "
                f"[{low:g}, {high:g}] (auto_scale=True scales the problem into it)"
            )


def pair_keys(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    r"""Returns a number for each pair of qubits, of shape (E, 2), whatever their order."""
    low: NDArray[np.int64] = pairs.min(-1, initial=2**31)
    high: NDArray[np.int64] = pairs.max(-1, initial=0)
    return low * 2**31 + high


def _missing(keys: NDArray[np.int64], there: NDArray[np.int64]) -> NDArray[np.bool_]:
    # A search takes a hundredth of the time of `np.isin`, which sorts or hashes a whole chip.
    first, stop = np.searchsorted(there, keys), np.searchsorted(there, keys, side="right")
    return np.equal(first, stop)


def _ranges(
    problem: Problem, properties: Mapping[str, Any]
) -> list[tuple[str, NDArray[np.float64], Sequence[float]]]:
    return [
        ("h", problem.h, properties["h_range"]),
        ("J", problem.J, properties["extended_j_range"]),
        ("the sum of J", problem.totals(), properties["per_qubit_coupling_range"]),
    ]


def _check_finite(problem: Problem) -> None:
    for name, values in (("h", problem.h), ("J", problem.J)):
        wrong = ~np.isfinite(values)
        if wrong.any():
            raise ValueError(
                f"{_named(problem, name, values, wrong)}, but only finite ones can be programmed"
            )


def _named(
    problem: Problem, name: str, values: NDArray[np.float64], wrong: NDArray[np.bool_]
) -> str:
    r"""Returns the first wrong value in words."""
    first = int(wrong.argmax())
    if name == "J":
        return f"J is {values[first]:g} at {sorted(problem.qubits[problem.edges[first]].tolist())}"
    return f"{name} is {values[first]:g} at {problem.qubits[first]}"
