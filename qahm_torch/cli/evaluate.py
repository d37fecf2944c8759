r"""`qahm evaluate`: a trained model in numbers, as a JSON report."""

from __future__ import annotations

__all__ = ["parser", "run"]

import sys
from contextlib import redirect_stdout
from pathlib import Path

from qahm_torch.cli.arguments import Parser, load_model, parser_of
from qahm_torch.cli.outputs import check_writable


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = parser_of("evaluate", "Measures a trained model on its test data.")
    # A jackknife, and an error of a mean, take two.
    parser.add_count("num_particles", 1000, 2, "Importance samples per test datum.")
    parser.add_count("num_chains", 1024, 2, "Chains per direction of the log Z estimate.")
    parser.add_count("num_temperatures", 1000, 2, "Temperatures of the log Z estimate.")
    parser.add_count("num_generated", 1000, 1, "Dreams compared with training data.")
    parser.add_count("num_test", None, 2, "The number of test data; all if not set.")
    parser.add_output("output", "The report; RUN/evaluation.json if not set.")
    return parser


def run(arguments: list[str]) -> None:
    r"""Measures a model on its test data, writes the report and prints it."""
    settings = parser().parse_args(arguments)
    # What is printed is the report alone, for a program to read.
    with redirect_stdout(sys.stderr):
        trained = load_model(settings)
        output = Path(settings.output or trained.folder / "evaluation.json")
        check_writable(output)

        from qahm_torch.cli.measuring import measure
        from qahm_torch.evaluation import json_text, write_json

        report = measure(trained, settings)
        write_json(output, report)
        print(output)
    print(json_text(report))
