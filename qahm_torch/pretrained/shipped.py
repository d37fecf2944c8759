r"""The files of trained machines, and the cards that say what they were trained on.

`HelmholtzMachine.load` builds a machine from its file, and `qahm export` writes both of them.
"""

from __future__ import annotations

__all__ = ["card", "names", "path_of", "sha256_of"]

import hashlib
import json
from pathlib import Path
from typing import Any, cast

FOLDER = Path(__file__).parent


def names() -> list[str]:
    r"""Returns the names of the trained machines that come with the package.

    Example:
        >>> "mnist16" in names()
        True
    """
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def card(name: str) -> dict[str, Any]:
    r"""Returns the card of a trained machine.

    It has the configuration of the training, with its seed and its data; the `report` of `qahm
    evaluate` on the test data, with the interval of the likelihood and its number of draws; what
    the `rounding` of the file costs; the date, the license and the `sha256` of the file.

    Arguments:
        name: One of `names()`.

    Raises:
        FileNotFoundError: If there is no machine of that name.

    Example:
        >>> card("mnist16")["report"]["num_test"]
        10000
    """
    file = FOLDER / f"{name}.json"
    if name not in names():
        known = ", ".join(names()) or "none"
        raise FileNotFoundError(f"name is {name!r}, but the machines that come along are {known}")
    return cast(dict[str, Any], json.loads(file.read_text(encoding="utf-8")))


def path_of(name: str) -> Path:
    r"""Returns the file of a trained machine, after a look at whether it is whole.

    Arguments:
        name: One of `names()`.

    Raises:
        FileNotFoundError: If there is no machine of that name.
        ValueError: If the file is not the one that its card was written for.
    """
    expected, file = card(name)["sha256"], FOLDER / f"{name}.pt"
    found = sha256_of(file)
    if found != expected:
        raise ValueError(
            f"{file} has the SHA-256 {found}, but its card says {expected}: install the package "
            "anew"
        )
    return file


def sha256_of(path: Path) -> str:
    r"""Returns the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
