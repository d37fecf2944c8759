r"""How well a machine tells each column of a table from the others."""

from __future__ import annotations

__all__ = ["column_errors"]

from typing import Any, cast

import torch
from torch import Tensor

from qahm_torch.cli.arguments import Trained
from qahm_torch.data import Column, MixedTable
from qahm_torch.evaluation import impute
from qahm_torch.evaluation.watching import steps
from qahm_torch.nn import MixedUnits

_PARTICLES = 100
_ROWS = 100  # at a time


@torch.no_grad()
def column_errors(
    trained: Trained, rows: Tensor, num_particles: int = _PARTICLES
) -> list[dict[str, Any]] | None:
    r"""Returns errors of each feature column, hidden in turn and told from the others.

    Classes are hidden as well. Beside each error is that of a guess by the training rows alone,
    their mean or their most frequent category.

    Arguments:
        trained: A machine and its data.
        rows: Test rows of shape (R, num_visible).
        num_particles: The number of hidden states per row.

    Returns:
        A mapping for each column, as docs/evaluation.schema.json has it; None if the data are no
        table, or the visible units are others than `MixedUnits`.
    """
    data, output = trained.data, trained.machine.generator.output
    if not isinstance(data, MixedTable) or not isinstance(output, MixedUnits):
        return None
    sizes = [column.num_units for column in data.columns]
    parts = torch.arange(sum(sizes)).split(sizes)
    true, usual = data.decode(rows), data.decode(data.train.nanmean(0))
    num_features = len(data.columns) - (1 if data.num_classes else 0)
    errors = []
    for k in steps(range(num_features)):
        known = ~true[:, k].isnan()
        hidden = rows[known]
        hidden[:, parts[k]] = torch.nan
        hidden[:, data.num_features :] = torch.nan
        told = _told(trained, hidden, num_particles)[:, k]
        errors.append(_compared(data.columns[k], true[known, k], told, usual[k]))
    return errors


def _told(trained: Trained, rows: Tensor, num_particles: int) -> Tensor:
    r"""Returns what a machine expects in rows with hidden cells, as original values (R, C)."""
    data = cast(MixedTable, trained.data)
    if not len(rows):
        return rows.new_empty(0, len(data.columns))
    return data.decode(impute(trained.machine, rows, num_particles, batch_size=_ROWS).mean)


def _compared(column: Column, true: Tensor, told: Tensor, usual: Tensor) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "num": len(true),
        "error": _error(column, true, told),
        "baseline": _error(column, true, usual),
    }


def _error(column: Column, true: Tensor, guess: Tensor) -> float:
    r"""Returns the root mean squared error of numbers, and how often categories are not met."""
    if column.is_real:
        return float((true - guess).square().mean().sqrt())
    return float((true != guess).double().mean())
