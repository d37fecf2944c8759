r"""Rows classified by a trained machine."""

from __future__ import annotations

__all__ = ["classified"]

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from qahm_torch.cli.arguments import Trained
from qahm_torch.cli.file_rows import rows_of_file
from qahm_torch.evaluation import write_csv
from qahm_torch.nn.support import check_values

_ROWS = 100  # at a time


def classified(trained: Trained, settings: Any, output: Path) -> str | None:
    r"""Writes the classes of rows as CSV, and returns what is told of the accuracy.

    It is None where no class is known.

    Raises:
        ValueError: If the data have no classes, or the rows of the file are of other data.
    """
    if not trained.data.num_classes:
        raise ValueError(f"{type(trained.data).__name__} has no classes to tell apart")
    trained.data.prepare_data()
    trained.data.setup("test")
    rows = _test_rows(trained) if settings.input is None else _rows_of(trained, settings.input)
    probs = _probabilities(trained, rows, settings.rule, settings.num_particles)
    known = _known_classes(rows[:, trained.data.num_features :])
    _write(output, probs, known, trained.data.class_names)
    return _told(probs.argmax(-1), known) if bool((known >= 0).any()) else None


def _rows_of(trained: Trained, path: str) -> Tensor:
    rows = rows_of_file(trained.data, path)
    check_values(path, rows, trained.machine.generator.output.supports)
    return rows


def _test_rows(trained: Trained) -> Tensor:
    batches = list(trained.data.test_dataloader())
    if not batches:
        raise ValueError(f"{type(trained.data).__name__} has no test rows: name a file by --input")
    return torch.cat(batches)


def _probabilities(trained: Trained, rows: Tensor, rule: str, num_particles: int) -> Tensor:
    r"""Returns the probabilities of the classes, of shape (R, num_classes)."""
    machine, num_features = trained.machine, trained.data.num_features
    unknown = rows.clone()
    unknown[:, num_features:] = torch.nan
    parts = []
    for part in tqdm(unknown.split(_ROWS), "classifying", disable=None, leave=False):
        parts.append(getattr(machine, rule)(part, num_particles))
    return torch.cat(parts)


def _known_classes(units: Tensor) -> Tensor:
    r"""Returns the classes of rows of class units; -1 where they are not known."""
    return units.nan_to_num(nan=-1.0).argmax(-1).where(~units.isnan().any(-1), -1)


def _write(path: Path, probs: Tensor, known: Tensor, names: Sequence[str]) -> None:
    lines: list[list[object]] = [["row", "class", "probability", "known_class"]]
    guesses = probs.argmax(-1).tolist()
    for k, (guess, is_class) in enumerate(zip(guesses, known.tolist(), strict=True), 1):
        true = names[is_class] if is_class >= 0 else ""
        lines.append([k, names[guess], f"{float(probs[k - 1, guess]):.6f}", true])
    write_csv(path, lines)


def _told(guesses: Tensor, known: Tensor) -> str:
    right = (guesses == known)[known >= 0].double()
    accuracy, num = float(right.mean()), len(right)
    stderr = math.sqrt(accuracy * (1 - accuracy) / num)
    return f"accuracy {100 * accuracy:.1f} % ± {100 * stderr:.1f} % of {num} rows"
