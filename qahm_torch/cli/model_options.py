r"""Help for the options of the classes that a configuration names."""

from __future__ import annotations

__all__ = ["options_help", "print_help"]

import importlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from qahm_torch.cli import fit
from qahm_torch.cli.configs import read_config
from qahm_torch.cli.mistakes import UsageError, hint

_PARTS = ("model", "data")


def print_help(command: str, paths: Sequence[str]) -> None:
    r"""Prints the options of a command, and last those of the model and the data.

    Arguments:
        command: One of fit, validate and test.
        paths: The configurations, of which each changes what those before it have said.
    """
    try:
        fit.run([command, "--help"])
    except SystemExit as done:
        if done.code:
            raise
    print(options_help(paths))


def options_help(paths: Sequence[str]) -> str:
    r"""Returns the help of all classes within the model and the data of configurations."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged = _merged(merged, read_config(path))
    parts = {name: merged[name] for name in _PARTS if name in merged}
    return "\n".join(
        _help_of(name, spec) for part in parts.items() for name, spec in _specs(*part)
    )


def _merged(before: Any, after: Any) -> Any:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    return {**before, **{key: _merged(before.get(key), value) for key, value in after.items()}}


def _specs(name: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    r"""Yields the classes of a part by the names of their options, outer ones first."""
    if not isinstance(value, dict):
        return
    if "class_path" in value:
        yield name, value
        value = value.get("init_args") or {}
    for key, inner in value.items():
        yield from _specs(f"{name}.{key}", inner)


def _help_of(name: str, spec: dict[str, Any]) -> str:
    r"""Returns the help of one class, with the values of the configuration as defaults."""
    path = spec["class_path"]
    parser = ArgumentParser(prog=name, add_help=False)
    found = _found(name, path)
    if inspect.isclass(found):
        parser.add_class_arguments(found, name, fail_untyped=False)
    else:
        parser.add_function_arguments(found, name, fail_untyped=False)
    given = spec.get("init_args") or {}
    known = {a.dest for a in parser._actions}
    plain = {f"{name}.{k}": v for k, v in given.items() if not isinstance(v, (dict, list))}
    parser.set_defaults({k: v for k, v in plain.items() if k in known})
    lines = parser.format_help().splitlines()
    # The usage repeats the options.
    start = next((n for n, line in enumerate(lines) if line.startswith("  --")), len(lines))
    return "\n".join([f"{name}: {path}", *lines[start:], ""])


def _found(name: str, path: str) -> Any:
    r"""Returns a class, or a method that makes one."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                near = hint(part, dir(found))
                raise UsageError(f"{name} is {path}, but there is no {part}{near}")
            found = getattr(found, part)
        return found
    raise UsageError(f"{name} is {path}, but there is no module {parts[0]}")
