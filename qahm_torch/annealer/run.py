r"""Running a model on a device: programs out, readouts back, the books kept on the way."""

from __future__ import annotations

__all__ = ["Gathered", "Run", "Runner", "collect"]

import math
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qahm_torch.annealer.archive import AnswerArchive
from qahm_torch.annealer.ledger import TimeLedger
from qahm_torch.annealer.placement import Layout
from qahm_torch.annealer.program import (
    ChainBreaks,
    Program,
    RangePolicy,
    decode,
    draw_gauge,
    program,
)
from qahm_torch.annealer.records import Lost, record_answer, record_job, record_loss
from qahm_torch.annealer.settings import AnnealSettings
from qahm_torch.annealer.site import Site
from qahm_torch.annealer.timing import estimate_access_time
from qahm_torch.device.door import Answer, Device, Job
from qahm_torch.device.errors import (
    AnnealerError,
    AnswerError,
    DeadlineError,
    ProblemFailedError,
)
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.ising import Ising


class Prepared(NamedTuple):
    r"""A problem that can be submitted."""

    job: Job
    program: Program
    layout: Layout
    ising: Ising  # the model of the free spins


class Run(NamedTuple):
    r"""A problem that is under way."""

    program: Program
    layout: Layout
    rows: Tensor  # which samples it is for, of shape (S',)
    free: Tensor  # the spins that are not clamped in those samples
    task: _Task


class Gathered(NamedTuple):
    r"""Samples of all runs of a call."""

    spins: Tensor  # of shape (S, N), int8
    info: dict[str, Any]


class _Task:
    r"""A call in a thread of its own, which can be left behind if it does not end."""

    def __init__(self, function: Any, patience: float):
        self.patience = patience
        self._stop = time.monotonic() + patience
        self._outcome: Answer | BaseException | None = None
        self._thread = threading.Thread(target=self._call, args=(function,), daemon=True)
        self._thread.start()

    def _call(self, function: Any) -> None:
        try:
            self._outcome = function()
        except BaseException as error:
            self._outcome = error

    def result(self) -> Answer:
        self._thread.join(max(0.0, self._stop - time.monotonic()))
        if self._outcome is None:
            raise DeadlineError(
                f"the device did not answer within {self.patience:g} s and was left to itself; "
                "its answer, if it comes, goes into the archive",
                may_have_run=True,
            )
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


