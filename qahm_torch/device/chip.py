r"""What a device says of itself: its working qubits and couplers, its ranges, its timing."""

from __future__ import annotations

__all__ = ["Chip"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from qahm_torch.device.redaction import quoted, tidied
from qahm_torch.ising import CouplingGraph

Range = tuple[float, float]
# Beyond these, a number is no property of a device.
LARGEST, LARGEST_SIDE = 10**9, 1000


@dataclass(frozen=True, eq=False, repr=False)
class Chip:
    r"""The working graph of an annealer and the ranges of what it takes, an immutable value.

    What a device does not tell is None. Biases are in the units of programmed values, times in
    microseconds, as devices give them.

    Arguments:
        name: The name of the device.
        qubits: The working qubits in increasing order, of shape (Q,).
        couplers: The working couplers as pairs of qubits, each and all of them in increasing
            order, of shape (C, 2).
        graph_id: What the service calls this working graph; it changes with each calibration that
            loses or regains a qubit.
        topology: The family of the graph: "chimera", "pegasus" or "zephyr".
        shape: The sizes of the family's graph.
        h_range: The range of fields.
        j_range: The range of couplings.
        extended_j_range: The range of couplings where they are not to be scaled; that of `j_range`
            if the device has no other.
        per_qubit_coupling_range: The range of the sum of couplings of a qubit.
        num_reads_range: The range of the number of reads of a problem.
        annealing_time_range: The range of annealing times, in microseconds.
        problem_run_duration_range: The range of the time of a problem, in microseconds.
        max_anneal_schedule_points: The largest number of points of an annealing schedule.
        parameters: The names of the keywords that the device takes.
        timing: The parameters of the device's timing model (`estimate_access_time`).

    References:
        | QPU Solver Properties (D-Wave Systems)
        | https://docs.dwavequantum.com/en/latest/quantum_research/solver_properties_all.html

    Example:
        >>> from dwave.system.testing import MockDWaveSampler
        >>> device = MockDWaveSampler(topology_type="zephyr", topology_shape=[2])
        >>> Chip.of(device)
        Chip(MockDWaveSampler, zephyr [2], 160 qubits, 1224 couplers)
    """

    name: str
    qubits: Tensor
    couplers: Tensor
    graph_id: str | None = None
    topology: str | None = None
    shape: tuple[int, ...] | None = None
    h_range: Range | None = None
    j_range: Range | None = None
    extended_j_range: Range | None = None
    per_qubit_coupling_range: Range | None = None
    num_reads_range: tuple[int, int] | None = None
    annealing_time_range: Range | None = None
    problem_run_duration_range: Range | None = None
    max_anneal_schedule_points: int | None = None
    parameters: frozenset[str] = frozenset()
    timing: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, sampler: Any) -> Chip:
        r"""Returns what a structured sampler says of itself.

        Arguments:
            sampler: A QPU, its mock, the simulated device, or any `dimod.Structured` sampler whose
                variables are integers.

        Raises:
            TypeError: If the sampler has no graph.
            ValueError: If its variables are not integers, or its properties not what they should
                be.
        """
        if not (hasattr(sampler, "nodelist") and hasattr(sampler, "edgelist")):
            raise TypeError(
                f"sampler is {type(sampler).__name__}, but a device has a graph, as each "
                "dimod.Structured sampler"
            )
        properties = sampler.properties
        topology, shape = _lattice(properties.get("topology") or {})
        ranges = {name: _pair(name, properties.get(name)) for name in _RANGES}
        ranges["extended_j_range"] = ranges["extended_j_range"] or ranges["j_range"]
        qubits = _qubits(sampler.nodelist)
        return cls(
            name=quoted(properties.get("chip_id") or type(sampler).__name__),
            qubits=qubits,
            couplers=_couplers(sampler.edgelist, qubits),
            graph_id=_graph_id(sampler),
            topology=topology,
            shape=shape,
            max_anneal_schedule_points=_count(
                "max_anneal_schedule_points", properties.get("max_anneal_schedule_points")
            ),
            parameters=frozenset(map(quoted, sampler.parameters)),
            timing=_timing(properties.get("problem_timing_data")),
            **ranges,
        )

    @property
    def num_qubits(self) -> int:
        r"""The number of working qubits."""
        return len(self.qubits)

    @property
    def num_couplers(self) -> int:
        r"""The number of working couplers."""
        return len(self.couplers)

    def graph(self) -> nx.Graph:
        r"""Returns the working graph, with what embedding functions need to know of its family.

        The graph is shared between calls and therefore frozen; its `copy()` can be changed.
        """
        return self._graph

    def coupling_graph(self) -> CouplingGraph:
        r"""Returns the graph of a model with a spin on each working qubit, labeled by qubits."""
        ends = torch.searchsorted(self.qubits, self.couplers)
        return CouplingGraph(self.num_qubits, ends, self.qubits.tolist())

    @cached_property
    def _graph(self) -> nx.Graph:
        nodes, edges = self.qubits.tolist(), [(u, v) for u, v in self.couplers.tolist()]
        if self.topology in ("chimera", "pegasus", "zephyr") and self.shape:
            from dwave import graphs  # type: ignore[attr-defined]

            family = getattr(graphs, f"{self.topology}_graph")
            return nx.freeze(family(*self.shape, node_list=nodes, edge_list=edges))
        graph: nx.Graph = nx.Graph(edges)
        graph.add_nodes_from(nodes)
        return nx.freeze(graph)

    def __getstate__(self) -> dict[str, Any]:
        # A frozen graph holds a function that cannot be pickled, and is quickly built again.
        return {name: value for name, value in vars(self).items() if name != "_graph"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __repr__(self) -> str:
        lattice = f"{self.topology or 'no'} {list(self.shape) if self.shape else 'lattice'}"
        size = f"{self.num_qubits} qubits, {self.num_couplers} couplers"
        return f"Chip({self.name}, {lattice}, {size})"


_RANGES = (
    "h_range",
    "j_range",
    "extended_j_range",
    "per_qubit_coupling_range",
    "num_reads_range",
    "annealing_time_range",
    "problem_run_duration_range",
)


def _pair(name: str, values: Any) -> Any:
    if values is None:
        return None
    if not (isinstance(values, (list, tuple)) and len(values) == 2 and all(map(_is_real, values))):
        raise _strange(name, values, "two numbers are needed")
    low, high = values
    # All of them hold zero, or are of what is counted or lasts.
    if not (low <= high and high >= 0) or (name == "num_reads_range" and high < 1):
        raise _strange(name, values, "that is no range")
    return low, high


def _is_real(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and abs(float(value)) < LARGEST


def _count(name: str, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise _strange(name, value, "a number is needed")
    return value


def _lattice(told: Any) -> tuple[str | None, tuple[int, ...] | None]:
    kind, shape = (told.get("type"), told.get("shape")) if isinstance(told, Mapping) else (0, None)
    is_shape = isinstance(shape, (list, tuple)) and all(
        _is_real(size) and size == int(size) and 0 < size <= LARGEST_SIDE for size in shape
    )
    if not (kind is None or isinstance(kind, str)) or not (shape is None or is_shape):
        raise _strange("topology", told, "a type and a shape of small numbers are needed")
    known = None if kind is None else quoted(kind)
    return known, tuple(map(int, shape)) if shape else None


def _timing(told: Any) -> dict[str, Any] | None:
    if told is not None and not isinstance(told, Mapping):
        raise _strange("problem_timing_data", told, "names with numbers are needed")
    return tidied(told)


def _strange(name: str, value: Any, needed: str) -> ValueError:
    return ValueError(f"{name} of the device is {quoted(value, 80)}, but {needed}")


def _qubits(nodes: Iterable[Any]) -> Tensor:
    nodes = list(nodes)
    for node in nodes:
        if isinstance(node, bool) or not isinstance(node, int):
            raise ValueError(
                f"a variable of the device is {node!r}, but models can be placed on qubits named "
                "by integers only"
            )
    if nodes and not (min(nodes) >= 0 and max(nodes) < LARGEST and len(set(nodes)) == len(nodes)):
        raise ValueError(
            f"the qubits of the device are named from {min(nodes)} to {max(nodes)}, but each is "
            "there once, and none is negative or huge"
        )
    return torch.tensor(sorted(nodes), dtype=torch.int64)


def _couplers(edges: Iterable[Sequence[Any]], qubits: Tensor) -> Tensor:
    known = set(qubits.tolist())
    pairs = set()
    for edge in edges:
        if len(edge) != 2 or edge[0] == edge[1] or not known.issuperset(edge):
            raise ValueError(
                f"a coupler of the device is {quoted(edge, 80)}, but it connects two of its qubits"
            )
        pairs.add((min(edge), max(edge)))
    return torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)


def _graph_id(sampler: Any) -> str | None:
    solver = getattr(sampler, "solver", None)
    known = getattr(solver, "graph_id", None) or sampler.properties.get("graph_id")
    return None if known is None else quoted(known)
