r"""`qahm report`: the figures of a trained machine."""

from __future__ import annotations

__all__ = ["run"]

from pathlib import Path

from qahm_torch.cli.arguments import Trained, load_machine, parser_of
from qahm_torch.evaluation import (
    generated_and_nearest,
    image_grid,
    learning_curves,
    nearest_neighbors,
    read_metrics,
    save_figure,
)
from qahm_torch.samplers import AnnealedSampler


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
    trained.machine.prior.sampler = AnnealedSampler(settings.num_temperatures)
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


def _generated(trained: Trained, num: int):  # type: ignore[no-untyped-def]
    machine, shape = trained.machine, trained.data.image_shape
    dream = machine.dream(num)
    means = machine.generator.mean(dream[-2]).detach()
    pixels = means[:, : machine.num_pixels]
    train = trained.data.train[:, : machine.num_pixels]
    nearest = nearest_neighbors(pixels, train)
    labels: list[object] = []
    if machine.num_classes:
        labels = trained.data.train[nearest.index, machine.num_pixels :].argmax(-1).tolist()
    return generated_and_nearest(
        pixels.view(-1, *shape), train[nearest.index].view(-1, *shape), nearest.distance, labels
    )


def _reconstructed(trained: Trained, num: int = 10):  # type: ignore[no-untyped-def]
    r"""Returns a figure of test digits above what is left of them after each hidden layer."""
    import torch

    machine, shape = trained.machine, trained.data.image_shape
    test = trained.data.test[:num].clone()
    test[:, machine.num_pixels :] = 0
    depths = range(1, len(machine.generator.layers) + 1)
    rows = [test, *(machine.reconstruct(test, depth).detach() for depth in depths)]
    pixels = torch.cat(rows)[:, : machine.num_pixels]
    return image_grid(pixels.view(-1, *shape), columns=num)
