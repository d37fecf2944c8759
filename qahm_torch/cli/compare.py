r"""`qahm compare`: two runs side by side, and whether they differ by more than their errors."""

from __future__ import annotations

__all__ = ["parser", "run"]

import json
import sys

from qahm_torch.cli.arguments import Parser
from qahm_torch.cli.run_folders import runs_like


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = Parser(
        prog="qahm compare",
        description="Compares two runs: settings that differ, and the numbers of `qahm evaluate`. "
        "A difference counts where it is beyond the brackets of both numbers by more than "
        "2 standard errors, which are taken as independent: of the same test data "
        "that is careful, since what is hard for one machine is so for the other.",
    )
    for name in ("a", "b"):
        parser.add_argument(name, type=str, help="A run folder, or a checkpoint in it.")
        parser.offers[name] = runs_like
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    return parser


def run(arguments: list[str]) -> None:
    r"""Prints the settings in which two runs differ, and their numbers."""
    settings = parser().parse_args(arguments)

    from qahm_torch.cli.comparing import compared, doubts, told

    comparison = compared(settings.a, settings.b)
    print(json.dumps(comparison, indent=2) if settings.json else told(comparison))
    for sentence in doubts(comparison):
        print(sentence, file=sys.stderr)
