r"""What a start that failed leaves of a run folder: nothing."""

from __future__ import annotations

__all__ = ["Leftovers"]

from pathlib import Path

# What loggers and callbacks write before the first update; anything else is somebody's.
_PATTERNS = ("config.yaml", "hparams.yaml", "status.json", "metrics.csv", "events.out.tfevents.*")


class Leftovers:
    r"""Remembers a run folder as it is, and makes it so again.

    Only files that loggers and callbacks write are removed or restored, and only folders that
    were not there and are empty.

    Arguments:
        folder: The run folder, which may not exist yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._texts = {file: file.read_bytes() for file in self._files()}
        own = (folder / "checkpoints", folder, *folder.parents[:2])
        self._new = [path for path in own if not path.exists()]

    def clear(self) -> None:
        r"""Makes the folder what it was."""
        for file in self._files():
            if file not in self._texts:
                file.unlink()
        for file, text in self._texts.items():
            if not file.is_file() or file.read_bytes() != text:
                file.write_bytes(text)
        for path in self._new:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _files(self) -> list[Path]:
        return [file for pattern in _PATTERNS for file in self.folder.glob(pattern)]
