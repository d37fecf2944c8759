r"""Where results go, looked at before anything is computed."""

from __future__ import annotations

__all__ = ["check_destination"]

import os
from pathlib import Path

from jsonargparse import ArgumentParser


def check_destination(parser: ArgumentParser, path: Path, suffix: str) -> None:
    r"""Ends the command with status 2 unless a file can be written.

    Arguments:
        parser: The parser of the command, which tells the error.
        path: The file, which may exist; its folder need not.
        suffix: What it ends in.
    """
    if path.suffix != suffix:
        parser.error(f"--output is {path}, but it ends in {suffix}")
    if path.is_dir():
        parser.error(f"--output is {path}, which is a folder")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        parser.error(f"--output is {path}, but nothing can be written in {folder}")
