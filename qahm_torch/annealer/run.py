r"""Running problems on a device: jobs out, samples back, the books kept on the way."""

from __future__ import annotations

__all__ = ["Call", "Decoded", "Gathered", "Run", "Runner", "decode"]

import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.annealer.account import TimeAccount, estimate_submission
from qahm_torch.annealer.archive import (
    AnswerArchive,
    Lost,
    record_answer,
    record_job,
    record_loss,
)
from qahm_torch.annealer.program import Problem, Program
from qahm_torch.annealer.settings import AnnealSettings, ChainBreaks, ProgramSettings
from qahm_torch.annealer.unread import set_aside
from qahm_torch.device.door import Answer, Device, Job
from qahm_torch.device.errors import (
    AnnealerError,
    AnnealerWarning,
    AnswerError,
    ArchiveError,
    ProblemFailedError,
)
from qahm_torch.device.patience import Clock, RetryPolicy, Task
from qahm_torch.ising import SampleInfo
from qahm_torch.ising.merging import Sets

LATE = (
    "the device did not answer within {time} and was left to itself; its answer, if it comes, "
    "goes into the archive"
)


class Run(NamedTuple):
    r"""A problem that is under way, under one of its gauges."""

    problem: Problem
    rows: Tensor  # which samples it is for, of shape (S',)
    gauge: Tensor  # of shape (copies * N,)
    task: Task[Answer]


class Decoded(NamedTuple):
    r"""Spins read off a chip."""

    spins: Tensor  # of shape (R * copies, N), int8
    num_broken: Tensor  # of each spin, in how many rows its strand was broken, of shape (N,)


class Gathered(NamedTuple):
    r"""Samples of all runs of a call."""

    spins: Tensor  # of shape (S, N), int8
    info: SampleInfo


@dataclass(frozen=True)
class Call:
    r"""Samples that are under way.

    Arguments:
        runs: The problems.
        held: The held spins of each sample, 0 for free ones, of shape (S, N).
        breaks: What is done with broken strands.
        is_reverse: Whether the anneals start from a state.
        archive: Where answers are kept; None for nowhere.
    """

    runs: Sequence[Run]
    held: Tensor
    breaks: ChainBreaks
    is_reverse: bool
    archive: AnswerArchive | None = None

    @property
    def program(self) -> Program:
        r"""What was programmed, where no spin is held."""
        return self.runs[0].problem.program

    def gathered(self, generator: torch.Generator | None) -> Gathered:
        r"""Waits for the samples and returns them in order.

        Arguments:
            generator: The source of coins for ties.

        Raises:
            AnnealerError: If a problem has failed, or all samples were broken and discarded.
        """
        answers = [run.task.result(LATE, may_have_run=True) for run in self.runs]
        _warn_unkept(self.archive, [answer.info.get("not_kept") for answer in answers])
        told = _told(self.runs, answers)
        spins = self.held.to("cpu", torch.int8, copy=True)
        kept = (spins != 0).all(-1)
        num_broken, num_strands = 0, 0
        for run, answer in zip(self.runs, answers, strict=True):
            part = run.problem.part
            decoded = decode(
                torch.from_numpy(answer.spins),
                part.placed.strands,
                run.gauge,
                part.ising.num_spins,
                self.breaks,
                generator,
            )
            num_broken += int(decoded.num_broken.sum())
            num_strands += len(answer.spins) * len(run.gauge)
            rows = run.rows[: len(decoded.spins)]
            spins[rows[:, None], part.free] = decoded.spins[: len(rows)]
            kept[rows] = True
        if not kept.any():
            raise AnswerError(
                f"all {len(spins)} samples had broken strands and were discarded; a greater "
                "chain_strength, or chain_breaks='majority', leaves some"
            )
        told["chain_break_fraction"] = num_broken / max(1, num_strands)
        return Gathered(spins[kept], told)


