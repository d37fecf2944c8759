r"""What becomes of each fault of the service, the network and the client, and of what is loaded.

    python benchmarks/faults.py --output benchmarks/faults.json

- The cases of `tests/fault_cases.py`, each with D-Wave's client in front of a service on the
  loopback address: hangs, calls that end late, samples that the QPU did not draw, jobs that were
  billed twice or paid for and lost, errors that are not ours, bytes of the token on disk.
- What the service says at each step, also while it is opened, changed at random
  (`tests/mutations.py`), with seeds.
- What a training and its failures leave behind, searched for the token (`tests/token_search.py`).
- The files of `tests/malice.py`, which would run something: how many did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from qahm_torch import AnnealerError
from qahm_torch.evaluation import write_json

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fault_answers import STEPS, fuzzed, fuzzed_opening
from fault_cases import CASES
from fault_runs import READS, TOKEN, Case, Observation, observe
from malice import executions
from token_search import search_everything

# Seconds beyond the deadline of a case after which it is late: for a machine that is busy.
SLACK = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/faults.json"))
    parser.add_argument("--fuzz", type=int, default=2000, help="tries, over all steps")
    settings = parser.parse_args()
    rows = [outcome_of(case) for case in CASES]
    fuzz = [outcome_of(fuzzed_case(seed)) for seed in range(settings.fuzz)]
    executed, attempts = executions()
    with tempfile.TemporaryDirectory() as folder:
        searched = search_everything(Path(folder)).counts()
    report = {
        "totals": totals(rows),
        "fuzzing": totals(fuzz),
        "token_search": searched,
        "loading": {"attempts": attempts, "executions": executed},
        "cases": rows,
        "fuzzed_wrongly": [row for row in fuzz if is_bad(row)],
    }
    write_json(settings.output, report)
    print({name: report[name] for name in ("totals", "fuzzing", "token_search", "loading")})


def fuzzed_case(seed: int) -> Case:
    step = seed % (len(STEPS) + 1)
    return fuzzed(STEPS[step], seed) if step < len(STEPS) else fuzzed_opening(seed)


def _second_bills(case: Case, seen: Observation) -> int:
    # A solver that is told to take few reads at a time is rightly asked in several problems.
    is_split = case.opening and seen.reads_billed <= READS
    return 0 if is_split else max(0, seen.billed - max(1, case.billed))


def outcome_of(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        seen = observe(case, Path(folder))
        files = [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()]
    error = seen.error
    is_ours = error is None or isinstance(error, (AnnealerError, TimeoutError))
    return {
        "case": case.name,
        "outcome": seen.outcome,
        "as_expected": seen.outcome == case.outcome,
        "seconds": round(seen.seconds, 3),
        "is_late": seen.seconds > case.policy.timeout + SLACK,
        "billed": seen.billed,
        "second_bills": _second_bills(case, seen),
        "wrong_samples": seen.num_wrong + seen.num_wrong_archived,
        "lost_jobs": len(seen.unpaid),
        "foreign_exceptions": 0 if is_ours else 1,
        "token_bytes": sum(len(TOKEN) * data.count(TOKEN.encode()) for data in files),
    }


def is_bad(row: dict[str, Any]) -> bool:
    return row["is_late"] or any(
        row[name] for name in ("second_bills", "wrong_samples", "lost_jobs", "foreign_exceptions")
    )


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summed = ("second_bills", "wrong_samples", "lost_jobs", "foreign_exceptions", "token_bytes")
    return {
        "cases": len(rows),
        "as_expected": sum(row["as_expected"] for row in rows),
        "hangs": sum(row["outcome"] == "TimeoutError" for row in rows),
        "late": sum(row["is_late"] for row in rows),
        **{name: sum(row[name] for row in rows) for name in summed},
        "longest_seconds": max((row["seconds"] for row in rows), default=0.0),
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
    }


if __name__ == "__main__":
    main()
