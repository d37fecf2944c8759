r"""Asking once more for what was submitted and never came."""

from __future__ import annotations

__all__ = ["Recovery", "recovered"]

from collections.abc import Callable
from typing import NamedTuple

from qahm_torch.annealer.archive import AnswerArchive, Lost, unanswered
from qahm_torch.annealer.run import Runner
from qahm_torch.device.errors import AnnealerError, AnswerError, ServiceError
from qahm_torch.device.patience import Clock


class Recovery(NamedTuple):
    r"""What became of the problems that were lost."""

    num_found: int  # answers that are in the archive now
    num_over: int  # problems that the service has failed or cancelled
    num_unlisted: int  # those that it does not know; they count as spent
    num_waiting: int  # those that a living process waits for
    failures: list[AnnealerError]  # of those that could not be fetched

    def told(self) -> str:
        r"""Returns it in words, as far as something is left to say."""
        parts = [
            (self.num_found, "found"),
            (self.num_over, "failed or cancelled by the service"),
            (
                self.num_unlisted,
                "unknown to the service, which count as spent until it lists them",
            ),
            (len(self.failures), "not to be had now, which `recover` asks for again"),
            (
                self.num_waiting,
                "left alone, since the process that submitted them is alive and waits for them",
            ),
        ]
        told = [f"{number} {what}" for number, what in parts if number]
        return f"of the problems without an answer, {', '.join(told)}"


def recovered(archive: AnswerArchive, opened: Callable[[], Runner]) -> Recovery:
    r"""Fetches the answers that may be at the service only, into the archive.

    Whoever calls it keeps other recoveries out (`AnswerArchive.recovering`).

    Arguments:
        archive: The archive.
        opened: Opens the device; not called where nothing is lost.
    """
    known = unanswered(archive)
    outcomes: list[bool | None] = []
    failures: list[AnnealerError] = []
    for lost in known.lost:
        try:
            outcomes.append(_fetched(opened(), lost))
        except AnnealerError as error:
            failures.append(error)
    return Recovery(
        outcomes.count(True),
        outcomes.count(False),
        outcomes.count(None),
        known.num_waiting,
        failures,
    )


def _fetched(runner: Runner, lost: Lost) -> bool | None:
    r"""Returns whether there was an answer; None if the service does not know the problem."""
    if lost.problem_id is None:
        # What the service does not list may come to be listed: it counts as spent until then.
        found = _listed(runner, lost)
        return None if found is None else runner.fetch(lost, found, _clock(runner)) is not None
    try:
        return runner.fetch(lost, lost.problem_id, _clock(runner)) is not None
    except (AnswerError, ServiceError) as error:
        failure = error
    # The id was what a service said that may have mixed up its problems; the label is our own.
    found = _listed(runner, lost)
    if found is None or found == lost.problem_id:
        raise failure
    return runner.fetch(lost, found, _clock(runner)) is not None


def _listed(runner: Runner, lost: Lost) -> str | None:
    return runner.device.find(lost.job.label, _clock(runner))


def _clock(runner: Runner) -> Clock:
    return Clock(runner.policy.timeout)
