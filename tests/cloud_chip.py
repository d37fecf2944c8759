r"""The QPU of the loopback cloud service: its graph, its problems, its answers, its times."""

from __future__ import annotations

__all__ = [
    "Answer",
    "Chip",
    "Problem",
    "Terms",
    "as_ising",
    "check_params",
    "check_ranges",
    "decode",
    "encode",
    "energies_of",
    "filtered",
    "histogram_of",
    "now",
    "programmed",
    "rows_of",
    "timing_of",
    "values_of",
]

import base64
import random
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import dimod
import numpy as np
from numpy import ndarray
from scipy.sparse import coo_array


class Terms(NamedTuple):
    r"""A problem in arrays; `pairs` holds positions in `qubits`."""

    qubits: ndarray  # (n,)
    linear: ndarray  # (n,)
    pairs: ndarray  # (C, 2)
    quadratic: ndarray  # (C,)


class Answer(NamedTuple):
    r"""Samples on their way to the encoder."""

    qubits: ndarray  # (n,)
    bits: ndarray  # (R, n)
    energies: ndarray  # (R,), without offset
    occurrences: ndarray | None  # (R,), None for raw answers
    num_variables: int
    timing: dict[str, float]


@dataclass
class Problem:
    r"""A job that the service has accepted, and what becomes of it."""

    id: str
    type: str  # "ising" or "qubo"
    label: str | None
    solver: dict[str, Any]
    params: dict[str, Any]
    terms: Terms
    seed: tuple[int, int]
    delay: float | None  # seconds until it has run; None for never
    outcome: str = "COMPLETED"
    error_message: str | None = None
    refusal: dict[str, Any] | None = None
    status: str = "PENDING"
    billed: bool = False  # True once it has run
    bits: ndarray | None = field(default=None, repr=False)
    submitted_on: str = field(default_factory=lambda: now())
    solved_on: str | None = None

    @property
    def num_reads(self) -> int:
        return self.params.get("num_reads", 1)

    @property
    def linear(self) -> dict[int, float]:
        return dict(zip(self.terms.qubits.tolist(), self.terms.linear.tolist()))

    @property
    def quadratic(self) -> dict[tuple[int, int], float]:
        pairs = self.terms.qubits[self.terms.pairs].tolist()
        return dict(zip(map(tuple, pairs), self.terms.quadratic.tolist()))

    def status_object(self) -> dict[str, Any]:
        names = ("id", "type", "label", "solver", "status", "submitted_on", "solved_on")
        message = {name: getattr(self, name) for name in (*names, "error_message")}
        return {name: value for name, value in message.items() if value is not None}


@dataclass(frozen=True)
class Chip:
    r"""A solver as the service lists it, with its working graph in arrays."""

    definition: dict[str, Any]
    qubits: ndarray  # (n,)
    couplers: ndarray  # (C, 2)

    @classmethod
    def build(
        cls,
        topology: str,
        shape: Sequence[int],
        missing: int | Collection[int],
        properties: Mapping[str, Any],
        seed: int,
    ) -> Chip:
        from dwave.cloud.testing import mocks

        makers = {
            "chimera": mocks.qpu_chimera_solver_data,
            "pegasus": mocks.qpu_pegasus_solver_data,
            "zephyr": mocks.qpu_zephyr_solver_data,
        }
        if topology not in makers:
            raise ValueError(f"topology is {topology!r}, but has to be one of {list(makers)}")
        definition = makers[topology](*shape, avg_load=0.1)
        definition["properties"] |= _properties(topology, mocks.qpu_problem_timing_data())
        definition["properties"] |= {"chip_id": definition["identity"]["name"], **properties}
        qubits = definition["properties"]["qubits"]
        if isinstance(missing, int):
            missing = random.Random(seed).sample(qubits, missing)
        couplers = np.array(definition["properties"]["couplers"])
        return cls(definition, np.array(qubits), couplers).without(missing)

    def without(self, missing: Collection[int]) -> Chip:
        gone = np.array(list(missing), dtype=int)
        qubits = self.qubits[~np.isin(self.qubits, gone)]
        couplers = self.couplers[~np.isin(self.couplers, gone).any(1)]
        graph_id = f"{zlib.crc32(qubits.tobytes() + couplers.tobytes()):08x}"
        graph = {"qubits": qubits.tolist(), "couplers": couplers.tolist()}
        definition = self.definition | {
            "identity": {"name": self.name, "version": {"graph_id": graph_id}},
            "properties": self.properties | graph,
        }
        return Chip(definition, qubits, couplers)

    @property
    def name(self) -> str:
        return self.definition["identity"]["name"]

    @property
    def properties(self) -> dict[str, Any]:
        return self.definition["properties"]


