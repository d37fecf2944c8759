r"""`qahm report`: the figures of a trained machine."""

from __future__ import annotations

__all__ = ["run"]

from pathlib import Path

import torch
from matplotlib.figure import Figure

from qahm_torch.cli.arguments import Trained, anneal_prior, load_machine, parser_of
from qahm_torch.evaluation import (
    generated_and_nearest,
    image_grid,
    learning_curves,
    nearest_neighbors,
    read_metrics,
    save_figure,
)
from qahm_torch.training.sample_grid import as_pictures


def run(arguments: list[str]) -> None:
    r"""Draws the figures and writes them."""
    parser = parser_of(
        "report",
        "Draws generated digits above their nearest training digits, reconstructions of test "
        "digits, and learning curves.",
    )
    parser.add_argument("--num", type=int, default=40, help="The number of generated digits.")
    parser.add_argument(
        "--num_temperatures", type=int, default=500, help="Temperatures of annealing the prior."
    )
    parser.add_argument(
        "--output", type=str | None, default=None, help="The folder; RUN/figures if not set."
    )
    settings = parser.parse_args(arguments)
    trained = load_machine(settings)
    trained.data.prepare_data()
    trained.data.setup("test")
    anneal_prior(trained.machine, settings.num_temperatures)
    folder = Path(settings.output or trained.folder / "figures")
    figures = {
        "generated.png": _generated(trained, settings.num),
        "reconstructed.png": _reconstructed(trained),
    }
    metrics = trained.folder / "metrics.csv"
    if metrics.exists():
        figures["learning_curves.png"] = learning_curves(read_metrics(metrics))
    for name, figure in figures.items():
        save_figure(figure, folder / name)
        print(folder / name)


def _generated(trained: Trained, num: int) -> Figure:
    r"""Returns a figure of dreams above the training data nearest to them."""
    machine, data = trained.machine, trained.data
    dream = machine.dream(num)
    means = machine.generator.mean(dream[-2]).detach()
    pixels = means[:, : machine.num_pixels]
    train = data.train[:, : machine.num_pixels]
    nearest = nearest_neighbors(pixels, train)
    labels: list[object] = []
    if machine.num_classes:
        classes = data.train[nearest.index, machine.num_pixels :]
        known = (~classes.isnan().any(-1)).tolist()
        found = classes.argmax(-1).tolist()
        labels = [label if is_known else "?" for label, is_known in zip(found, known, strict=True)]
    return generated_and_nearest(
        as_pictures(pixels, data),
        as_pictures(train[nearest.index], data),
        nearest.distance,
        labels,
    )


def _reconstructed(trained: Trained, num: int = 10) -> Figure:
    r"""Returns a figure of test digits above what is left of them after each hidden layer."""
    machine = trained.machine
    test = trained.data.test[:num].clone()
    test[:, machine.num_pixels :] = 0
    depths = range(1, len(machine.generator.layers) + 1)
    rows = [test, *(machine.reconstruct(test, depth).detach() for depth in depths)]
    pixels = torch.cat(rows)[:, : machine.num_pixels]
    return image_grid(as_pictures(pixels, trained.data), columns=num)
