r"""What was typed wrong, in a sentence: which value, what would be right, what may be meant."""

from __future__ import annotations

__all__ = ["UsageError", "closest", "hint", "options_of", "reading", "told"]

import difflib
import inspect
import itertools
import re
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeGuard

_NONE = "<class 'NoneType'>"
_PATH = "dot import path"
# What a value must be, by the name that the parser has for its type.
_WORDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "<class 'list'>": "a list, such as [16, 60],",
    "<class 'tuple'>": "a list, such as [16, 60],",
    "<class 'collections.abc.Sequence'>": "a list, such as [16, 60],",
    "<class 'collections.abc.Mapping'>": "a mapping, such as {name: value},",
    "<class 'dict'>": "a mapping, such as {name: value},",
    _PATH: "the path of a class, module.Class,",
    _NONE: "null",
}
_KEY = re.compile(r'^\W*(?:Type .* callable class: )?Parser key "(.+)":')
_CLASS = re.compile(r"Problem with given class_path '(.+)'")
_UNKNOWN = re.compile(
    r"(?:Subcommand '.+' does not accept option '(.+)'|Option '(.+)' is not acc)"
)
_NO_NAME = re.compile(r"module '(.+)' has no attribute '(.+)'")
_NO_MODULE = re.compile(r"No module named '(.+)'")
_NO_SUBCLASS = re.compile(r"Import path does not correspond to a subclass of (\w+)")
_NO_PATH = re.compile(r"Expected (?:a )?dot import path string: (.+)")
_EXPECTED = re.compile(r"^\W*Expected (?:an? )?(<class '[\w.]+'>|dot import path)")
_VALUE = re.compile(r"(?:Given value: |\. Got value: )(.*?)(?:\. Got value: .*)?$")
_FLAG = re.compile(r"argument (?:-\w/)?(\S+): ignored explicit argument '(.*)'")
_ROOMS = ("qahm_torch.training", "qahm_torch.data", "qahm_torch")
_NOISE = ("Given value", "Expected a <class 'NoneType'>", "Does not val", "Subtypes", "Errors:")


class UsageError(ValueError):
    r"""The command line, or a configuration that it names, is not what a command takes."""


@contextmanager
def reading(parser: ArgumentParser) -> Iterator[None]:
    r"""Tells in a sentence what a parser does not take.

    Raises:
        UsageError: In place of the parser's own `ArgumentError`.
    """
    try:
        yield
    except ArgumentError as error:
        raise UsageError(told(str(error), options_of(parser))) from error


def closest(word: str, words: Iterable[str]) -> str | None:
    r"""Returns the word that may be meant; None if none is near.

    Example:
        >>> closest("evalute", ["evaluate", "generate"])
        'evaluate'
    """
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return found[0] if found else None


def hint(word: str, words: Iterable[str]) -> str:
    r"""Returns "; did you mean ...?", or nothing where no word is near.

    Example:
        >>> hint("--confg", ["--config", "--name"])
        '; did you mean --config?'
    """
    found = closest(word, words)
    return "" if found is None else f"; did you mean {found}?"


def options_of(parser: ArgumentParser) -> list[str]:
    r"""Returns the options of a parser, and those of its commands."""
    options: set[str] = set()
    for action in parser._actions:
        options.update(action.option_strings)
        choices = action.choices if isinstance(action.choices, dict) else {}
        for inner in filter(_is_parser, choices.values()):
            options.update(options_of(inner))
    return sorted(options)


def told(text: str, options: Iterable[str] = ()) -> str:
    r"""Returns an error of the parser as a sentence.

    The parser itself repeats the whole configuration, and each type that a value could have had.

    Arguments:
        text: What the parser says.
        options: The options that there are, for one that there is not.

    Example:
        >>> told("unrecognized arguments: --confg digits", ["--config"])
        'there is no option --confg; did you mean --config?'
    """
    flag = _FLAG.match(text)
    if flag:
        return f"{flag[1]} is {flag[2]}, but it is an option without a value"
    unknown = re.match(r"unrecognized arguments: (\S+)", text)
    if unknown:
        return _told_unknown(unknown[1], options)
    lines = [line for line in text.splitlines() if line.strip()]
    name = ".".join(found[1] for line in lines if (found := _KEY.match(line)))
    if f"--{name}" in options:
        name = f"--{name}"
    said = _told_option(text, options) or _told_class(name, text)
    return said or _told_value(name, lines) or _told_path(name, text) or _cleaned(lines)


