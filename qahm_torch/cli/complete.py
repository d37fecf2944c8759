r"""`qahm complete`: hidden cells of test rows, filled in by a machine."""

from __future__ import annotations

__all__ = ["run"]

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from qahm_torch.cli.arguments import Trained, load_machine, parser_of
from qahm_torch.cli.outputs import check_writable
from qahm_torch.data import MixedTable, TensorDataModule, hide_block, hide_pixels
from qahm_torch.evaluation import (
    Completion,
    CompletionError,
    atomic_write,
    complete,
    completion_error,
    image_grid,
    save_figure,
)
from qahm_torch.evaluation.figures import blank_figure
from qahm_torch.training.data_check import check_data
from qahm_torch.training.sample_grid import as_pictures

_ROWS = 20  # at a time
_SHOWN = 10
_GRAY = 0.0


def run(arguments: list[str]) -> None:
    r"""Fills in hidden cells, writes them and a picture, and tells the error."""
    parser = parser_of(
        "complete",
        "Fills in hidden features of test rows by their means given the others, and tells the "
        "squared error, beside that of the means of the training rows. Classes are not seen.",
    )
    parser.add_argument(
        "--num", type=int | None, default=None, help="The number of test rows; all if not set."
    )
    parser.add_argument(
        "--fraction",
        type=float,
        default=0.5,
        help="The fraction of the features to hide; pixels in color as wholes.",
    )
    parser.add_argument(
        "--block",
        type=tuple[int, int] | None,
        default=None,
        help="Instead of a fraction, the rows and columns of a block of pixels to hide: '[4, 8]'.",
    )
    parser.add_argument(
        "--num_particles", type=int, default=256, help="Importance samples per test row."
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="The arrays true, hidden, completed and drawn, a row each, as .npz, beside which "
        "there is a picture; RUN/completed.npz if not set.",
    )
    settings = parser.parse_args(arguments)
    if not 0 < settings.fraction <= 1:
        parser.error(f"--fraction is {settings.fraction}, but it is above 0 and at most 1")
    for name in ("num", "num_particles"):
        if settings[name] is not None and settings[name] < 1:
            parser.error(f"--{name} is {settings[name]}, but at least 1 is needed")
    if settings.output is not None:
        check_writable(settings.output, name="--output", suffix=".npz")
    trained = load_machine(settings)
    output = Path(settings.output or trained.folder / "completed.npz")
    check_writable(output, suffix=".npz")
    data = trained.data
    if settings.block is not None and data.image_shape is None:
        parser.error(f"--block is of pixels, but the rows of {type(data).__name__} are no images")
    rows = _test_rows(trained)[: settings.num]
    hidden = _hidden(data, rows, settings)
    completion = _completed(trained, rows.masked_fill(hidden, torch.nan), settings.num_particles)
    _write(output, trained, rows, hidden, completion)
    print(_told(_error(trained, rows, hidden, completion), len(rows)))
    print(output)
    print(output.with_suffix(".png"))


def _test_rows(trained: Trained) -> Tensor:
    trained.data.prepare_data()
    trained.data.setup("test")
    check_data(trained.data, trained.machine.generator.output, ("test",))
    batches = list(trained.data.test_dataloader())
    if not batches:
        raise ValueError(f"{type(trained.data).__name__} has no test rows: set its num_test")
    return torch.cat(batches)


def _hidden(data: TensorDataModule, rows: Tensor, settings: Any) -> Tensor:
    r"""Returns what is hidden, of shape (B, num_visible): features at random, and all classes."""
    known = torch.zeros_like(rows)
    if settings.block is not None:
        hidden = hide_block(known, data.image_shape or (0, 0), settings.block).isnan()
    else:
        sizes = _cell_sizes(data)
        cells = hide_pixels(known[:, : len(sizes)], len(sizes), settings.fraction).isnan()
        hidden = torch.zeros_like(rows, dtype=torch.bool)
        hidden[:, : data.num_features] = cells.repeat_interleave(torch.tensor(sizes), -1)
    hidden[:, data.num_features :] = True
    return hidden


def _cell_sizes(data: TensorDataModule) -> list[int]:
    r"""Returns how many features go together: a column's units, or a pixel's colors."""
    if isinstance(data, MixedTable):
        columns = data.columns[:-1] if data.num_classes else data.columns
        return [column.num_units for column in columns]
    num_colors = math.prod((data.image_shape or ())[2:])
    return [num_colors] * (data.num_features // num_colors)


def _completed(trained: Trained, rows: Tensor, num_particles: int) -> Completion:
    parts = torch.split(rows, _ROWS)
    done = [
        complete(trained.machine, part, num_particles)
        for part in tqdm(parts, "completing", disable=None, leave=False)
    ]
    draws = [part.draw for part in done if part.draw is not None]
    return Completion(torch.cat([part.mean for part in done]), torch.cat(draws) if draws else None)


def _error(
    trained: Trained, rows: Tensor, hidden: Tensor, completion: Completion
) -> CompletionError:
    features = trained.data.num_features
    return completion_error(
        rows[:, :features],
        hidden[:, :features],
        completion.mean[:, :features],
        trained.data.train[:, :features].nanmean(0),
    )


def _told(error: CompletionError, num_rows: int) -> str:
    share = error.machine / error.baseline if error.baseline else float("nan")
    return (
        f"mean squared error of {error.num_hidden} hidden cells of {num_rows} test rows: "
        f"{error.machine:.4f} ± {error.machine_stderr:.4f}, {100 * share:.0f} % of that of the "
        f"training rows' means, {error.baseline:.4f} ± {error.baseline_stderr:.4f}"
    )


def _write(
    output: Path, trained: Trained, rows: Tensor, hidden: Tensor, completion: Completion
) -> None:
    arrays: dict[str, Any] = {"true": rows, "hidden": hidden, "completed": completion.mean}
    if completion.draw is not None:
        arrays["drawn"] = completion.draw
    with atomic_write(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: values.numpy() for name, values in arrays.items()})
    figure = _picture if trained.data.image_shape is not None else _scatter
    save_figure(figure(trained, rows, hidden, completion), output.with_suffix(".png"))


def _picture(trained: Trained, rows: Tensor, hidden: Tensor, completion: Completion) -> Figure:
    r"""Returns a figure of test rows, what is seen of them, and what they are completed to."""
    seen = rows.masked_fill(hidden, _GRAY)
    kinds = [rows, seen, completion.mean, *([] if completion.draw is None else [completion.draw])]
    num = min(_SHOWN, len(rows))
    labels = ["test data", "seen", "mean given that", "draw given that"][: len(kinds)]
    pixels = torch.cat([kind[:num, : trained.data.num_features] for kind in kinds])
    return image_grid(as_pictures(pixels, trained.data), row_labels=labels)


def _scatter(trained: Trained, rows: Tensor, hidden: Tensor, completion: Completion) -> Figure:
    r"""Returns hidden values against what they were completed to."""
    features = trained.data.num_features
    counted = hidden[:, :features] & ~rows[:, :features].isnan()
    true, guess = (values[:, :features][counted] for values in (rows, completion.mean))
    figure = blank_figure(4, 4, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(true, guess, ".", markersize=2, alpha=0.4)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    axes.set_xlabel("hidden value")
    axes.set_ylabel("mean given the others")
    return figure
