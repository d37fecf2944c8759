r"""The configurations that come with the package, by their names."""

from __future__ import annotations

__all__ = [
    "asks_help",
    "configs_of",
    "find_config",
    "models_like",
    "read_config",
    "systems_like",
    "with_paths",
]

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from qahm_torch.cli.mistakes import UsageError, hint

OPTIONS = ("--config", "-c")


def find_config(name: str) -> Path:
    r"""Returns the path of a configuration.

    Arguments:
        name: The path of a file, or the name of a configuration of the package, such as "digits".
            A file of that name comes first.

    Raises:
        FileNotFoundError: If it is neither.

    Example:
        >>> find_config("digits").name
        'digits.yaml'
    """
    path, folder = Path(name), _folder()
    shipped = folder / f"{name.removesuffix('.yaml')}.yaml"
    if path.is_file():
        return path
    if path.name == name and shipped.is_file():
        return shipped
    names = _names()
    meant = hint(name, names)
    raise FileNotFoundError(
        f"config is {name}, but there is no such file{meant or ';'} the package has "
        f"{', '.join(names)}"
    )


def models_like(begun: str) -> Iterator[str]:
    r"""Yields the configurations that train a model, of the package by name and of files here.

    Example:
        >>> "digits" in models_like("di"), "seeds" in models_like("se")
        (True, False)
    """
    yield from _configs_with("model")


def systems_like(begun: str) -> Iterator[str]:
    r"""Yields the configurations of a system, of the package by name and of files here.

    Example:
        >>> "digits" in systems_like("di"), "seeds" in systems_like("se")
        (False, True)
    """
    yield from _configs_with("system")


def read_config(path: str | Path) -> dict[str, Any]:
    r"""Returns the content of a configuration.

    Raises:
        UsageError: If it is no YAML, with the line, or no mapping.
    """
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a configuration: it is no text ({error})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not a configuration: {_told(error)}") from error
    if not isinstance(config, dict):
        raise UsageError(
            f"{path} is not a configuration: it holds {config!r:.40}, but a mapping is needed, "
            "such as 'model: ...'"
        )
    return config


def with_paths(arguments: Sequence[str]) -> list[str]:
    r"""Returns a command line in which each configuration is named by its path.

    Raises:
        UsageError: If there is no such configuration, or it cannot be read.

    Example:
        >>> [argument.split("/")[-1] for argument in with_paths(["fit", "--config", "digits"])]
        ['fit', '--config', 'digits.yaml']
    """
    return list(_with_paths(arguments))


def configs_of(arguments: Sequence[str]) -> list[str]:
    r"""Returns the configurations that a command line names, in their order.

    Example:
        >>> configs_of(["--config", "a.yaml", "--name", "b", "-c=c.yaml"])
        ['a.yaml', 'c.yaml']
    """
    found, before = [], ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if before in OPTIONS:
            found.append(argument)
        elif option in OPTIONS and equals:
            found.append(value)
        before = argument
    return found


def asks_help(arguments: Sequence[str]) -> bool:
    r"""Returns whether a command line asks for help."""
    return any(word in ("-h", "--help") for word in arguments)


def _with_paths(arguments: Sequence[str]) -> Iterator[str]:
    before = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if before in OPTIONS:
            yield str(_readable(argument))
        elif option in OPTIONS and equals:
            yield f"{option}={_readable(value)}"
        else:
            yield argument
        before = argument


def _readable(name: str) -> Path:
    try:
        path = find_config(name)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    # The parser would not say of which file it speaks.
    read_config(path)
    return path


def _told(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _configs_with(part: str) -> Iterator[str]:
    # Parsed they would take a second.
    begins = re.compile(rf"^{part}\s*:", re.MULTILINE)
    for file in sorted(_folder().glob("*.yaml")):
        if begins.search(_text(file)):
            yield file.stem
    for file in sorted(Path().glob("*.yaml")):
        if begins.search(_text(file)):
            yield file.name


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _names() -> list[str]:
    return sorted(file.stem for file in _folder().glob("*.yaml"))


def _folder() -> Path:
    # In a wheel they are in the package; in the source tree, beside it.
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"
