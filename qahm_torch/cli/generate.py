r"""`qahm generate`: dreams of a trained machine as a picture, and as a tensor."""

from __future__ import annotations

__all__ = ["run"]

from pathlib import Path

import torch

from qahm_torch.cli.arguments import anneal_prior, load_machine, parser_of
from qahm_torch.evaluation import atomic_write, image_grid, save_figure
from qahm_torch.nn import class_dreams
from qahm_torch.training.sample_grid import as_pictures


def run(arguments: list[str]) -> None:
    r"""Draws dreams and writes them."""
    parser = parser_of("generate", "Draws dreams of a trained machine.")
    parser.add_argument("--num", type=int, default=100, help="The number of dreams.")
    parser.add_argument(
        "--class",
        type=int | None,
        default=None,
        help="The class of all dreams, from 0, where the machine has class units.",
    )
    parser.add_argument(
        "--num_temperatures", type=int, default=500, help="Temperatures of annealing the prior."
    )
    parser.add_argument(
        "--output", type=str | None, default=None, help="The picture; RUN/dreams.png by default."
    )
    parser.add_argument(
        "--tensor",
        type=str | None,
        default=None,
        help="Where to save the visible states too, of shape (num, num_visible), by torch.save.",
    )
    settings = parser.parse_args(arguments)
    trained = load_machine(settings)
    machine = trained.machine
    anneal_prior(machine, settings.num_temperatures)
    if settings["class"] is None:
        dream = machine.dream(settings.num)
    else:
        dream = class_dreams(machine, torch.full((settings.num,), settings["class"]))
    pixels = machine.generator.mean(dream[-2]).detach()[:, : machine.num_pixels]
    output = Path(settings.output or trained.folder / "dreams.png")
    save_figure(image_grid(as_pictures(pixels, trained.data)), output)
    print(output)
    if settings.tensor is not None:
        with atomic_write(settings.tensor) as temporary:
            torch.save(dream[-1], temporary)
        print(settings.tensor)
