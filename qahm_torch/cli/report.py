r"""`qahm report`: the figures of a trained model."""

from __future__ import annotations

__all__ = ["parser", "run"]

from pathlib import Path

from qahm_torch.cli.arguments import Parser, load_model, parser_of
from qahm_torch.cli.outputs import PICTURES, check_writable

_FORMATS = tuple(ending.removeprefix(".") for ending in PICTURES)


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = parser_of(
        "report",
        "Draws generated images above their nearest training images, reconstructions of test "
        "images, and learning curves; of a table histograms and correlations of its columns.",
    )
    parser.add_count(
        "num", None, 1, "The number of generated images, 40, or rows of a table, 1000."
    )
    parser.add_count("num_temperatures", 500, 2, "Temperatures of annealing the prior.")
    parser.add_output("output", "The folder; RUN/figures if not set.", is_folder=True)
    parser.add_choice("format", _FORMATS, "png", "That of the figures.")
    return parser


def run(arguments: list[str]) -> None:
    r"""Draws the figures and writes them."""
    settings = parser().parse_args(arguments)
    trained = load_model(settings)
    folder = Path(settings.output or trained.folder / "figures")
    check_writable(folder, is_folder=True)

    from qahm_torch.cli.drawing import drawn
    from qahm_torch.evaluation import save_figure

    for name, figure in drawn(trained, settings.num, settings.num_temperatures).items():
        path = folder / f"{name}.{settings.format}"
        save_figure(figure, path)
        print(path)
