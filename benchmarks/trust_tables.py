r"""The tables of failures, of the long training through them, and of the killed one."""

from __future__ import annotations

from typing import Any

# What is counted, and what it is called in the reports.
BROKEN = {
    "hangs": "hangs",
    "late": "late",
    "wrong samples": "wrong_samples",
    "second bills": "second_bills",
    "foreign exceptions": "foreign_exceptions",
    "lost answers": "lost_jobs",
    "bytes of the token": "token_bytes",
}


def table_of_faults(faults: dict[str, Any]) -> list[str]:
    r"""Returns what became of each kind of failure, as counts of broken promises."""
    rows = {
        "failures, each planned": faults["totals"],
        "answers changed at random": faults["fuzzing"],
    }
    search, loading = faults["token_search"], faults["loading"]
    return [
        "What became of failures between D-Wave's client and a service on the loopback address",
        "(`python benchmarks/faults.py`; what is promised is in [SECURITY.md](../SECURITY.md)). A",
        "call is late if it ends more than 1.5 s after its deadline.",
        "",
        "| | cases | " + " | ".join(BROKEN) + " |",
        "| --- " * (2 + len(BROKEN)) + "|",
        *(
            f"| {label} | {counts['cases']} | "
            + " | ".join(str(counts[name]) for name in BROKEN.values())
            + " |"
            for label, counts in rows.items()
        ),
        "",
        f"Of {loading['attempts']} files and configurations that would run something when they are"
        f" loaded, {loading['executions']} did. A search of {search['files_searched']} files,"
        f" {search['records_searched']} log records, {search['frames_searched']} frames of"
        f" exceptions and {search['objects_searched']} objects that a training and its failures"
        f" left behind found {search['token_bytes_found']} bytes of the token.",
        "",
    ]


def soak_and_kills(soak: dict[str, Any], kills: dict[str, Any]) -> list[str]:
    r"""Returns what a long training through faults has shown, and one that was killed."""
    first, last = soak["readings"][1], soak["readings"][-1]
    billed, account = soak["billed"], soak["account"]
    paid, booked = kills["billed"], kills["account"]
    return [
        f"A training of {soak['updates']} updates with faults in {soak['faults']} calls"
        f" (`python benchmarks/soak.py`, {soak['minutes']:.0f} minutes):"
        f" from update {first['updates']} to the end its memory went from"
        f" {first['megabytes']:.0f} to {last['megabytes']:.0f} MB, its threads from"
        f" {first['threads']} to {last['threads']} and its sockets from {first['sockets']} to"
        f" {last['sockets']}; the longest call took {soak['longest_call']:.1f} s. The service"
        f" billed {billed['jobs']} jobs and {billed['microseconds']} microseconds, the account"
        f" measured {account['measured_microseconds']}. It holds another"
        f" {account['unconfirmed_microseconds']} as unconfirmed, the estimates of"
        f" {account['unconfirmed_jobs']} problems that failed, were cancelled or were never taken;"
        f" {soak['answers_lost']} answers were lost.",
        "",
        f"A training that was ended by SIGKILL {kills['kills']} times at random moments"
        f" (`python benchmarks/kills.py`), {kills['kills_of_starts']} of them while it started and"
        f" {kills['kills_while_a_problem_ran']} while a problem was under way, and resumed each"
        f" time: {kills['resumed_with_less']} resumed with less than there was, {kills['updates']}"
        f" updates in the end. {kills['answers_missing_after_the_kills']} answers were missing,"
        f" `recover` found {kills['recovered']}; {kills['answers_lost']} were lost,"
        f" {kills['billed_twice']} billed twice. Billed: {paid['jobs']} jobs,"
        f" {paid['microseconds']} microseconds; booked: {booked['jobs']} and"
        f" {booked['measured_microseconds']}, and {booked['unconfirmed_microseconds']} more for"
        f" {kills['never_sent']} problems that were written down and never sent.",
        "",
    ]
