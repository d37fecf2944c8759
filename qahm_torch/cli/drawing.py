r"""Figures of a trained model."""

from __future__ import annotations

__all__ = ["drawn"]

import torch
from matplotlib.figure import Figure

from qahm_torch.cli.arguments import Trained, TrainedPrior
from qahm_torch.cli.dreams import draw
from qahm_torch.cli.table_drawing import table_figures
from qahm_torch.data import MixedTable
from qahm_torch.evaluation import (
    generated_and_nearest,
    image_grid,
    learning_curves,
    nearest_neighbors,
    read_metrics,
)
from qahm_torch.training.sample_grid import as_pictures

NUM_DRAWS = 16  # of which the mean is drawn
_PICTURES, _ROWS = 40, 1000


def drawn(
    trained: Trained | TrainedPrior, num: int | None, num_temperatures: int
) -> dict[str, Figure]:
    r"""Returns figures by their names: pictures, or of a table its columns.

    Without a recognition network there are no reconstructions, and without metrics.csv in the run
    folder no learning curves.
    """
    trained.data.prepare_data()
    trained.data.setup("test")
    if isinstance(trained.data, MixedTable):
        figures = table_figures(
            trained.data, draw(trained, num or _ROWS, num_temperatures).visible
        )
    else:
        figures = _pictures(trained, num or _PICTURES, num_temperatures)
    metrics = trained.folder / "metrics.csv"
    if metrics.exists():
        figures["learning_curves"] = learning_curves(read_metrics(metrics))
    return figures


def _pictures(
    trained: Trained | TrainedPrior, num: int, num_temperatures: int
) -> dict[str, Figure]:
    figures = {"generated": _generated(trained, num, num_temperatures)}
    if isinstance(trained, Trained):
        figures["reconstructed"] = _reconstructed(trained)
    return figures


def _generated(trained: Trained | TrainedPrior, num: int, num_temperatures: int) -> Figure:
    r"""Returns a figure of dreams above the training data nearest to them."""
    data, pixels = trained.data, draw(trained, num, num_temperatures).pixels
    num_pixels = pixels.shape[-1]
    train = data.train[:, :num_pixels]
    nearest = nearest_neighbors(pixels, train)
    labels: list[object] = []
    if data.train.shape[-1] > num_pixels:
        classes = data.train[nearest.index, num_pixels:]
        known = (~classes.isnan().any(-1)).tolist()
        found = classes.argmax(-1).tolist()
        names = [data.class_names[k] for k in found]
        labels = [name if is_known else "?" for name, is_known in zip(names, known, strict=True)]
    return generated_and_nearest(
        as_pictures(pixels, data),
        as_pictures(train[nearest.index], data),
        nearest.distance,
        labels,
    )


@torch.no_grad()
def _reconstructed(trained: Trained, num: int = 10) -> Figure:
    r"""Returns a figure of data above what is left of them after each hidden layer.

    The data are of the first part that there is of test, validation and training. What comes back
    by one draw of the hidden states stands above the mean of several.
    """
    machine, data = trained.machine, trained.data
    parts = {"test data": data.test, "validation data": data.val, "training data": data.train}
    name, part = next((name, part) for name, part in parts.items() if len(part))
    # from all over the part, whose order may be that of its kinds
    places = torch.linspace(0, len(part) - 1, min(num, len(part))).round().long()
    seen = part[places]
    seen[:, machine.num_pixels :] = torch.nan
    rows = {name: seen}
    for depth in range(1, len(machine.generator.layers) + 1):
        rows[f"layer {depth}, one draw"] = machine.reconstruct(seen, depth)
        mean = machine.reconstruct(seen, depth, num_draws=NUM_DRAWS)
        rows[f"layer {depth}, mean of {NUM_DRAWS} draws"] = mean
    pixels = torch.cat(list(rows.values()))[:, : machine.num_pixels]
    return image_grid(as_pictures(pixels, data), row_labels=list(rows))