@dataclass(frozen=True)
class Runner:
    r"""A device with what is to be kept in mind for each problem.

    Arguments:
        device: The device.
        account: Where QPU time is booked.
        archive: Where problems and answers are written down; None for nowhere.
        policy: Deadlines and retries.
        programming: How models are programmed.
        anneal: How the device anneals.
    """

    device: Device
    account: TimeAccount
    archive: AnswerArchive | None
    policy: RetryPolicy
    programming: ProgramSettings
    anneal: AnnealSettings

    def launch(
        self,
        problems: Sequence[Problem],
        held: Tensor,
        chains: Tensor | None,
        generator: torch.Generator | None,
        purpose: str = "samples",
    ) -> Call:
        r"""Submits all problems of a call, and returns at once.

        Arguments:
            problems: The problems.
            held: The held spins of each sample, 0 for free ones, of shape (S, N).
            chains: Where reverse anneals start, of shape (S, N); None for random spins.
            generator: The source of random numbers.
            purpose: What is written into the archive of it.

        Raises:
            BudgetError: If the whole would go beyond the budget; nothing is submitted then.
        """
        ready = [
            (problem, g, self._job(problem, g, chains, generator))
            for problem in problems
            for g in range(len(problem.shares))
        ]
        estimates = [self._estimate(job) for _, _, job in ready]
        self.account.check(sum(estimates))
        for (_, _, job), seconds in zip(ready, estimates, strict=True):
            self.account.hold(job.label, seconds)
        timeout = self.policy.timeout + self.device.grace
        runs = [
            Run(
                problem,
                problem.shares[g],
                problem.program.gauges[g],
                Task(partial(self._execute, problem, g, job, purpose, seconds), timeout),
            )
            for (problem, g, job), seconds in zip(ready, estimates, strict=True)
        ]
        breaks, is_reverse = self.programming.chain_breaks, self.anneal.is_reverse
        return Call(runs, held, breaks, is_reverse, self.archive)

    def estimate(self, num_qubits: int, reads: Sequence[int]) -> float | None:
        r"""Returns the QPU seconds of problems of so many reads; None if there are no times."""
        chip, parameters = self.device.chip, self.anneal.parameters()
        seconds = [estimate_submission(chip, num_qubits, number, parameters) for number in reads]
        return None if None in seconds else sum(s for s in seconds if s is not None)

    def fetch(self, lost: Lost, problem_id: str, clock: Clock) -> Answer | None:
        r"""Fetches the answer to a problem of the archive, into the archive.

        None if there will never be one, which is written down. Its time is booked unless another
        account has sent it, which finds it when it is loaded.
        """
        if self.archive is None:
            raise ValueError("archive is None, but only an archive knows what was submitted")
        try:
            answer = self.device.fetch(lost.job, problem_id, clock)
        except ProblemFailedError as error:
            record_loss(self.archive, lost.job, error)
            self.account.give_up(lost.job.label, error.may_have_run)
            return None
        except AnnealerError as error:
            set_aside(self.archive, lost.job, error)
            raise
        reason = record_answer(self.archive, lost.job, answer)
        if reason is not None:
            # Not booked: the next recovery finds it unanswered, and would book it once more.
            raise ArchiveError(
                f"the archive {self.archive.folder} cannot be written ({reason}), so that the "
                f"answer to problem {problem_id} was not kept; make room, and `recover` again"
            )
        if lost.account in (None, self.account.id):
            estimate = self._estimate(lost.job) if lost.estimate is None else lost.estimate
            seconds = estimate if answer.access_time is None else answer.access_time
            self.account.confirm(lost.job.label, estimate, seconds, lost.job.num_reads)
        return answer

    def _job(
        self, problem: Problem, g: int, chains: Tensor | None, generator: torch.Generator | None
    ) -> Job:
        placed, made, chip = problem.part.placed, problem.program, self.device.chip
        parameters = {"auto_scale": False, "answer_mode": "raw", **self.anneal.parameters()}
        if self.anneal.is_reverse:
            parameters["initial_state"] = _initial_state(problem, g, chains, generator)
        if "seed" in chip.parameters:
            parameters["seed"] = int(torch.randint(2**31 - 1, (), generator=generator))
        return Job(
            placed.qubits.numpy(),
            made.h[g].numpy(),
            placed.couplers.numpy(),
            made.J[g].numpy(),
            -(-len(problem.shares[g]) // problem.part.num_copies),
            parameters,
            f"qahm-{uuid.uuid4().hex[:16]}",
        )

    def _estimate(self, job: Job) -> float:
        chip, num_qubits = self.device.chip, len(job.qubits)
        return estimate_submission(chip, num_qubits, job.num_reads, job.parameters) or 0.0

    def _execute(
        self, problem: Problem, g: int, job: Job, purpose: str, estimate: float
    ) -> Answer:
        r"""Runs one job in its thread: written down before and after, and booked."""
        gauge, payer = problem.program.gauges[g], self.account.id
        try:
            if self.archive is not None:
                record_job(self.archive, job, problem, gauge, purpose, payer, estimate)
            answer = self.device.run(job, Clock(self.policy.timeout))
        except AnnealerError as error:
            self.account.give_up(job.label, error.may_have_run)
            if self.archive is not None:
                set_aside(self.archive, job, error)
                record_loss(self.archive, job, error)
            raise
        except BaseException:
            self.account.give_up(job.label, may_have_run=True)
            raise
        # The archive first: what it has, `recover` can book; what it lacks, it would ask for.
        reason = None if self.archive is None else record_answer(self.archive, job, answer)
        self.account.charge(job.label, answer.access_time, job.num_reads)
        return answer._replace(info={**answer.info, "not_kept": reason})


def decode(
    readout: Tensor,
    strands: Sets,
    gauge: Tensor,
    num_spins: int,
    breaks: ChainBreaks = "majority",
    generator: torch.Generator | None = None,
) -> Decoded:
    r"""Returns the spins of the model that qubits stand for.

    Arguments:
        readout: Qubits of shape (R, Q), +-1.
        strands: The spin of each qubit, counted through the copies.
        gauge: The gauge of the program, of shape (copies * N,).
        num_spins: The number of spins N of the model.
        breaks: What is done with broken strands. "majority" lets the qubits vote, with a coin for
            a tie; "discard" leaves out rows with a broken strand: there may be few, or none.
        generator: The source of the coins.
    """
    votes = strands.sums(readout.to(torch.int16))
    coins = torch.zeros((), dtype=torch.int16)
    if bool((votes == 0).any()):
        coins = torch.randint(2, votes.shape, generator=generator, dtype=torch.int16) * 2 - 1
    spins = strands.majority(votes, coins).to(torch.int8) * gauge.to(torch.int8)
    spins, broken = spins.view(-1, num_spins), strands.is_split(votes).view(-1, num_spins)
    if breaks == "discard":
        spins = spins[~broken.any(-1)]
    return Decoded(spins, broken.sum(0))


def _warn_unkept(archive: AnswerArchive | None, reasons: Sequence[str | None]) -> None:
    r"""Tells of answers that are in memory only."""
    reason = next((reason for reason in reasons if reason is not None), None)
    if archive is not None and reason is not None:
        warnings.warn(
            f"an answer could not be kept in the archive {archive.folder}: {reason}. It was paid "
            "for and is used; it is written along with the next one, if there is room by then",
            AnnealerWarning,
            stacklevel=2,
        )


def _told(runs: Sequence[Run], answers: Sequence[Answer]) -> SampleInfo:
    programs = [run.problem.program for run in runs]
    distinct = {id(made): made for made in programs}.values()
    times = [answer.access_time for answer in answers]
    return {
        "chain_strength": max((p.chain_strength for p in programs), default=0.0),
        "clipped": sum(p.num_clipped for p in distinct),
        "scale": min((p.scale for p in programs), default=1.0),
        "qpu_access_time": None if None in times else sum(t for t in times if t is not None),
        "problem_ids": [a.problem_id for a in answers if a.problem_id is not None],
    }


def _initial_state(
    problem: Problem, g: int, chains: Tensor | None, generator: torch.Generator | None
) -> dict[int, int]:
    r"""Returns a state by qubit for a reverse anneal: of some of its chains, or a random one."""
    part, gauge, rows = problem.part, problem.program.gauges[g], problem.shares[g]
    if chains is None:
        spins = torch.randint(2, (len(gauge),), generator=generator) * 2 - 1
    else:
        chosen = rows[torch.randint(len(rows), (part.num_copies,), generator=generator)]
        spins = chains.cpu()[chosen][:, part.free].flatten()
    values = (spins.double() * gauge)[part.placed.spin_of].long()
    return dict(zip(part.placed.qubits.tolist(), values.tolist(), strict=True))
