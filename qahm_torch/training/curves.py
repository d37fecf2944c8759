r"""The curves of a run, which go on when it is resumed."""

from __future__ import annotations

__all__ = ["ContinuedCurves"]

import csv
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from qahm_torch.nn.atomic import atomic_write

Row = dict[str, Any]


class ContinuedCurves(CSVLogger):
    r"""Lightning's logger to metrics.csv, which goes on with the file that is there.

    Nothing changes until `cut` says from where: what was logged of later updates, which are about
    to be made again, is then forgotten.
    """

    @property
    def experiment(self) -> Any:
        if getattr(rank_zero_only, "rank", 0) > 0:
            return super().experiment
        if self._experiment is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return self._experiment

    @rank_zero_only
    def cut(self, step: int) -> None:
        r"""Forgets the rows of updates after a number of them."""
        self.experiment.cut(step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self.experiment.release()
        super().finalize(status)


class _ContinuedWriter(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.metrics_keys = _header(self.metrics_file_path)
        self._step = -1
        # Values with the step of the checkpoint are either of before it, or about to be logged
        # again: they wait until that is known.
        self._held: list[Row] = []

    def _check_log_dir_exists(self) -> None:
        # Lightning removes the file here.
        pass

    def cut(self, step: int) -> None:
        file = Path(self.metrics_file_path)
        if not file.is_file():
            return
        with open(file, newline="") as opened:
            # A row that a kill has cut short has no step, or lacks columns.
            rows = [row for row in csv.DictReader(opened) if None not in row.values()]
        known = [row for row in rows if _step_of(row) < step]
        self._step = step
        self._held = [
            {key: value for key, value in row.items() if value}
            for row in rows
            if _step_of(row) == step
        ]
        with atomic_write(file) as temporary, open(temporary, "w", newline="") as opened:
            writer = csv.DictWriter(opened, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(known)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        if step == self._step:
            self._held = [_without(row, metrics_dict) for row in self._held]
        elif step is not None and step > self._step:
            self.release()
        super().log_metrics(metrics_dict, step)

    def release(self) -> None:
        r"""Writes what was held back, less what has been logged again."""
        self.metrics.extend(row for row in self._held if row.keys() - {"step", "epoch"})
        self._held = []


def _header(path: str) -> list[str]:
    if not os.path.isfile(path):
        return []
    with open(path, newline="") as opened:
        return list(next(csv.reader(opened), []))


def _step_of(row: Row) -> float:
    return float(row["step"] or "inf")


def _without(row: Row, logged: dict[str, float]) -> Row:
    return {
        key: value for key, value in row.items() if key in ("step", "epoch") or key not in logged
    }
