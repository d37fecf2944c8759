r"""What a problem costs, before it is submitted."""

from __future__ import annotations

__all__ = ["estimate_access_time"]

from collections.abc import Sequence

from qahm_torch.device.chip import Chip


def estimate_access_time(
    chip: Chip,
    num_qubits: int,
    num_reads: int = 1,
    annealing_time: float | None = None,
    *,
    anneal_schedule: Sequence[Sequence[float]] | None = None,
    reinitialize_state: bool = True,
    programming_thermalization: float | None = None,
    readout_thermalization: float | None = None,
    reduce_intersample_correlation: bool = False,
) -> float | None:
    r"""Returns the QPU access time of a problem in seconds, None if the device has no timing data.

    It is the device's own timing model, as the cloud client computes it,

    .. math:: T = T_p + \mathrm{num\_reads} \, (t_a + t_r(\mathrm{num\_qubits}) + t_d),

    with the times of programming, anneal, readout and delay: an estimate of what is billed, not a
    bound. The arguments are those of the submission; None is the device's default. The fast-anneal
    protocol is not modeled.

    Arguments:
        chip: The device.
        num_qubits: The number of qubits that the problem uses.
        num_reads: The number of reads.
        annealing_time: The time of an anneal, in microseconds.
        anneal_schedule: Points (microseconds, s), in place of `annealing_time`; a schedule that
            starts at s = 1 is a reverse anneal.
        reinitialize_state: Whether each read of a reverse anneal starts from the same state.
        programming_thermalization: The wait after programming, in microseconds.
        readout_thermalization: The wait after each read, in microseconds.
        reduce_intersample_correlation: Whether to wait longer between reads.

    Raises:
        ValueError: If a number is not positive, both `annealing_time` and `anneal_schedule` are
            given, or the device has a timing model that the client does not know.

    References:
        Operation and Timing (D-Wave Systems,
        https://docs.dwavequantum.com/en/latest/quantum_research/operation_timing.html)

    Example:
        >>> from dwave.system.testing import MockDWaveSampler
        >>> from dwave.cloud.testing.mocks import qpu_problem_timing_data
        >>> timing = {"problem_timing_data": qpu_problem_timing_data()}
        >>> chip = Chip.of(MockDWaveSampler(properties=timing))
        >>> round(estimate_access_time(chip, num_qubits=100, num_reads=1000), 3)
        0.208
    """
    if num_qubits < 1 or num_reads < 1:
        raise ValueError(
            f"num_qubits is {num_qubits} and num_reads {num_reads}, but a problem has 1 at least"
        )
    if annealing_time is not None and not annealing_time > 0:
        raise ValueError(f"annealing_time is {annealing_time}, but times are positive")
    if chip.timing is None:
        return None
    microseconds = _solver(chip).estimate_qpu_access_time(
        num_qubits,
        num_reads,
        annealing_time=annealing_time,
        anneal_schedule=anneal_schedule,
        # The model asks only whether there is one.
        initial_state=[(0, 1)] if anneal_schedule else None,
        reinitialize_state=reinitialize_state,
        programming_thermalization=_explicit(programming_thermalization),
        readout_thermalization=_explicit(readout_thermalization),
        reduce_intersample_correlation=reduce_intersample_correlation,
    )
    return float(microseconds) * 1e-6


def _explicit(time: float | None) -> float | None:
    # The client takes a zero for the default.
    return 1e-9 if time == 0 else time


def _solver(chip: Chip):  # type: ignore[no-untyped-def]
    from dwave.cloud.solver import StructuredSolver

    properties = {
        "supported_problem_types": ["ising"],
        "parameters": {},
        "qubits": [],
        "couplers": [],
        "problem_timing_data": dict(chip.timing or {}),
    }
    data = {
        "identity": {"name": chip.name},
        "status": "ONLINE",
        "description": "",
        "avg_load": 0.0,
        "properties": properties,
    }
    return StructuredSolver(client=None, data=data)
