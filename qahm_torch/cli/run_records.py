r"""What the files of a run folder say of a run, without reading its tensors."""

from __future__ import annotations

__all__ = ["REPORT", "RunRecord", "find_runs", "read_json", "run_folder_of"]

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from qahm_torch.cli.run_folders import is_run, run_folders
from qahm_torch.nn.newest import STATUS_FILE, newest_checkpoint, run_of, version_of
from qahm_torch.trust import local_path

REPORT, _METRICS = "evaluation.json", "metrics.csv"
_TAKEN = {"epoch", "device/qpu_seconds"}


class RunRecord(NamedTuple):
    r"""A run: None is what its files do not say."""

    folder: Path
    name: str
    version: int | None
    status: str  # "finished", "stopped", "training" (or killed) or "unknown"
    epochs: int | None
    updates: int | None
    nats: dict[str, Any] | None  # value, lower, upper and stderr per test datum
    accuracy: float | None
    num_test: int | None
    evaluated_updates: int | None  # of the checkpoint that was measured
    qpu_seconds: float | None
    seconds: float | None
    changed: str  # when, in local time

    @property
    def report_is_old(self) -> bool:
        r"""Whether the run has been trained on since it was measured."""
        known = self.evaluated_updates is not None and self.updates is not None
        return known and self.evaluated_updates != self.updates


def find_runs(folder: Path) -> list[RunRecord]:
    r"""Returns the runs below a folder, those that were changed last first.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is no folder; `qahm fit` makes the folder runs where it is started"
        )
    found = [_record(run) for run in run_folders(folder)]
    return sorted(found, key=lambda record: record.changed, reverse=True)


def run_folder_of(path: str | Path) -> Path:
    r"""Returns the run folder of a path: of a checkpoint, a run, or the folder of its versions.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If the folder has runs of several names, or the file is no checkpoint.
    """
    path = local_path(path)
    if path.is_file():
        if path.suffix != ".ckpt":
            raise ValueError(f"{path} is no run: name its folder, or a checkpoint (*.ckpt) in it")
        return run_of(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; `qahm runs` lists the runs that do")
    return path if is_run(path) else run_of(newest_checkpoint(path))


def read_json(path: Path) -> dict[str, Any]:
    r"""Returns the object of a JSON file; an empty one where there is no file.

    Raises:
        ValueError: If it is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise ValueError(f"{path} holds a {type(told).__name__}, but reports are objects")
    return told


def _record(folder: Path) -> RunRecord:
    told, report = read_json(folder / STATUS_FILE), read_json(folder / REPORT)
    last = _last_values(folder)
    training, likelihood = report.get("training") or {}, report.get("likelihood") or {}
    version = version_of(folder)
    return RunRecord(
        folder,
        folder.name if version is None else folder.parent.name,
        version,
        told.get("status", "unknown"),
        told.get("epochs", None if "epoch" not in last else int(last["epoch"]) + 1),
        told.get("updates") or None,  # at the start it says 0, and nothing while it goes on
        likelihood.get("nats"),
        (report.get("classification_accuracy") or {}).get("importance_weighted"),
        report.get("num_test"),
        training.get("updates"),
        told.get("qpu_seconds", last.get("device/qpu_seconds")),
        training.get("seconds", told.get("seconds")),
        _changed(folder),
    )


def _last_values(folder: Path) -> dict[str, float]:
    r"""Returns the last value of each column of the metrics."""
    path = folder / _METRICS
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        last = {name: cell for row in csv.DictReader(file) for name, cell in row.items() if cell}
    return {name: float(last[name]) for name in _TAKEN & last.keys()}


def _changed(folder: Path) -> str:
    # The folder itself changes by a report or a picture, too.
    files = [file for name in (STATUS_FILE, _METRICS) if (file := folder / name).exists()]
    latest = max(file.stat().st_mtime for file in files or [folder])
    return datetime.fromtimestamp(latest).isoformat(" ", "seconds")
