r"""Running a case of `fault_cases`, and comparing what came out with what the service knows."""

from __future__ import annotations

__all__ = [
    "READS",
    "TOKEN",
    "Case",
    "Fault",
    "Observation",
    "Prepare",
    "ever",
    "native_model",
    "observe",
    "once",
]

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pytest
from cloud_chip import Problem, timing_of
from cloud_service import CloudService, scrub_environment, within
from dwave.system import DWaveSampler
from models import random_ising

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    AnnealerWarning,
    CouplingGraph,
    DeadlineError,
    Ising,
    ProgramSettings,
    RetryPolicy,
    Samples,
)
from qahm_torch.annealer import ReplaySampler
from qahm_torch.device import Chip

READS = 20
TOKEN = "TEST-loopback-token"
# A case that takes longer has hung.
DEADLINE = 15.0

Fault = tuple[str, str, dict[str, Any]]
Prepare = Callable[[CloudService, Any], object]


def once(step: str, kind: str, **details: Any) -> Fault:
    return (step, kind, details)


def ever(step: str, kind: str, **details: Any) -> Fault:
    return (step, kind, {"times": None, **details})


@dataclass(frozen=True)
class Case:
    r"""What is wrong, and what must come of it.

    Arguments:
        name: What is wrong, in words.
        outcome: "samples", or the name of the error.
        faults: What `CloudService.fault` is to plan.
        says: What the message has in it.
        billed: How many jobs run in the end.
        orphans: How many of them the service denies to know of.
        settings: Those of `RetryPolicy` that differ.
        options: Those of the service that differ.
        prepare: What is done to the service and the client before the call.
        opening: Whether the faults come when the device is opened; else it is open already.
        client: Options of the client that is opened, and its token.
        patience: By how much the deadlines are longer, for a machine that is busy.
    """

    name: str
    outcome: str = "samples"
    faults: tuple[Fault, ...] = ()
    says: str = ""
    billed: int = 1
    orphans: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Prepare = lambda service, device: None
    opening: bool = False
    client: dict[str, Any] = field(default_factory=dict)
    patience: float = 1.0

    @property
    def policy(self) -> RetryPolicy:
        quick = {"timeout": 1.5, "request_timeout": 0.6, "retries": 2, "backoff": 0.01}
        settings = {**quick, "settle": 0.05, **self.settings}
        for name in ("timeout", "request_timeout"):
            settings[name] *= self.patience
        return RetryPolicy(**settings)


class Observation(NamedTuple):
    r"""What came of a case."""

    samples: Samples | None
    error: BaseException | None
    seconds: float
    billed: int
    reads_billed: int
    num_wrong: int  # of the samples that were accepted, those that the QPU did not draw
    cost: float  # the seconds of QPU time of the jobs that the service admits to
    booked: float  # the seconds of the account, after the call
    measured: float  # the seconds that are measured, after recovery
    unpaid: set[str]  # the problems that have run and are not in the archive after recovery
    num_wrong_archived: int  # of the reads in the archive, those that the QPU did not draw

    @property
    def outcome(self) -> str:
        return "samples" if self.error is None else type(self.error).__name__


def native_model(chip: Chip, num_spins: int = 8) -> Ising:
    r"""Returns a connected model that is named after qubits of the chip."""
    graph = nx.Graph(chip.couplers.tolist())
    qubits = list(nx.bfs_tree(graph, chip.qubits[0].item()))[:num_spins]
    return random_ising(CouplingGraph.from_networkx(graph.subgraph(qubits)))


