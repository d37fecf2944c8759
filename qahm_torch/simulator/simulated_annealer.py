r"""A simulated quantum annealer, with the faults of a real one."""

from __future__ import annotations

__all__ = ["SimulatedAnnealer"]

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from dimod.core.sampler import Sampler
from dimod.core.structured import Structured
from numpy.typing import NDArray

from qahm_torch.simulator.anneal import anneal
from qahm_torch.simulator.answer import answer
from qahm_torch.simulator.faults import (
    instance_offset,
    lasting_errors,
    noisy,
    quantized,
    read_out,
)
from qahm_torch.simulator.problem import (
    Problem,
    check_ranges,
    fitting_scale,
    pair_keys,
    problem_on_chip,
)
from qahm_torch.simulator.properties import (
    PARAMETERS,
    chip_properties,
    described_graph,
    working_graph,
)
from qahm_torch.simulator.request import Request, schedule_points

if TYPE_CHECKING:
    import dimod
    from networkx import Graph

# How the inverse temperature and the number of sweeps grow with the duration of an anneal.
BETA_EXPONENT = 0.05
SWEEPS_EXPONENT = 0.25

NOT_NEGATIVE = (
    *("beta_drift", "beta_spread", "h_noise", "J_noise", "h_error", "J_error"),
    *("freeze_out_gamma", "sleep"),
)

_TICKETS = threading.Lock()


