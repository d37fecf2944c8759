r"""Files that are either complete or absent, also after a power cut or on a full disk."""

from __future__ import annotations

__all__ = ["atomic_write"]

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""Lends a temporary path that becomes `path` once the block has succeeded.

    The temporary path lies in the folder of `path`, which is created where it is missing. A block
    that raises leaves whatever was at `path` untouched, and no temporary file behind. What was
    written has reached the disk before it takes the place of an older file.

    Arguments:
        path: The file to write or to replace.

    Raises:
        FileNotFoundError: If the block ends without having written the temporary path.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder) / "notes" / "a.txt") as temporary:
        ...         _ = temporary.write_text("all or nothing")
        ...     (Path(folder) / "notes" / "a.txt").read_text()
        'all or nothing'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file made by `tempfile` could be read by its owner only, and so would the result.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        _sync(path.parent)


def _sync(path: Path) -> None:
    # To be synchronized, a file has to be open for writing on some systems, and a folder cannot.
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
