r"""`qahm export`: a trained machine as a file of its own, with its card."""

from __future__ import annotations

__all__ = ["parser", "run"]

from qahm_torch.cli.arguments import Parser, load_machine, parser_of

_BITS = (8, 16, 32)


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = parser_of(
        "export",
        "Writes a trained machine as NAME.pt, which HelmholtzMachine.load takes, and its card as "
        "NAME.json, with the figures of the report that `qahm evaluate` wrote.",
    )
    parser.add_argument(
        "--name", type=str | None, default=None, help="The name; that of the run if not set."
    )
    parser.add_argument(
        "--report",
        type=str | None,
        default=None,
        help="The report of `qahm evaluate`; RUN/evaluation.json if not set.",
    )
    parser.add_choice("bits", _BITS, 16, "The bits of a weight of the networks.")
    parser.add_count("num_chains", 256, 1, "The samples of the prior that go along.")
    parser.add_count("num_temperatures", 1000, 2, "Temperatures of annealing the prior.")
    parser.add_count("num_test", 500, 2, "The test data on which rounding is measured.")
    parser.add_output("output", "The folder; the current one if not set.", is_folder=True)
    return parser


def run(arguments: list[str]) -> None:
    r"""Writes the file and the card of a machine."""
    settings = parser().parse_args(arguments)
    trained = load_machine(settings)

    from qahm_torch.cli.card import export

    for file in export(trained, settings):
        print(file)
