r"""The account of QPU time, as the archive knows it: what a killed process has spent as well."""

from __future__ import annotations

__all__ = ["booked"]

from dataclasses import dataclass
from typing import Any

from qahm_torch.annealer.archive import AnswerArchive


@dataclass
class _Entry:
    r"""A job that was paid by the account, and what is known of it."""

    estimate: float
    num_reads: int
    is_answered: bool = False
    may_have_run: bool = True
    seconds: float | None = None


def booked(archive: AnswerArchive, state: dict[str, Any]) -> dict[str, Any]:
    r"""Returns the state of an account, brought up to date by what was written down of its jobs.

    An answered job counts by its measured time. One whose end is not known, since its process was
    killed or gave it up, counts by its estimate, as unconfirmed, until it is recovered.

    Arguments:
        archive: The archive. One that knows of fewer jobs than the account has had answers to is
            not the one that the account was kept with, and has nothing to say.
        state: What `TimeAccount.state_dict` has returned.
    """
    account = state["id"]
    jobs = _jobs(archive, account)
    if not jobs or len(jobs) < state["num_problems"]:
        return state
    answered = [job for job in jobs.values() if job.is_answered]
    timed = [job.seconds for job in answered if job.seconds is not None]
    unknown = {
        label: job.estimate
        for label, job in jobs.items()
        if not job.is_answered and job.may_have_run
    }
    untimed = sum(job.estimate for job in answered if job.seconds is None)
    return {
        "id": account,
        "measured": sum(timed),
        "unconfirmed": sum(unknown.values()) + untimed,
        "unknown": unknown,
        "num_problems": len(answered),
        "num_reads": sum(job.num_reads for job in answered),
    }


def _jobs(archive: AnswerArchive, account: str) -> dict[str, _Entry]:
    # An answer may be in another file than its job, and be read first.
    records = [record.meta for record in archive]
    jobs = {
        meta["label"]: _Entry(meta["estimate"], meta["num_reads"])
        for meta in records
        if meta.get("kind") == "job" and meta.get("account") == account
    }
    for meta in records:
        job = jobs.get(meta.get("label", ""))
        if job is not None and meta["kind"] == "answer":
            job.is_answered, job.seconds = True, meta["access_time"]
        elif job is not None and meta["kind"] == "loss":
            job.may_have_run = meta["may_have_run"]
    return jobs
