r"""Where runs lie, found without reading them."""

from __future__ import annotations

__all__ = ["RUNS", "checkpoints_like", "is_run", "run_folders", "runs_like"]

from collections.abc import Iterator
from pathlib import Path

RUNS = "runs"
# One of them is in the folder of a run from its first update on.
_FILES = ("status.json", "metrics.csv", "checkpoints")


def is_run(folder: Path) -> bool:
    r"""Returns whether a folder is that of a run."""
    return any((folder / name).exists() for name in _FILES)


def run_folders(folder: Path) -> Iterator[Path]:
    r"""Yields the run folders in a folder, which may be one itself."""
    # Of a run nothing below is another one; pictures can be many.
    if is_run(folder):
        yield folder
        return
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink():
            yield from run_folders(inner)


def runs_like(begun: str) -> Iterator[str]:
    r"""Yields the runs below here by which a command can go on that has been begun.

    First names, each of which stands for all of its versions, then the versions; below one of
    them, its checkpoints.
    """
    runs = _runs_here()
    yield from dict.fromkeys(str(run.parent) for run in runs if run.parent != Path(RUNS))
    yield from map(str, runs)
    yield from _checkpoints([run for run in runs if begun.startswith(f"{run}/")])


def checkpoints_like(begun: str) -> Iterator[str]:
    r"""Yields the checkpoints of the runs below here."""
    yield from _checkpoints(_runs_here())


def _runs_here() -> list[Path]:
    return list(run_folders(Path(RUNS))) if Path(RUNS).is_dir() else []


def _checkpoints(runs: list[Path]) -> Iterator[str]:
    for run in runs:
        yield from map(str, sorted((run / "checkpoints").glob("*.ckpt")))