def _told_unknown(word: str, options: Iterable[str]) -> str:
    option = word.partition("=")[0]
    if option.startswith("-"):
        return f"there is no option {option}{hint(option, options)}"
    return f"{word} is not the value of an option, and nothing else is taken here"


def _told_option(text: str, options: Iterable[str]) -> str | None:
    found = _UNKNOWN.search(text)
    if found is None:
        return None
    option, owners = found[1] or found[2], _CLASS.findall(text)
    if not owners:
        names = [name.lstrip("-") for name in options]
        return f"there is no option {option}{hint(option, names)}"
    return f"{owners[-1]} takes no {option}{hint(option, _arguments_of(owners[-1]))}"


def _told_class(name: str, text: str) -> str | None:
    r"""Returns what is wrong with the path of a class."""
    found = _NO_NAME.search(text)
    if found is not None:
        (path, missing), whole = found.groups(), (_CLASS.findall(text) or [found[2]])[-1]
        near = hint(f"{path}.{missing}", [f"{path}.{public}" for public in _names_in(path)])
        return f"{name} is {whole}, but there is no {missing} in {path}{near}"
    found = _NO_MODULE.search(text)
    if found is not None:
        whole = (_CLASS.findall(text) or [found[1]])[-1]
        return f"{name} is {whole}, but there is no module {found[1]}"
    found = _NO_SUBCLASS.search(text)
    if found is not None:
        values = [m[1] for line in text.splitlines() if (m := _VALUE.search(line))]
        whole = values[0] if values else "of another kind"
        return f"{name} is {whole}, but it takes a class of the kind {found[1]}"
    return None


def _told_value(name: str, lines: list[str]) -> str | None:
    r"""Returns which value is of the wrong type."""
    # Of the innermost value only: those around it hold it.
    at = max((n for n, line in enumerate(lines) if _KEY.match(line)), default=0)
    deeper = (line for line in lines[at + 1 :])
    inner = list(itertools.takewhile(lambda line: _indent(line) > _indent(lines[at]), deeper))
    kinds = [m[1] for line in inner if (m := _EXPECTED.match(line))]
    values = [m[1] for line in inner if (m := _VALUE.search(line))]
    if not {*kinds} - {_NONE, _PATH} or not values:
        return None
    kinds.sort(key=_NONE.__eq__)
    needed = " or ".join(dict.fromkeys(_WORDS.get(kind, kind) for kind in kinds))
    return f"{name} is {values[-1] or 'empty'}, but {needed} is needed"


def _told_path(name: str, text: str) -> str | None:
    r"""Returns that a value is no path of a class, where it can be nothing else."""
    found = _NO_PATH.search(text)
    if found is None:
        return None
    paths = {name: f"{room}.{name}" for room in _ROOMS for name in _names_in(room)}
    meant = closest(found[1], paths)
    near = "" if meant is None else f"; did you mean {paths[meant]}?"
    return f"{name} is {found[1]}, but it takes the path of a class, module.Class{near}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _cleaned(lines: list[str]) -> str:
    kept, is_noise = [], False
    for line in lines:
        # The parser's bullets, but no sign of a number.
        stripped = re.sub(r"^\s*(- )?", "", line)
        # A value that is repeated may be of many lines, up to the next bullet.
        is_noise = stripped.startswith(_NOISE) or (is_noise and not re.match(r"\s*- ", line))
        if stripped and not is_noise:
            kept.append(stripped)
    return "\n  ".join(kept)


def _is_parser(value: object) -> TypeGuard[ArgumentParser]:
    # Those of jsonargparse are of the same kind, whichever they are.
    return hasattr(value, "_actions")


def _names_in(path: str) -> list[str]:
    # Nothing is imported for a message: the parser has done so, or would not have.
    module = sys.modules.get(path)
    return [] if module is None else [name for name in dir(module) if not name.startswith("_")]


def _arguments_of(path: str) -> list[str]:
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return list(inspect.signature(found).parameters) if inspect.isclass(found) else []
