r"""Class paths of configurations: which are imported, and which are never built."""

from __future__ import annotations

__all__ = [
    "ALLOWED",
    "Trust",
    "check_names",
    "imported",
    "known_names",
    "needs_trust",
    "parsing",
]

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jsonargparse import Namespace, _common, set_parsing_settings

Trust = bool | Sequence[str]

# What a checkpoint may name without being trusted: what the package itself is trained with.
ALLOWED = (
    "qahm_torch",
    "torch.nn",
    "torch.optim",
    "torchvision.ops",
    "pytorch_lightning.callbacks",
    "pytorch_lightning.cli.ReduceLROnPlateau",
    "pytorch_lightning.loggers",
    "dimod",
    "dwave.samplers",
    "dwave.system",
)

# Settings of a device by which a file could send the user's own credentials somewhere else.
ELSEWHERE = ("config_file", "endpoint", "proxy", "leap_api_endpoint", "metadata_api_endpoint")


@contextmanager
def parsing(allowed: Sequence[str] | None = None) -> Iterator[None]:
    r"""Lets configurations be parsed with care, and then as before.

    A class is built only where its type is known, no configuration is read from elsewhere, and
    what the parser holds to be dangerous (`os`, `subprocess`, ...) is not imported.

    Arguments:
        allowed: The modules and classes that may be imported; None for all others too.
    """
    before = dict(_common.parsing_settings)
    set_parsing_settings(
        instantiate_subclass_spec_in_any=False,
        config_read_mode_urls_enabled=False,
        config_read_mode_fsspec_enabled=False,
        import_path_denylist=[] if allowed is None else ["*"],
        import_path_allowlist=list(allowed or ()),
    )
    try:
        yield
    finally:
        _common.parsing_settings.clear()
        _common.parsing_settings.update(before)


def check_names(value: Any, name: Any, trust: Trust) -> None:
    r"""Checks that a configuration from a checkpoint names nothing that would have to be trusted.

    Classes of this package and of `ALLOWED` may be named, and those of packages that the user has
    imported. What type a class must have is checked where it is built. No device may have an
    endpoint of its own, to which credentials would go.

    Arguments:
        value: The configuration.
        name: The file that it is from, for the error.
        trust: True to trust all names, or the packages that are trusted.

    Raises:
        ValueError: If it names another class, or another place for the user's credentials.
    """
    allowed = known_names(trust)
    if allowed is None:
        return
    for place in _places(value):
        raise ValueError(
            f"{name} has {place!r} in the settings of a device, where your credentials would go: "
            "if you know where the file is from, give --trust, or trust=True in Python"
        )
    for path in _paths(value):
        if not _is_known(path, allowed):
            raise ValueError(
                f"{name} names {path}, which would be imported and is not of this package: if you "
                f"know where the file is from, give --trust, or trust=[{path.split('.')[0]!r}] in "
                "Python"
            )


def known_names(trust: Trust) -> list[str] | None:
    r"""Returns what may be imported; None for all."""
    if isinstance(trust, bool):
        return None if trust else list(ALLOWED)
    return [*ALLOWED, *trust]


def needs_trust(value: Any) -> bool:
    r"""Returns whether a configuration names a class that a file must be trusted for."""
    return not all(any(_is_in(path, prefix) for prefix in ALLOWED) for path in _paths(value))


def imported(value: Any) -> list[str]:
    r"""Returns the class paths of a configuration whose modules the user has imported."""
    return [path for path in _paths(value) if path.rpartition(".")[0] in sys.modules]


def _is_known(path: str, allowed: Sequence[str]) -> bool:
    return path.rpartition(".")[0] in sys.modules or any(_is_in(path, name) for name in allowed)


def _is_in(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}.")


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str) and "." in value["class_path"]:
            yield value["class_path"]
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _paths(inner)


def _places(value: Any) -> Iterator[str]:
    r"""Yields the names of settings by which a device is looked for elsewhere."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        yield from (k for k, inner in value.items() if k in ELSEWHERE and inner is not None)
        value = list(value.values())
    for inner in value if isinstance(value, (list, tuple)) else ():
        yield from _places(inner)
