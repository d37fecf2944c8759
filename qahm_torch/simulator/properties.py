r"""The chip of a simulated annealer: its graph and its properties."""

from __future__ import annotations

__all__ = ["PARAMETERS", "chip_properties", "described_graph", "working_graph"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qahm_torch.simulator.access_times import timing_data

if TYPE_CHECKING:
    from networkx import Graph

PARAMETERS = {
    "num_reads": "The number of reads.",
    "answer_mode": "'histogram' for distinct states by energy, 'raw' for reads in time order.",
    "auto_scale": "Whether the problem is scaled to fill the ranges of fields and couplings.",
    "annealing_time": "The duration of an anneal in microseconds.",
    "anneal_schedule": "Points (time, s) of a piecewise linear anneal; from s = 1 in reverse.",
    "initial_state": "The state from which a reverse anneal starts, by qubit.",
    "reinitialize_state": "Whether each reverse anneal starts from the initial state.",
    "fast_anneal": "Whether annealing times below those of the standard anneal are allowed.",
    "programming_thermalization": "The time to cool down after programming in microseconds.",
    "readout_thermalization": "The time to cool down after a read in microseconds.",
    "label": "The label of the problem.",
    "seed": "The seed of this call; not known to real devices.",
}

_H_RANGE = {"chimera": [-2.0, 2.0], "pegasus": [-4.0, 4.0], "zephyr": [-4.0, 4.0]}
_TOTAL_RANGE = {"chimera": [-9.0, 6.0], "pegasus": [-18.0, 15.0], "zephyr": [-18.0, 15.0]}


def working_graph(
    topology: str,
    shape: int | Sequence[int],
    missing_qubits: int | Sequence[int],
    missing_couplers: int | Sequence[Sequence[int]],
    chip_seed: int,
) -> Graph:
    r"""Returns the graph of the qubits and couplers that work.

    Raises:
        ValueError: If the topology is unknown, or more is missing than there is.
    """
    graph = _graph(topology, [shape] if isinstance(shape, int) else shape)
    rng = np.random.default_rng(chip_seed)
    graph.remove_nodes_from(_missing(sorted(graph.nodes), missing_qubits, "qubits", rng))
    couplers = sorted((min(e), max(e)) for e in graph.edges)
    graph.remove_edges_from(_missing(couplers, missing_couplers, "couplers", rng))
    return graph


def described_graph(properties: Mapping[str, Any]) -> Graph:
    r"""Returns the graph that properties describe, as `dwave.graphs` makes it."""
    topology = properties["topology"]
    return _graph(
        topology["type"],
        topology["shape"],
        node_list=properties["qubits"],
        edge_list=properties["couplers"],
    )


def chip_properties(graph: Graph) -> dict[str, Any]:
    r"""Returns what a QPU with this graph tells of itself."""
    family = graph.graph["family"]
    shape = _shape(graph)
    return {
        "category": "qpu",
        "chip_id": f"simulated_{family}_{'_'.join(map(str, shape))}",
        "supported_problem_types": ["ising", "qubo"],
        "topology": {"type": family, "shape": shape},
        "num_qubits": _nominal_size(family, shape),
        "qubits": sorted(graph.nodes),
        "couplers": sorted([min(e), max(e)] for e in graph.edges),
        "h_range": _H_RANGE[family],
        "j_range": [-1.0, 1.0],
        "extended_j_range": [-2.0, 1.0],
        "per_qubit_coupling_range": _TOTAL_RANGE[family],
        "num_reads_range": [1, 10000],
        "annealing_time_range": [0.5, 2000.0],
        "fast_anneal_time_range": [0.005, 2000.0],
        "default_annealing_time": 20.0,
        "programming_thermalization_range": [0.0, 10000.0],
        "default_programming_thermalization": 1000.0,
        "readout_thermalization_range": [0.0, 10000.0],
        "default_readout_thermalization": 0.0,
        "max_anneal_schedule_points": 12,
        "problem_run_duration_range": [0.0, 1000000.0],
        "problem_timing_data": timing_data(family),
        "quota_conversion_rate": 1,
        "tags": [],
        "parameters": dict(PARAMETERS),
    }


def _graph(topology: str, shape: Sequence[int], **parts: Any) -> Graph:
    from dwave import graphs  # type: ignore[attr-defined]

    makers = {
        "chimera": graphs.chimera_graph,
        "pegasus": graphs.pegasus_graph,
        "zephyr": graphs.zephyr_graph,
    }
    if topology not in makers:
        raise ValueError(f"topology is {topology!r}, but one of {', '.join(makers)} is needed")
    return makers[topology](*shape, **parts)


def _missing(
    there: list[Any], missing: int | Sequence[Any], what: str, rng: np.random.Generator
) -> list[Any]:
    if isinstance(missing, int):
        if not 0 <= missing <= len(there):
            raise ValueError(f"missing_{what} is {missing}, but the chip has {len(there)} {what}")
        return [there[i] for i in rng.choice(len(there), missing, replace=False)]
    named = [tuple(sorted(m)) if what == "couplers" else m for m in missing]
    strange = set(named) - set(there)
    if strange:
        raise ValueError(f"missing_{what} names {min(strange)}, but the chip does not have it")
    return named


def _shape(graph: Graph) -> list[int]:
    kept = {
        "chimera": ("rows", "columns", "tile"),
        "pegasus": ("rows",),
        "zephyr": ("rows", "tile"),
    }
    return [graph.graph[key] for key in kept[graph.graph["family"]]]


def _nominal_size(family: str, shape: list[int]) -> int:
    if family == "chimera":
        return 2 * shape[0] * shape[1] * shape[2]
    if family == "pegasus":
        return 24 * shape[0] * (shape[0] - 1)
    return 4 * shape[1] * shape[0] * (2 * shape[0] + 1)