PARAMETERS = (
    "anneal_offsets",
    "anneal_schedule",
    "annealing_time",
    "answer_mode",
    "auto_scale",
    "fast_anneal",
    "flux_biases",
    "flux_drift_compensation",
    "h_gain_schedule",
    "initial_state",
    "label",
    "num_reads",
    "programming_thermalization",
    "readout_thermalization",
    "reduce_intersample_correlation",
    "reinitialize_state",
)


def _properties(topology: str, timing_data: dict[str, Any]) -> dict[str, Any]:
    small = topology == "chimera"
    return {
        "supported_problem_types": ["ising", "qubo"],
        "parameters": dict.fromkeys(PARAMETERS),
        "h_range": [-2.0, 2.0] if small else [-4.0, 4.0],
        "j_range": [-1.0, 1.0],
        "extended_j_range": [-2.0, 1.0],
        "per_qubit_coupling_range": [-9.0, 6.0] if small else [-18.0, 15.0],
        "num_reads_range": [1, 10000],
        "annealing_time_range": [0.5, 2000.0],
        "fast_anneal_time_range": [0.005, 2000.0],
        "default_annealing_time": 20.0,
        "max_anneal_schedule_points": 12,
        "programming_thermalization_range": [0.0, 10000.0],
        "default_programming_thermalization": 1000.0,
        "readout_thermalization_range": [0.0, 10000.0],
        "default_readout_thermalization": 0.0,
        "problem_run_duration_range": [0.0, 1000000.0],
        "h_gain_schedule_range": [-3.0, 3.0],
        "max_h_gain_schedule_points": 20,
        "problem_timing_data": timing_data,
        "tags": [],
    }


def filtered(solver: dict[str, Any], rules: str) -> dict[str, Any]:
    first, *changes = rules.split(",")
    names = set(solver) if first == "all" else set()
    for change in changes:
        names = names | {change[1:]} if change[0] == "+" else names - {change[1:]}
    return {name: value for name, value in solver.items() if name in names}


# Problems in, refusals out.


def decode(chip: Chip, data: Mapping[str, Any]) -> Terms:
    linear = _from_base64(data["lin"])
    if len(linear) != len(chip.qubits):
        raise ValueError(f"lin has {len(linear)} entries for {len(chip.qubits)} qubits")
    used = ~np.isnan(linear)
    position = np.full(chip.properties["num_qubits"], -1)
    position[chip.qubits[used]] = np.arange(used.sum())
    pairs = position[chip.couplers]
    pairs = pairs[(pairs >= 0).all(1)]
    quadratic = _from_base64(data["quad"])
    if len(quadratic) != len(pairs):
        raise ValueError(f"quad has {len(quadratic)} entries for {len(pairs)} couplers in use")
    if not (np.isfinite(linear[used]).all() and np.isfinite(quadratic).all()):
        raise ValueError("the problem holds values that are not finite")
    return Terms(chip.qubits[used], linear[used], pairs, quadratic)


def check_params(properties: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    unknown = [name for name in params if name not in properties["parameters"]]
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]}")
    if params.get("answer_mode", "raw") not in ("raw", "histogram"):
        raise ValueError(f"answer_mode is {params['answer_mode']!r}")
    for name in ("num_reads", "annealing_time", "programming_thermalization"):
        _check_range(name, [params.get(name, properties[f"{name}_range"][0])], properties)
    num_points = len(params.get("anneal_schedule", ()))
    if num_points > properties["max_anneal_schedule_points"]:
        raise ValueError(f"anneal_schedule has {num_points} points")
    cost = _cost(properties, 1, params)
    duration = cost.thermalization + params.get("num_reads", 1) * (cost.anneal + cost.rest)
    _check_range("problem_run_duration", [duration], properties)


def check_ranges(properties: Mapping[str, Any], terms: Terms) -> None:
    _check_range("h", terms.linear, properties)
    _check_range("extended_j", terms.quadratic, properties)
    _check_range("per_qubit_coupling", _totals(terms), properties)


def _check_range(
    name: str, values: ndarray | Sequence[float], properties: Mapping[str, Any]
) -> None:
    low, high = properties[f"{name}_range"]
    slack = 1e-9 * (high - low)
    wrong = [float(value) for value in values if not low - slack <= value <= high + slack]
    if wrong:
        raise ValueError(f"{name} of {wrong[0]} is out of range [{low}, {high}]")


def as_ising(problem_type: str, terms: Terms) -> Terms:
    if problem_type == "ising":
        return terms
    quarters = terms._replace(quadratic=terms.quadratic / 4)
    return quarters._replace(linear=terms.linear / 2 + _totals(quarters))


def _totals(terms: Terms) -> ndarray:
    r"""Returns the sum of the couplings of each qubit."""
    weights = np.repeat(terms.quadratic, 2)
    return np.bincount(terms.pairs.ravel(), weights, minlength=len(terms.qubits))


# Samples.


