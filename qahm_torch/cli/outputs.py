r"""Whether a file can be written, before the hours that it takes to have something to write."""

from __future__ import annotations

__all__ = ["PICTURES", "check_writable"]

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qahm_torch.cli.mistakes import UsageError

# What a picture ends in; that of figures themselves would have to be imported, for seconds.
PICTURES = (".png", ".pdf", ".svg")


def check_writable(
    path: str | Path,
    is_folder: bool = False,
    name: str = "the output",
    suffix: str | Sequence[str] = (),
) -> None:
    r"""Tries to write where a file, or the files of a folder, will be, and leaves nothing there.

    Arguments:
        path: The file or folder. Folders that are missing will be made.
        is_folder: Whether it is a folder.
        name: What it is, for the error.
        suffix: What it ends in, or endings to choose from; none for anything.

    Raises:
        UsageError: If nothing can be written there, or it ends in something else.

    Example:
        >>> check_writable("/dev/null/report.json")
        Traceback (most recent call last):
        ...
        qahm_torch.cli.mistakes.UsageError: the output is /dev/null/report.json, but /dev/null is no folder
    """  # noqa: E501
    path = Path(path)
    endings = [suffix] if isinstance(suffix, str) else suffix
    if endings and path.suffix not in endings:
        raise UsageError(f"{name} is {path}, but it ends in {' or '.join(endings)}")
    if path.is_dir() and not is_folder:
        raise UsageError(f"{name} is {path}, but that is a folder, and a file is written")
    missing = path if is_folder else path.parent
    folders = [missing, *missing.parents]
    there = next((folder for folder in folders if folder.exists()), Path("/"))
    if not there.is_dir():
        raise UsageError(f"{name} is {path}, but {there} is no folder")
    try:
        _try_in(there, missing)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{name} is {path}, where nothing can be written: {reason}") from error


def _try_in(there: Path, missing: Path) -> None:
    r"""Makes what will be made, a folder or a file, and removes it."""
    if there == missing:
        # As the files will be: beside what they replace.
        descriptor, file = tempfile.mkstemp(prefix=".", dir=there)
        os.close(descriptor)
        os.unlink(file)
    else:
        os.rmdir(tempfile.mkdtemp(prefix=".", dir=there))