class SimulatedAnnealer(Sampler, Structured):
    r"""Answers like a quantum annealer: from a Boltzmann law at a temperature nobody tells.

    Samples of a problem programmed with fields h and couplings J follow about

    .. math:: p(s) = \langle s| e^{-H} |s \rangle / Z, \quad
        H = \beta \Big( \sum_i h_i Z_i + \sum_{ij} J_{ij} Z_i Z_j - \Gamma \sum_i X_i \Big)

    with every setting at its default very closely, since :math:`\Gamma = 0` and 200 sweeps reach
    equilibrium in problems that are not glassy. The faults of a machine are added one by one:

    - :math:`\log \beta = \log` `beta` + a random walk of `beta_drift` per call + `beta_spread`
      times a smooth function of the programmed problem + 0.05 log(annealing time / 20
      microseconds).
    - What is programmed is rounded to `bits`, and off by Gaussian errors: those of `h_noise` and
      `J_noise` are drawn anew in each call, those of `h_error` and `J_error` are the chip's own.
    - Sweeps of Gibbs sampling at rising inverse temperature stand for the anneal, a half of them
      at :math:`s(t) \beta` while s rises from 0 to 1, and a half at :math:`\beta`. Their number
      grows by the fourth root of the annealing time. A reverse anneal spends all of them on its
      schedule. Few sweeps freeze the chains out of equilibrium.
    - With `freeze_out_gamma`, the law is that of a transverse field, by path-integral Monte Carlo.
    - Each spin of the answer is wrong with probability `readout_error`.

    Energies in the answer are those of the problem as asked. Times in `info["timing"]` are those
    expected of a real device. Successive calls draw from one stream of random numbers that `seed`
    starts; a `seed` in the call stands for that call only.

    Arguments:
        topology: "chimera", "pegasus" or "zephyr".
        shape: The size of the chip, or the list of its sizes.
        missing_qubits: The number of qubits that do not work, or their list.
        missing_couplers: The number of further couplers that do not work, or their list.
        chip_seed: Chooses those, and how the temperature depends on the problem.
        beta: The inverse temperature in units of the programmed scale.
        beta_drift: The standard deviation of the change of log beta from call to call.
        beta_spread: The standard deviation of log beta over problems.
        h_noise: The standard deviation of the programmed fields.
        J_noise: The standard deviation of the programmed couplings.
        h_error: The standard deviation over qubits of an error of the field that stays.
        J_error: The standard deviation over couplers of an error of the coupling that stays.
        bits: The number of bits of programmed values over their range; None for no rounding.
        readout_error: The probability to read a spin wrong.
        num_sweeps: The number of sweeps of an anneal of 20 microseconds.
        freeze_out_gamma: The transverse field at freeze-out, in units of the programmed scale.
        num_slices: The number of Trotter slices with a transverse field.
        sleep: Seconds that each call sleeps, in the place of a network and of a queue.
        seed: The seed; None for a random one.

    Raises:
        ValueError: If a setting is out of its range; in `sample` if the problem is out of the
            ranges in `properties`, holds NaN or infinity, or the request is not one of a QPU.
        dimod.exceptions.BinaryQuadraticModelStructureError: In `sample`, if the problem uses
            qubits or couplers that the chip does not have.

    References:
        | Estimation of effective temperatures in quantum annealers for sampling applications
          (Benedetti et al., 2015)
        | https://arxiv.org/abs/1510.07611
        | Searching for quantum speedup in quasistatic quantum annealers (Amin, 2015)
        | https://arxiv.org/abs/1503.04216

    Example:
        >>> device = SimulatedAnnealer("zephyr", 2, missing_qubits=3, seed=1)
        >>> u, v = device.edgelist[0]
        >>> answer = device.sample_ising({u: 0.5}, {(u, v): -1.0}, num_reads=100)
        >>> int(answer.record.num_occurrences.sum())
        100
    """

    def __init__(
        self,
        topology: str = "pegasus",
        shape: int | Sequence[int] = 16,
        *,
        missing_qubits: int | Sequence[int] = 0,
        missing_couplers: int | Sequence[Sequence[int]] = 0,
        chip_seed: int = 0,
        beta: float = 3.0,
        beta_drift: float = 0.0,
        beta_spread: float = 0.0,
        h_noise: float = 0.0,
        J_noise: float = 0.0,
        h_error: float = 0.0,
        J_error: float = 0.0,
        bits: int | None = None,
        readout_error: float = 0.0,
        num_sweeps: int = 200,
        freeze_out_gamma: float = 0.0,
        num_slices: int = 16,
        sleep: float = 0.0,
        seed: int | None = None,
    ):
        self.beta, self.beta_drift, self.beta_spread = beta, beta_drift, beta_spread
        self.h_noise, self.J_noise, self.bits = h_noise, J_noise, bits
        self.h_error, self.J_error = h_error, J_error
        self.readout_error, self.num_sweeps = readout_error, num_sweeps
        self.freeze_out_gamma, self.num_slices, self.sleep = freeze_out_gamma, num_slices, sleep
        _check_settings(vars(self))
        self.chip_seed = chip_seed
        self.seed = secrets.randbits(63) if seed is None else seed
        graph = working_graph(topology, shape, missing_qubits, missing_couplers, chip_seed)
        self._properties = chip_properties(graph)
        self._edgelist = [(u, v) for u, v in self.properties["couplers"]]
        self._qubits = frozenset(self.nodelist)
        self._couplers = pair_keys(np.array(self.edgelist, np.int64).reshape(-1, 2))
        self._state = {"num_calls": 0, "log_drift": 0.0, "effective_beta": beta}

    @property
    def nodelist(self) -> list[Any]:
        r"""The qubits that work."""
        qubits: list[Any] = self._properties["qubits"]
        return qubits

    @property
    def edgelist(self) -> list[tuple[Any, Any]]:
        r"""The couplers that work, as pairs of qubits."""
        return self._edgelist

    @property
    def properties(self) -> dict[str, Any]:
        r"""What a QPU tells of itself."""
        return self._properties

    @property
    def parameters(self) -> dict[str, Any]:
        r"""What `sample` takes beside the problem, with a description of each."""
        return dict(PARAMETERS)

    @property
    def effective_beta(self) -> float:
        r"""The inverse temperature of the latest call, which a real device does not tell.

        The samples of a call followed :math:`e^{-\beta E}` of the problem as it was programmed,
        after scaling. Before the first call, it is `beta`.
        """
        return self._state["effective_beta"]

    @property
    def control_errors(self) -> tuple[dict[Any, float], dict[tuple[Any, Any], float]]:
        r"""The errors that stay, of fields by qubit and of couplings by coupler.

        They add to what is programmed, in its units. A real device does not tell them.
        """
        h, J = self._lasting_errors(np.array(self.nodelist, np.int64), self._couplers)
        fields = dict(zip(self.nodelist, h.tolist(), strict=True))
        return fields, dict(zip(self.edgelist, J.tolist(), strict=True))

    def state_dict(self) -> dict[str, float]:
        r"""Returns where the device is in its streams of random numbers and in its drift."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        r"""Puts a device of the same settings and seed where another one was.

        Raises:
            ValueError: If the state is not one of `state_dict`.
        """
        if set(state) != set(self._state):
            raise ValueError(f"state has {sorted(state)}, but it needs {sorted(self._state)}")
        self._state = dict(state)

    def to_networkx_graph(self) -> Graph:
        r"""Returns the graph of the chip, as `dwave.graphs` makes it."""
        return described_graph(self.properties)

    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        bqm: dimod.BinaryQuadraticModel,
        num_reads: int = 1,
        answer_mode: str = "histogram",
        auto_scale: bool = True,
        annealing_time: float | None = None,
        anneal_schedule: Sequence[Sequence[float]] | None = None,
        initial_state: Mapping[int, int] | None = None,
        reinitialize_state: bool = True,
        fast_anneal: bool = False,
        programming_thermalization: float | None = None,
        readout_thermalization: float | None = None,
        label: str | None = None,
        seed: int | None = None,
    ) -> dimod.SampleSet:
        r"""Returns samples of a problem on the chip, Ising or QUBO.

        Arguments:
            bqm: The problem, whose variables are qubits.
            num_reads: The number of reads.
            answer_mode: "histogram" for the distinct states in the order of their energies,
                "raw" for all reads in the order of time.
            auto_scale: Whether to scale the problem up or down to fill the ranges of the device.
                The samples then follow the law of the scaled problem.
            annealing_time: The duration of an anneal in microseconds.
            anneal_schedule: The points (time, s) of an anneal instead of its duration; it starts
                at s = 0, or at s = 1 for a reverse anneal, and ends at s = 1.
            initial_state: The state from which a reverse anneal starts: a spin or bit per qubit.
            reinitialize_state: Whether each reverse anneal starts there, or where the one before
                it ended; reads are then simulated one after the other, which is slow.
            fast_anneal: Whether durations down to nanoseconds are allowed.
            programming_thermalization: Microseconds after programming; it only takes time.
            readout_thermalization: Microseconds after each read; it only takes time.
            label: The label of the problem, given back in `info`.
            seed: The seed of this call only; no real device knows it.
        """
        request = Request(
            num_reads=num_reads,
            answer_mode=answer_mode,
            annealing_time=annealing_time,
            anneal_schedule=schedule_points(anneal_schedule),
            initial_state=initial_state,
            reinitialize_state=reinitialize_state,
            fast_anneal=fast_anneal,
            programming_thermalization=programming_thermalization,
            readout_thermalization=readout_thermalization,
        )
        request.check(self.properties)
        problem = problem_on_chip(bqm, self._qubits, self._couplers)
        if auto_scale:
            problem = problem.scaled(fitting_scale(problem, self.properties))
        else:
            check_ranges(problem, self.properties)
        spins = self._run(problem, request, seed)
        time.sleep(self.sleep)
        return answer(bqm, spins, request, self.properties["topology"]["type"], label)

    def _run(self, problem: Problem, request: Request, seed: int | None) -> NDArray[np.int8]:
        speed = request.duration(self.properties) / self.properties["default_annealing_time"]
        beta, rng = self._ticket(problem, speed, seed)
        gamma = beta * self.freeze_out_gamma
        num_sweeps = max(1, round(self.num_sweeps * speed**SWEEPS_EXPONENT))
        cold = self._programmed(problem, rng).scaled(beta)
        spins = anneal(cold, gamma, self.num_slices, num_sweeps, request, rng)
        return read_out(spins, self.readout_error, rng)

    def _programmed(self, problem: Problem, rng: np.random.Generator) -> Problem:
        r"""Returns the problem as the chip takes it, with its errors and those of this call."""
        h = quantized(problem.h, self.properties["h_range"], self.bits)
        J = quantized(problem.J, self.properties["extended_j_range"], self.bits)
        keys = pair_keys(problem.qubits[problem.edges])
        lasting_h, lasting_J = self._lasting_errors(problem.qubits, keys)
        h = noisy(h, self.h_noise, rng) + lasting_h
        return problem._replace(h=h, J=noisy(J, self.J_noise, rng) + lasting_J)

    def _lasting_errors(
        self, qubits: NDArray[np.int64], couplers: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        names, seed = np.array(self.nodelist, np.int64), self.chip_seed
        h = lasting_errors(names, qubits, self.h_error, 2 * seed + 1)
        return h, lasting_errors(self._couplers, couplers, self.J_error, 2 * seed + 2)

    def _ticket(
        self, problem: Problem, speed: float, seed: int | None
    ) -> tuple[float, np.random.Generator]:
        r"""Returns the inverse temperature and the random numbers of the next call."""
        offset = BETA_EXPONENT * np.log(speed)
        if self.beta_spread > 0:
            offset += self.beta_spread * instance_offset(problem.J, problem.h, self.chip_seed)
        with _TICKETS:
            call = self._state["num_calls"]
            drift, stream = np.random.SeedSequence([self.seed, int(call)]).spawn(2)
            step = self.beta_drift * np.random.default_rng(drift).standard_normal()
            log_drift = self._state["log_drift"] + float(step)
            beta = float(self.beta * np.exp(log_drift + offset))
            self._state = {"num_calls": call + 1, "log_drift": log_drift, "effective_beta": beta}
        return beta, np.random.default_rng(stream if seed is None else seed)


def _check_settings(settings: Mapping[str, Any]) -> None:
    for name in ("beta", "num_sweeps", "num_slices"):
        if not settings[name] > 0:
            raise ValueError(f"{name} is {settings[name]}, but it needs to be positive")
    for name in NOT_NEGATIVE:
        if not settings[name] >= 0:
            raise ValueError(f"{name} is {settings[name]}, but it cannot be negative")
    if not 0 <= settings["readout_error"] <= 0.5:
        raise ValueError(f"readout_error is {settings['readout_error']}, but it is from 0 to 0.5")
    if settings["bits"] is not None and settings["bits"] < 1:
        raise ValueError(f"bits is {settings['bits']}, but at least 1 bit is needed")
