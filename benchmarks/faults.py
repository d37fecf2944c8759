r"""What becomes of each fault of the service, the network and the client.

    python benchmarks/faults.py --output benchmarks/faults.json

Runs the cases of `tests/fault_cases.py`, each with D-Wave's client in front of a service on the
loopback address, and counts hangs, samples that the QPU did not draw, and jobs that were paid for
and lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from qahm_torch.evaluation import write_json

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fault_cases import CASES
from fault_runs import Case, observe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/faults.json"))
    settings = parser.parse_args()
    rows = [outcome_of(case) for case in CASES]
    report = {"totals": totals(rows), "cases": rows}
    write_json(settings.output, report)
    print(report["totals"])


def outcome_of(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        seen = observe(case, Path(folder))
    return {
        "case": case.name,
        "outcome": seen.outcome,
        "as_expected": seen.outcome == case.outcome,
        "seconds": round(seen.seconds, 3),
        "billed": seen.billed,
        "wrong_samples": seen.num_wrong + seen.num_wrong_archived,
        "lost_jobs": len(seen.unpaid),
    }


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "cases": len(rows),
        "as_expected": sum(row["as_expected"] for row in rows),
        "hangs": sum(row["outcome"] == "TimeoutError" for row in rows),
        "wrong_samples": sum(row["wrong_samples"] for row in rows),
        "lost_jobs": sum(row["lost_jobs"] for row in rows),
        "longest_seconds": max(row["seconds"] for row in rows),
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
    }


if __name__ == "__main__":
    main()
