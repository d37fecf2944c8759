r"""Hidden cells of test rows, filled in by a trained machine."""

from __future__ import annotations

__all__ = ["completed"]

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from qahm_torch.cli.arguments import Trained
from qahm_torch.cli.mistakes import UsageError
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


def completed(trained: Trained, settings: Any, output: Path) -> str:
    r"""Writes completed rows and a picture of them, and returns what is told of the error.

    Raises:
        ValueError: If there are no test rows, or no pixels for a block.
    """
    data = trained.data
    if settings.block is not None:
        _check_block(data, settings.block)
    rows = _test_rows(trained)[: settings.num]
    hidden = _hidden(data, rows, settings)
    completion = _completed(trained, rows.masked_fill(hidden, torch.nan), settings.num_particles)
    _write(output, trained, rows, hidden, completion)
    return _told(_error(trained, rows, hidden, completion), len(rows))


def _check_block(data: TensorDataModule, block: list[int]) -> None:
    shape = data.image_shape
    if shape is None:
        raise UsageError(
            f"--block is of pixels, but the rows of {type(data).__name__} are no images"
        )
    if block[0] > shape[0] or block[1] > shape[1]:
        raise UsageError(
            f"--block is {block}, but the images have {shape[0]} rows and {shape[1]} columns"
        )


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
        hidden = hide_block(known, data.image_shape or (0, 0), tuple(settings.block)).isnan()
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
