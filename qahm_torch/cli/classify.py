r"""`qahm classify`: the classes of test rows, or of the rows of a file."""

from __future__ import annotations

__all__ = ["parser", "run"]

from pathlib import Path

from qahm_torch.cli.arguments import Parser, load_machine, parser_of
from qahm_torch.cli.mistakes import UsageError
from qahm_torch.cli.outputs import check_writable

RULES = ("classify", "read_out")
_TABLES = (".csv", ".npz", ".parquet")


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = parser_of(
        "classify",
        "Writes the most probable class of each test row, or of each row of a file, and its "
        "probability. Where classes are known, the accuracy is told.",
    )
    parser.add_argument(
        "--input",
        type=str | None,
        default=None,
        help="A .csv with a line of names, .npz or .parquet. For a table it has the columns of "
        "the training file; for other data, the features in their order, as the data module has "
        "them, and perhaps a column named label.",
    )
    parser.add_choice(
        "rule",
        RULES,
        "classify",
        "'classify' weighs what recognition proposes by the model, 'read_out' takes it at its "
        "word.",
    )
    parser.add_count("num_particles", 100, 1, "Importance samples per row.")
    parser.add_output("output", "The CSV; RUN/classes.csv if not set.", suffix=".csv")
    return parser


def run(arguments: list[str]) -> None:
    r"""Writes the classes as CSV, and tells the accuracy where they are known."""
    settings = parser().parse_args(arguments)
    if settings.input is not None:
        _check_table(Path(settings.input))
    trained = load_machine(settings)
    output = Path(settings.output or trained.folder / "classes.csv")
    check_writable(output, suffix=".csv")

    from qahm_torch.cli.classifying import classified

    accuracy = classified(trained, settings, output)
    if accuracy is not None:
        print(accuracy)
    print(output)


def _check_table(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"--input is {path}, but that is a folder, and rows are in a file")
    if path.suffix not in _TABLES:
        raise UsageError(f"--input is {path}, but it ends in {' or '.join(_TABLES)}")
    if not path.is_file():
        raise FileNotFoundError(f"--input is {path}, but there is no such file")
