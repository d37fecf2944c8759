r"""`qahm complete`: hidden cells of test rows, filled in by a machine."""

from __future__ import annotations

__all__ = ["parser", "run"]

from pathlib import Path

from qahm_torch.cli.arguments import Parser, load_machine, parser_of
from qahm_torch.cli.mistakes import UsageError
from qahm_torch.cli.outputs import check_writable


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = parser_of(
        "complete",
        "Fills in hidden features of test rows by their means given the others, and tells the "
        "squared error, beside that of the means of the training rows. Classes are not seen.",
    )
    parser.add_count("num", None, 1, "The number of test rows; all if not set.")
    parser.add_argument(
        "--fraction",
        type=float,
        default=0.5,
        help="The fraction of the features to hide; pixels in color as wholes.",
    )
    parser.add_argument(
        "--block",
        type=list[int] | None,
        default=None,
        help="Instead of a fraction, the rows and columns of a block of pixels to hide: '[4, 8]'.",
    )
    parser.add_count("num_particles", 256, 1, "Importance samples per test row.")
    parser.add_output(
        "output",
        "The arrays true, hidden, completed and drawn, a row each, as .npz, beside which there is "
        "a picture; RUN/completed.npz if not set.",
        suffix=".npz",
    )
    return parser


def run(arguments: list[str]) -> None:
    r"""Fills in hidden cells, writes them and a picture, and tells the error."""
    settings = parser().parse_args(arguments)
    if not 0 < settings.fraction <= 1:
        raise UsageError(f"--fraction is {settings.fraction}, but it is above 0 and at most 1")
    _check_block(settings.block)
    trained = load_machine(settings)
    output = Path(settings.output or trained.folder / "completed.npz")
    check_writable(output, suffix=".npz")

    from qahm_torch.cli.completing import completed

    print(completed(trained, settings, output))
    print(output)
    print(output.with_suffix(".png"))


def _check_block(block: list[int] | None) -> None:
    if block is not None and (len(block) != 2 or min(block) < 1):
        raise UsageError(
            f"--block is {block}, but a block has two numbers, its rows and its columns, of which "
            "each is at least 1, such as '[4, 8]'"
        )