def programmed(properties: Mapping[str, Any], problem: Problem) -> dimod.BinaryQuadraticModel:
    terms = as_ising(problem.type, problem.terms)
    scale = 1.0
    if problem.params.get("auto_scale", True):
        filled = _filling(properties, terms)
        scale = 1 / filled if filled else 1.0
    linear = dict(zip(terms.qubits.tolist(), (scale * terms.linear).tolist()))
    pairs = map(tuple, terms.qubits[terms.pairs].tolist())
    quadratic = dict(zip(pairs, (scale * terms.quadratic).tolist()))
    return dimod.BinaryQuadraticModel.from_ising(linear, quadratic)


def _filling(properties: Mapping[str, Any], terms: Terms) -> float:
    r"""Returns which multiple of the ranges the problem takes up."""
    sides = [
        (terms.linear, properties["h_range"]),
        (terms.quadratic, properties["extended_j_range"]),
        (_totals(terms), properties["per_qubit_coupling_range"]),
    ]
    return max((values / end).max(initial=0.0) for values, ends in sides for end in ends)


def rows_of(sampleset: dimod.SampleSet, qubits: list[int]) -> ndarray:
    columns = [sampleset.variables.index(qubit) for qubit in qubits]
    spins = np.repeat(sampleset.record.sample, sampleset.record.num_occurrences, axis=0)
    return (spins[:, columns] > 0).astype(np.uint8)


def histogram_of(bits: ndarray) -> tuple[ndarray, ndarray]:
    # Rows compare fast as single values; the pad leaves no row without bytes.
    packed = np.ascontiguousarray(np.packbits(np.pad(bits, ((0, 0), (0, 1))), axis=1))
    keys = packed.view(f"V{packed.shape[1]}").ravel()
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    return bits[first], counts


def values_of(problem_type: str, bits: ndarray) -> ndarray:
    return 2 * bits.astype(np.int8) - 1 if problem_type == "ising" else bits.astype(np.int8)


def energies_of(terms: Terms, values: ndarray) -> ndarray:
    size = len(terms.qubits)
    coupling = coo_array((terms.quadratic, terms.pairs.T), shape=(size, size)).tocsr()
    columns = values.T.astype(float)
    return terms.linear @ columns + (columns * (coupling @ columns)).sum(0)


# Times, in microseconds.


class _Cost(NamedTuple):
    thermalization: float  # after programming
    anneal: float  # per read
    readout: float  # per read
    rest: float  # the thermalization after each read


def _cost(properties: Mapping[str, Any], num_qubits: int, params: Mapping[str, Any]) -> _Cost:
    def chosen(name: str) -> float:
        return params.get(name, properties[f"default_{name}"])

    schedule = params.get("anneal_schedule")
    anneal = schedule[-1][0] if schedule else chosen("annealing_time")
    model = properties["problem_timing_data"]["readout_time_model_parameters"]
    sizes, times = np.split(np.array(model), 2)
    readout = 10 ** float(np.interp(np.log10(num_qubits), sizes, times))
    thermalization = chosen("programming_thermalization")
    return _Cost(thermalization, anneal, readout, chosen("readout_thermalization"))


def timing_of(
    properties: Mapping[str, Any], num_qubits: int, params: Mapping[str, Any]
) -> dict[str, float]:
    data = properties["problem_timing_data"]
    cost = _cost(properties, max(num_qubits, 1), params)
    delay = data["qpu_delay_time_per_sample"] + cost.rest
    programming = data["typical_programming_time"] + cost.thermalization
    sampling = params.get("num_reads", 1) * (cost.anneal + cost.readout + delay)
    return {
        "qpu_sampling_time": sampling,
        "qpu_anneal_time_per_sample": cost.anneal,
        "qpu_readout_time_per_sample": cost.readout,
        "qpu_access_time": programming + sampling,
        "qpu_access_overhead_time": 1500.0,
        "qpu_programming_time": programming,
        "qpu_delay_time_per_sample": delay,
        "total_post_processing_time": 1.0,
        "post_processing_overhead_time": 1.0,
    }


# The encoding.


def encode(answer: Answer) -> dict[str, Any]:
    message = {
        "format": "qp",
        "num_variables": answer.num_variables,
        "active_variables": _to_base64(answer.qubits, "<i4"),
        "energies": _to_base64(answer.energies, "<f8"),
        "solutions": _to_base64(np.packbits(answer.bits, axis=1), "u1"),
        "timing": answer.timing,
    }
    if answer.occurrences is not None:
        message["num_occurrences"] = _to_base64(answer.occurrences, "<i4")
    return message


def _to_base64(values: ndarray, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


def _from_base64(text: str) -> ndarray:
    return np.frombuffer(base64.b64decode(text), "<f8")


def now() -> str:
    return datetime.now(timezone.utc).isoformat()
