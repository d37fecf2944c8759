r"""`qahm generate`: dreams of a trained model as a picture, and as a tensor."""

from __future__ import annotations

__all__ = ["parser", "run"]

from pathlib import Path

from qahm_torch.cli.arguments import Parser, load_model, parser_of
from qahm_torch.cli.outputs import PICTURES, check_writable


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = parser_of("generate", "Draws dreams of a trained model.")
    parser.add_count("num", 100, 1, "The number of dreams.")
    parser.add_count(
        "class", None, 0, "The class of all dreams, from 0, where the machine has class units."
    )
    parser.add_count("num_temperatures", 500, 2, "Temperatures of annealing the prior.")
    parser.add_output(
        "output", "The picture, .png, .pdf or .svg; RUN/dreams.png by default.", suffix=PICTURES
    )
    parser.add_output(
        "tensor",
        "Where to save the visible states too, of shape (num, num_visible), by torch.save.",
    )
    return parser


def run(arguments: list[str]) -> None:
    r"""Draws dreams and writes them."""
    settings = parser().parse_args(arguments)
    trained = load_model(settings)
    output = Path(settings.output or trained.folder / "dreams.png")

    import torch

    from qahm_torch.cli.dreams import draw
    from qahm_torch.evaluation import atomic_write, image_grid, save_figure
    from qahm_torch.training.sample_grid import as_pictures

    check_writable(output, suffix=PICTURES)
    dreams = draw(trained, settings.num, settings.num_temperatures, settings["class"])
    save_figure(image_grid(as_pictures(dreams.pixels, trained.data)), output)
    print(output)
    if settings.tensor is not None:
        with atomic_write(settings.tensor) as temporary:
            torch.save(dreams.visible, temporary)
        print(settings.tensor)