def observe(case: Case, folder: Path) -> Observation:
    r"""Runs a case, and afterwards, without faults, recovers what was lost."""
    with pytest.MonkeyPatch.context() as patch, CloudService(**_options(case)) as service:
        scrub_environment(patch, folder)
        sampler = _sampler(case, service, patch, folder / "archive")
        if not case.opening:
            ising = native_model(_chip_of(sampler))
        else:
            ising = random_ising(CouplingGraph.complete(2))
        for step, kind, details in case.faults:
            service.fault(step, kind, **details)
        case.prepare(service, sampler.device)
        start = time.monotonic()
        samples, error = _outcome(sampler, ising)
        seconds = time.monotonic() - start
        booked = sampler.account.measured + sampler.account.unconfirmed
        service.clear_faults()
        service.resume_listening()
        if error is not None and service.problems:
            # What was never run stays unanswered, of which a warning tells.
            with contextlib.suppress(AnnealerError, AnnealerWarning):
                within(DEADLINE, sampler.recover)
        admitted = [p for p in service.problems.values() if p.billed][case.orphans :]
        kept, num_wrong_archived = _kept(folder / "archive", service)
        if isinstance(sampler.device, DWaveSampler):
            # Its threads would add up over thousands of cases. Where some of them are dead, it
            # waits for them without end.
            with contextlib.suppress(TimeoutError):
                within(1.0, sampler.device.client.close, wait=False)
        return Observation(
            samples,
            error,
            seconds,
            service.billed_jobs(),
            sum(problem.num_reads for problem in service.problems.values() if problem.billed),
            # A model that was placed has no qubits in its name; the archive knows them.
            0 if samples is None or case.opening else _num_wrong(samples, ising, service),
            sum(_cost(service, problem) for problem in admitted),
            booked,
            sampler.account.measured,
            {problem.id for problem in admitted} - kept,
            num_wrong_archived,
        )


def _chip_of(sampler: AnnealerSampler) -> Chip:
    r"""Returns the chip, opened as often as it takes on a busy machine: this is not what fails."""
    for _ in range(9):
        with contextlib.suppress(DeadlineError):
            return within(DEADLINE, lambda: sampler.chip)
    return within(DEADLINE, lambda: sampler.chip)


def _options(case: Case) -> dict[str, Any]:
    return {"topology": "pegasus", "shape": [2], "token": TOKEN, **case.options}


def _sampler(case: Case, service: CloudService, patch: Any, archive: Path) -> AnnealerSampler:
    settings: dict[str, Any] = {"beta": 1.0, "policy": case.policy, "archive": archive}
    settings["programming"] = ProgramSettings(num_gauges=0)
    options = {**service.client_options(), "http_retry_total": 1}
    options["request_timeout"] = 0.3 * case.patience
    options = {**options, **case.client}
    if not case.opening:
        return AnnealerSampler(within(DEADLINE, DWaveSampler, **options), **settings)
    patch.setenv("DWAVE_API_TOKEN", options.pop("token"))
    spec = {"class_path": "dwave.system.DWaveSampler", "init_args": options}
    return AnnealerSampler(spec, **settings)


def _outcome(
    sampler: AnnealerSampler, ising: Ising
) -> tuple[Samples | None, BaseException | None]:
    try:
        return within(DEADLINE, sampler.sample, ising, READS), None
    except Exception as error:
        return None, error


def _num_wrong(samples: Samples, ising: Ising, service: CloudService) -> int:
    assert samples.info is not None
    (problem_id,) = samples.info["problem_ids"]
    truth = service.samples_of(problem_id)
    columns = [list(truth.variables).index(q) for q in ising.graph.labels]
    return int((truth.record.sample[:, columns] != samples.spins.numpy()).any(1).sum())


def _kept(archive: Path, service: CloudService) -> tuple[set[str], int]:
    r"""Returns the problems with an answer in the archive, and how many reads of it are wrong."""
    try:
        answers = list(ReplaySampler(archive))
    except ValueError:
        return set(), 0
    wrong = 0
    for answer in answers:
        truth = service.samples_of(answer.meta["problem_id"])
        columns = [list(truth.variables).index(q) for q in answer.job.qubits]
        wrong += int(np.any(truth.record.sample[:, columns] != answer.readout, axis=1).sum())
    return {answer.meta["problem_id"] for answer in answers}, wrong


def _cost(service: CloudService, problem: Problem) -> float:
    timing = timing_of(service.chip.properties, len(problem.terms.qubits), problem.params)
    return timing["qpu_access_time"] * 1e-6
