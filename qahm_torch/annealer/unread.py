r"""What a service has sent of a problem that was paid for, and that nobody could read."""

from __future__ import annotations

__all__ = ["set_aside", "unread_files"]

import re
import zlib
from pathlib import Path

from qahm_torch.annealer.archive import AnswerArchive
from qahm_torch.device.door import Job
from qahm_torch.device.errors import AnnealerError
from qahm_torch.nn.atomic import atomic_write

FOLDER = "unread"
# Bytes in all: a service that is broken for a week should not fill the disk.
ROOM = 2**28


def set_aside(archive: AnswerArchive, job: Job, error: AnnealerError) -> None:
    r"""Writes what could not be read into files of the archive, and says in the error where.

    They are as the service sent them, without credentials, beside the records of the archive: to
    be looked at, shown to whoever runs the service, or read by a later version. The same bytes are
    kept once, however often they come.

    Arguments:
        archive: The archive.
        job: The job that they are, or claim to be, an answer to.
        error: What went wrong; nothing is unread in it afterwards.
    """
    unread, error.unread = error.unread, {}
    if not (unread and error.may_have_run):
        return
    try:
        files = [_written(archive.folder / FOLDER, job, *item) for item in unread.items()]
    except OSError as reason:
        error.add(f"What the service sent could not be kept ({reason})")
    else:
        error.add(f"What the service sent is kept in {', '.join(map(str, files))}")


def unread_files(archive: AnswerArchive) -> list[Path]:
    r"""Returns the files with what could not be read, oldest first."""
    found = (archive.folder / FOLDER).glob("*.body")
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _written(folder: Path, job: Job, name: str, body: bytes) -> Path:
    label = re.sub(r"[^\w-]", "_", job.label)[:100]
    path = folder / f"{label}-{name}-{zlib.crc32(body):08x}.body"
    if path.exists():
        return path
    used = sum(known.stat().st_size for known in folder.glob("*.body"))
    if used + len(body) > ROOM:
        raise OSError(f"{folder} is full with {used} bytes; move them elsewhere to make room")
    with atomic_write(path) as temporary:
        temporary.write_bytes(body)
    return path
