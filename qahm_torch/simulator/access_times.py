r"""How long the chip of the simulated annealer takes, as a QPU would."""

from __future__ import annotations

__all__ = ["access_times", "timing_data"]

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from qahm_torch.simulator.request import Request

_COMMON: Final = {
    "version": "1.0.0",
    "reverse_annealing_with_reinit_prog_time_delta": 0.0,
    "default_programming_thermalization": 1000.0,
    "default_annealing_time": 20.0,
    "readout_time_model": "pwl_log_log",
    "qpu_delay_time_per_sample": 20.54,
    "default_readout_thermalization": 0.0,
    "decorrelation_max_nominal_anneal_time": 2000.0,
    "decorrelation_time_range": [500.0, 10000.0],
}
# What two machines said of themselves in August 2022, the D-Wave 2000Q 6 and the Advantage 4.1,
# in microseconds. The source is `dwave.cloud.testing.mocks` of dwave-cloud-client 0.14.
_OF_2000Q: Final = {
    "typical_programming_time": 10536.81,
    "reverse_annealing_without_reinit_prog_time_delta": 359.58,
    "readout_time_model_parameters": [
        *(0.0, 3.30984300471607),
        *(2.2975416678181597, 2.2975416678181597),
    ],
    "reverse_annealing_with_reinit_delay_time_delta": 586.38,
    "reverse_annealing_without_reinit_delay_time_delta": -5.0,
}
_OF_ADVANTAGE: Final = {
    "typical_programming_time": 14072.88,
    "reverse_annealing_without_reinit_prog_time_delta": 5.55,
    "readout_time_model_parameters": [
        *(0.0, 0.7699665876947938, 1.7242758696010096),
        *(2.711975459489206, 3.1639057672764026, 3.750276915153992),
        *(1.539131714800995, 1.8726623164229292, 2.125631787097315),
        *(2.332672340068556, 2.371606651233025, 2.3716219271760215),
    ],
    "reverse_annealing_with_reinit_delay_time_delta": -4.5,
    "reverse_annealing_without_reinit_delay_time_delta": -1.5,
}


def timing_data(family: str) -> dict[str, Any]:
    r"""Returns what a QPU of this topology tells of its times, in microseconds."""
    return {**_COMMON, **(_OF_2000Q if family == "chimera" else _OF_ADVANTAGE)}


def access_times(family: str, num_qubits: int, request: Request) -> dict[str, float]:
    r"""Returns the times of a run in microseconds, as a QPU reports them.

    They are those that `dwave.cloud.solver.StructuredSolver.estimate_qpu_access_time` expects,
    save that a thermalization of zero takes no time.

    Arguments:
        family: The topology.
        num_qubits: The number of qubits that the problem uses.
        request: The settings of the run.

    References:
        | Operation and Timing (D-Wave Systems)
        | https://docs.dwavequantum.com/en/latest/quantum_research/operation_timing.html
    """
    data, num_reads = timing_data(family), request.num_reads
    programming_extra, delay_extra = _extra_of_reverse_anneals(data, request)
    cooling, read_cooling = request.thermalizations(data)
    programming = data["typical_programming_time"] + programming_extra + cooling
    anneal, delay = request.duration(data), data["qpu_delay_time_per_sample"]
    readout = _readout_time(data, num_qubits) + delay_extra + read_cooling
    sampling = num_reads * (anneal + readout + delay)
    return {
        "qpu_sampling_time": sampling,
        "qpu_anneal_time_per_sample": anneal,
        "qpu_readout_time_per_sample": readout,
        "qpu_delay_time_per_sample": delay,
        "qpu_programming_time": programming,
        "qpu_access_time": programming + sampling,
        "qpu_access_overhead_time": 1000.0,
        "post_processing_overhead_time": 1.0 * num_reads,
        "total_post_processing_time": 1.0 * num_reads,
    }


def _extra_of_reverse_anneals(data: dict[str, Any], request: Request) -> tuple[float, float]:
    if not request.is_reverse:
        return 0.0, 0.0
    kind = "with" if request.reinitialize_state else "without"
    programming = data[f"reverse_annealing_{kind}_reinit_prog_time_delta"]
    return programming, data[f"reverse_annealing_{kind}_reinit_delay_time_delta"]


def _readout_time(data: dict[str, Any], num_qubits: int) -> float:
    sizes, times = np.split(np.array(data["readout_time_model_parameters"]), 2)
    return float(10 ** np.interp(np.log10(max(1, num_qubits)), sizes, times))