@dataclass(frozen=True)
class Runner:
    r"""Starts the problems of a call."""

    device: Device
    ledger: TimeLedger
    archive: AnswerArchive | None
    policy: RetryPolicy
    anneal: AnnealSettings
    range_policy: RangePolicy
    chain_strength: float | None
    num_gauges: int

    def start(
        self,
        site: Site,
        ising: Ising,
        num_samples: int,
        clamp: Tensor | None,
        last: Tensor | None,
        generator: torch.Generator | None,
        purpose: str = "samples",
    ) -> list[Run]:
        r"""Programs and submits whatever a call needs, and returns at once.

        Raises:
            RangeError: If the model does not fit the ranges and the policy is "error".
            BudgetError: If the whole would go beyond the budget; nothing is submitted then.
        """
        prepared = [
            (self._prepare(site, ising, row, len(part), last, generator), part, row == 0)
            for row, rows in _clamped_rows(ising, num_samples, clamp)
            for part in self._shares(rows, site.num_copies)
        ]
        estimates = [self._estimate(ready.job) for ready, _, _ in prepared]
        self.ledger.check(sum(estimates))
        runs, patience = [], self.policy.timeout + self.device.grace
        for (ready, rows, free), seconds in zip(prepared, estimates, strict=True):
            self.ledger.hold(ready.job.label, seconds)
            task = _Task(partial(self._execute, ready, purpose), patience)
            where = free.nonzero().squeeze(-1)
            runs.append(Run(ready.program, ready.layout, rows, where, task))
        return runs

    def estimate(self, site: Site, num_samples: int) -> float | None:
        r"""Returns the QPU seconds of a call without clamping; None if the device has no times."""
        rows = torch.arange(num_samples)
        num_qubits = len(site.part(range(site.graph.num_spins))[2].qubits)
        seconds = [
            estimate_access_time(
                self.device.chip, num_qubits, -(-len(p) // site.num_copies), self.anneal.duration
            )
            for p in self._shares(rows, site.num_copies)
        ]
        return None if None in seconds else sum(s for s in seconds if s is not None)

    def fetch(self, lost: Lost, problem_id: str, clock: Clock) -> Answer | None:
        r"""Fetches the answer to a problem of the archive, into the archive.

        None if there will never be one, which is written down.
        """
        assert self.archive is not None
        try:
            answer = self.device.fetch(lost.job, problem_id, clock)
        except ProblemFailedError as error:
            record_loss(self.archive, lost.job, error)
            return None
        record_answer(self.archive, lost.job, answer)
        estimate = self._estimate(lost.job)
        seconds = estimate if answer.access_time is None else answer.access_time
        self.ledger.confirm(estimate, seconds, lost.job.num_reads)
        return answer

    def _shares(self, rows: Tensor, num_copies: int) -> list[Tensor]:
        r"""Splits samples into problems: one per gauge, and none beyond the reads of one."""
        limits = self.device.chip.num_reads_range
        most = math.inf if limits is None else int(limits[1]) * num_copies
        number = max(1, self.num_gauges, math.ceil(len(rows) / most))
        return [part for part in rows.tensor_split(number) if len(part)]

    def _prepare(
        self,
        site: Site,
        ising: Ising,
        row: Tensor,
        num_samples: int,
        last: Tensor | None,
        generator: torch.Generator | None,
    ) -> Prepared:
        free = (row == 0).nonzero().squeeze(-1)
        part, layout = _conditional(site, ising, row, free)
        gauge = draw_gauge(layout, generator) if self.num_gauges else None
        made = program(
            part,
            layout,
            self.device.chip,
            beta=site.tracker.beta.value,
            gauge=gauge,
            chain_strength=self.chain_strength,
            policy=self.range_policy,
        )
        parameters = {"auto_scale": False, "answer_mode": "raw", **self.anneal.parameters()}
        if self.anneal.is_reverse:
            parameters["initial_state"] = _initial_state(layout, made, free, last, generator)
        if "seed" in self.device.chip.parameters:
            parameters["seed"] = int(torch.randint(2**31 - 1, (), generator=generator))
        job = Job(
            layout.qubits.numpy(),
            made.h.numpy(),
            layout.couplers.numpy(),
            made.J.numpy(),
            -(-num_samples // site.num_copies),
            parameters,
            f"qahm-{uuid.uuid4().hex[:16]}",
        )
        return Prepared(job, made, layout, part)

    def _estimate(self, job: Job) -> float:
        seconds = estimate_access_time(
            self.device.chip, len(job.qubits), job.num_reads, self.anneal.duration
        )
        return seconds or 0.0

    def _execute(self, ready: Prepared, purpose: str) -> Answer:
        r"""Runs one job in its thread: written down before and after, and booked."""
        job = ready.job
        try:
            if self.archive is not None:
                record_job(self.archive, *ready, purpose)
            answer = self.device.run(job, Clock(self.policy.timeout))
        except AnnealerError as error:
            self.ledger.give_up(job.label, error.may_have_run)
            if self.archive is not None:
                record_loss(self.archive, job, error)
            raise
        except BaseException:
            self.ledger.give_up(job.label, may_have_run=True)
            raise
        self.ledger.charge(job.label, answer.access_time, job.num_reads)
        if self.archive is not None:
            record_answer(self.archive, job, answer)
        return answer


def collect(
    runs: list[Run],
    num_samples: int,
    num_spins: int,
    clamp: Tensor | None,
    breaks: ChainBreaks,
    generator: torch.Generator | None,
) -> Gathered:
    r"""Waits for the runs of a call and returns their samples in order.

    Raises:
        AnnealerError: If one of them has failed, or all rows had broken chains and were discarded.
    """
    answers = [run.task.result() for run in runs]
    held = torch.zeros(num_spins) if clamp is None else clamp.cpu()
    spins = held.expand(num_samples, -1).to(torch.int8).clone()
    kept = (spins != 0).all(-1)
    broken, chains = 0, 0
    for run, answer in zip(runs, answers, strict=True):
        layout, gauge, readout = run.layout, run.program.gauge, torch.from_numpy(answer.spins)
        decoded = decode(
            readout, layout.spin_of, layout.chain_length, gauge, len(run.free), breaks, generator
        )
        broken += int(decoded.num_broken.sum())
        chains += len(readout) * len(gauge)
        rows = run.rows[: len(decoded.spins)]
        spins[rows[:, None], run.free] = decoded.spins[: len(rows)]
        kept[rows] = True
    if not kept.any():
        raise AnswerError(
            f"all {num_samples} samples had broken chains and were discarded; a greater "
            "chain_strength, or chain_breaks='majority', leaves some"
        )
    info = _told([run.program for run in runs], answers)
    return Gathered(spins[kept], {"chain_break_fraction": broken / max(1, chains), **info})


def _told(programs: list[Program], answers: list[Answer]) -> dict[str, Any]:
    times = [answer.access_time for answer in answers]
    return {
        "chain_strength": max((p.chain_strength for p in programs), default=0.0),
        "clipped": sum(p.num_clipped for p in programs),
        "scale": min((p.scale for p in programs), default=1.0),
        "qpu_access_time": None if None in times else sum(t for t in times if t is not None),
        "problem_ids": [a.problem_id for a in answers if a.problem_id is not None],
    }


def _clamped_rows(
    ising: Ising, num_samples: int, clamp: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    r"""Returns each distinct row of the clamp with a free spin, and the samples that it is for."""
    clamp = torch.zeros(1, ising.num_spins) if clamp is None else clamp.cpu()
    if len(rows := clamp.view(-1, ising.num_spins)) == 1 or clamp.ndim == 1:
        distinct, member = rows[:1], torch.zeros(num_samples, dtype=torch.int64)
    else:
        distinct, member = rows.unique(dim=0, return_inverse=True)
    return [
        (row, (member == k).nonzero().squeeze(-1))
        for k, row in enumerate(distinct)
        if bool((row == 0).any())
    ]


def _conditional(site: Site, ising: Ising, row: Tensor, free: Tensor) -> tuple[Ising, Layout]:
    r"""Returns the model of the free spins given the held ones, and where it is."""
    graph, edges, layout = site.part(free.tolist())
    held = row.to(ising.h)
    fields = ising.h
    if bool(held.any()):
        i, j = ising.graph.edges.to(held.device).unbind(-1)
        fields = fields.index_add(0, i, ising.J * held[j]).index_add(0, j, ising.J * held[i])
    return Ising(graph, fields[free], ising.J[edges]), layout


def _initial_state(
    layout: Layout,
    made: Program,
    free: Tensor,
    last: Tensor | None,
    generator: torch.Generator | None,
) -> dict[int, int]:
    r"""Returns a state by qubit for a reverse anneal: a sample of before, or a random one."""
    num_copies = len(made.gauge) // len(free)
    if last is None:
        spins = torch.randint(2, (len(made.gauge),), generator=generator) * 2 - 1
    else:
        rows = torch.randint(len(last), (num_copies,), generator=generator)
        spins = last[rows][:, free].flatten()
    values = (spins.double() * made.gauge)[layout.spin_of].long()
    return dict(zip(layout.qubits.tolist(), values.tolist(), strict=True))
