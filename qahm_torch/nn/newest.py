r"""Which checkpoint of a run folder counts."""

from __future__ import annotations

__all__ = ["FINISHED", "STATUS_FILE", "newest_checkpoint", "run_of", "step_of", "version_of"]

import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from qahm_torch.trust import read_weights

STATUS_FILE = "status.json"
FINISHED = "finished"

_STOPPED = "on_exception.ckpt"
_LAST = "last.ckpt"


class _Candidate(NamedTuple):
    # In this order the greatest one counts.
    is_finished: bool
    version: int
    step: int
    is_last: bool
    path: Path


def newest_checkpoint(folder: Path) -> Path:
    r"""Returns the checkpoint of a folder of runs that counts, or of one run.

    It is that of the highest version among the runs whose training has ended; where none has,
    that of the highest version, with a warning. Of one run the checkpoint after most updates
    counts. Times of files do not matter. A file that cannot be read is left out with a warning,
    and so is one of before the first update, which has learned nothing, without.

    A run says in `status.json` whether it has ended. One that does not say has, unless it has
    stopped at an `on_exception.ckpt`.

    Arguments:
        folder: A run folder, such as runs/NAME/version_3, or the folder of its versions.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the folder has runs of several names.
    """
    files = sorted(folder.rglob("*.ckpt"))
    if not files:
        raise FileNotFoundError(
            f"{folder} has no checkpoint (*.ckpt) in it; `qahm fit` leaves "
            "them in runs/NAME/version_N"
        )
    _check_one_name(folder, {run_of(file, folder) for file in files})
    steps = {file: _tried(file) for file in files}
    unread = [str(file) for file, step in steps.items() if step is None]
    if unread:
        warnings.warn(f"left out, since it cannot be read: {', '.join(unread)}", stacklevel=3)
    found = list(_best_of_runs(folder, steps))
    if not found:
        raise FileNotFoundError(
            f"{folder} has no checkpoint that has learned anything: {len(unread)} cannot be read, "
            f"and {len(files) - len(unread)} are of before the first update"
        )
    chosen = max(found)
    if not chosen.is_finished:
        run = run_of(chosen.path, folder)
        warnings.warn(
            f"the training of {run} has not ended: {chosen.path} is of {chosen.step} updates",
            stacklevel=3,
        )
    return chosen.path


def run_of(file: Path, folder: Path | None = None) -> Path:
    r"""Returns the run folder of a checkpoint.

    It is the version folder that the file is in; without one, the folder that was searched, or
    else the one that holds the checkpoint or its folder `checkpoints`.

    Example:
        >>> run_of(Path("runs/digits/version_3/checkpoints/last.ckpt")).as_posix()
        'runs/digits/version_3'
    """
    for parent in file.parents:
        if version_of(parent) is not None:
            return parent
    if folder is not None:
        return folder
    return file.parent.parent if file.parent.name == "checkpoints" else file.parent


def version_of(run: Path) -> int | None:
    r"""Returns the number of a version folder; None for another folder.

    Example:
        >>> version_of(Path("runs/digits/version_3"))
        3
    """
    match = re.fullmatch(r"version_(\d+)", run.name)
    return int(match[1]) if match else None


def step_of(file: Path) -> int:
    r"""Returns the number of updates of a checkpoint, without reading its tensors.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is not whole, or of another kind.
    """
    content = read_weights(file, lazy=True)
    # A machine that was saved by itself does not say, and has learned something.
    return int(content.get("global_step", 1)) if isinstance(content, dict) else 0


def _tried(file: Path) -> int | None:
    try:
        return step_of(file)
    except (OSError, ValueError):
        return None


def _check_one_name(folder: Path, runs: Iterable[Path]) -> None:
    names = {run.parent for run in runs}
    if len(names) > 1:
        raise ValueError(
            f"{folder} has runs of several names, whose versions cannot be compared; name one of "
            f"{', '.join(sorted(map(str, names)))}"
        )


def _best_of_runs(folder: Path, steps: dict[Path, int | None]) -> Iterable[_Candidate]:
    runs: dict[Path, list[tuple[int, bool, Path]]] = {}
    for file, step in steps.items():
        if step:
            runs.setdefault(run_of(file, folder), []).append((step, file.name == _LAST, file))
    for run, files in runs.items():
        best = max(files)
        version = version_of(run)
        yield _Candidate(_has_ended(run, best[-1]), -1 if version is None else version, *best)


def _has_ended(run: Path, best: Path) -> bool:
    try:
        told = json.loads((run / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return best.name != _STOPPED
    return isinstance(told, dict) and told.get("status") == FINISHED
