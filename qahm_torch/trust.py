r"""What a file may do: give tensors and plain values, and name classes of known kinds."""

from __future__ import annotations

__all__ = ["class_of", "local_path", "read_weights"]

import importlib
import os
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

# A drive of Windows is a single letter.
_ADDRESS = re.compile(r"^[A-Za-z][\w+.-]+:/|::")


def local_path(path: str | Path) -> Path:
    r"""Returns a path of this machine.

    Raises:
        ValueError: If it is the address of something elsewhere.

    Example:
        >>> local_path("https://example.org/a.ckpt")
        Traceback (most recent call last):
        ...
        ValueError: https://example.org/a.ckpt is no file of this machine: fetch it first, and name the file
    """  # noqa: E501
    if _ADDRESS.search(str(path)):
        raise ValueError(f"{path} is no file of this machine: fetch it first, and name the file")
    return Path(path)


def read_weights(path: str | Path, kind: str = "checkpoint", lazy: bool = False) -> Any:
    r"""Returns the tensors and plain values of a file of torch, on the CPU, and runs nothing.

    Whatever the version of torch, the file is read with `weights_only`, and only after a look at
    whether it is as large as it claims to be.

    Arguments:
        path: The file.
        kind: What it should be, for the error.
        lazy: Whether tensors are left on the disk until they are looked at.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is elsewhere, cut short, of another kind, or holds more than tensors and
            plain values.
    """
    # Opened here, so that an OSError of torch.load can only come of what is in the file.
    with open(local_path(path), "rb") as file:
        try:
            _check_sizes(file)
            source = str(path) if lazy else file
            return torch.load(source, map_location="cpu", weights_only=True, mmap=lazy)
        # Whatever a file of unknown origin brings about, it is the file that is wrong.
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"{path} cannot be read as a {kind}; it may be cut short or of another kind "
                f"({reason})"
            ) from error


def class_of(path: str, kind: type, what: str) -> Any:
    r"""Returns the class of a path, which is looked at before anybody calls it.

    Arguments:
        path: The path, such as "qahm_torch.SimulatedAnnealer". Its module is imported.
        kind: The class that it must be derived from.
        what: What it is for, for the error.

    Raises:
        ValueError: If it is no class, or no subclass.

    Example:
        >>> class_of("torch.nn.ReLU", torch.nn.Module, "layer").__name__
        'ReLU'
        >>> class_of("subprocess.Popen", torch.nn.Module, "layer")
        Traceback (most recent call last):
        ...
        ValueError: class_path is 'subprocess.Popen', but a layer is a subclass of Module
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(f"class_path is {path!r}, but that is no class") from None
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"class_path is {path!r}, but a {what} is a subclass of {kind.__name__}")
    return found


def _check_sizes(file: BinaryIO) -> None:
    r"""Raises ValueError if an archive unpacks to more than it is, as those of torch never do."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        claimed = sum(max(member.file_size, 0) for member in archive.infolist())
    if claimed > size:
        raise ValueError(f"it claims {claimed} bytes, but has {size}")
    file.seek(0)
