r"""`qahm runs`: a table of the runs in a folder."""

from __future__ import annotations

__all__ = ["parser", "run"]

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qahm_torch.cli.arguments import Parser
from qahm_torch.cli.columns import aligned, brief, duration
from qahm_torch.cli.run_folders import RUNS

if TYPE_CHECKING:
    from qahm_torch.cli.run_records import RunRecord

_HEAD = ["run", "version", "status", "epochs", "nats", "accuracy", "QPU", "time", "changed"]


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = Parser(
        prog="qahm runs",
        description="Lists runs, those that were changed last first: whether they have ended "
        "(one that was killed says training), and what `qahm evaluate` has found.",
    )
    parser.add_argument("folder", type=str, nargs="?", default=RUNS, help="The folder of runs.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    return parser


def run(arguments: list[str]) -> None:
    r"""Prints the runs of a folder, those that were changed last first."""
    settings = parser().parse_args(arguments)

    from qahm_torch.cli.run_records import find_runs

    records = find_runs(Path(settings.folder))
    if settings.json:
        told = [{**r._asdict(), "report_is_old": r.report_is_old} for r in records]
        print(json.dumps(told, indent=2, default=str))
    elif records:
        print(aligned([_HEAD, *map(_cells, records)]))
    else:
        print(f"no runs in {settings.folder}", file=sys.stderr)
    if any(record.report_is_old for record in records):
        print("* measured before the run was trained on: evaluate it again", file=sys.stderr)


def _cells(record: RunRecord) -> list[str]:
    mark = "*" if record.report_is_old else ""
    accuracy, qpu, seconds = record.accuracy, record.qpu_seconds, record.seconds
    return [
        record.name,
        brief(record.version),
        record.status,
        brief(record.epochs),
        _nats(record) + mark,
        "-" if accuracy is None else f"{100 * accuracy:.1f} %{mark}",
        "-" if qpu is None else duration(qpu),
        "-" if seconds is None else duration(seconds),
        record.changed,
    ]


def _nats(record: RunRecord) -> str:
    nats = record.nats
    if nats is None or nats["value"] is None:
        return "-"
    stderr = "" if nats["stderr"] is None else f" ± {nats['stderr']:.2f}"
    if None in (nats["lower"], nats["upper"]):
        return f"{nats['value']:.2f}{stderr}"
    return f"{nats['value']:.2f}{stderr} [{nats['lower']:.2f}, {nats['upper']:.2f}]"
