r"""What may follow on a command line: commands, options, and the values that are known.

Nothing is asked of a parser but which options it has, so that the answer comes at once.
"""

from __future__ import annotations

__all__ = ["words"]

import importlib
import textwrap
from argparse import SUPPRESS
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qahm_torch.cli.commands import COMMANDS
from qahm_torch.cli.offers import Offer, Option, nothing

if TYPE_CHECKING:
    from qahm_torch.cli.arguments import Parser

_WIDTH = 60  # of what is told of a word


class _Taken(NamedTuple):
    r"""What a command takes: options by name, and the values of arguments without names."""

    options: dict[str, Option]
    places: list[Offer]


def words(typed: Sequence[str]) -> Iterator[tuple[str, str]]:
    r"""Yields what the last word may become, each with a few words about it.

    Arguments:
        typed: The words after `qahm`, the last of which has been begun and may be empty. A sign of
            equality may be a word of its own, as bash has it.

    Example:
        >>> [word for word, _ in words(["ev"])]
        ['evaluate']
        >>> [word for word, _ in words(["report", "runs/digits", "--format", "p"])]
        ['png', 'pdf']
    """
    *before, begun = [word for word in typed[:-1] if word != "="] + list(typed[-1:] or [""])
    begun = "" if begun == "=" else begun
    for word, about in _all_words(before, begun):
        if word.startswith(begun):
            short = textwrap.shorten(about.partition(". ")[0], _WIDTH, placeholder=" ...")
            yield word, short.rstrip(".")


def _all_words(before: Sequence[str], begun: str) -> Iterator[tuple[str, str]]:
    if not before:
        yield from ((name, command.about) for name, command in COMMANDS.items())
        if begun:
            yield from (("--help", "list the commands"), ("--version", "tell the version"))
        return
    command, *rest = before
    if command not in COMMANDS:
        return
    taken = _taken_by(command, rest)
    option, equals, value = begun.partition("=")
    if rest and (offer := _offer_after(rest[-1], taken)) is not None:
        yield from ((word, "") for word in offer(begun))
    elif equals and (offer := _offer_after(option, taken)) is not None:
        yield from ((f"{option}={word}", "") for word in offer(value))
    elif begun.startswith("-") or (place := _place(rest, taken)) is None:
        yield from ((name, told.about) for name, told in taken.options.items())
    else:
        yield from ((word, "") for word in place(begun))


def _offer_after(word: str, taken: _Taken) -> Offer | None:
    r"""Returns what is offered after a word that wants a value; None if it does not."""
    if not word.startswith("-") or "=" in word:
        return None
    # Of an option that is not known here most take a value.
    return taken.options[word].offer if word in taken.options else nothing


def _place(rest: Sequence[str], taken: _Taken) -> Offer | None:
    r"""Returns what is offered as the next argument without a name; None if there is no more."""
    number, is_value = 0, False
    for word in rest:
        number += not is_value and not word.startswith("-")
        is_value = not is_value and _offer_after(word, taken) is not None
    return taken.places[number] if number < len(taken.places) else None


def _taken_by(command: str, rest: Sequence[str]) -> _Taken:
    module = COMMANDS[command].module
    if module == "running":
        from qahm_torch.cli.settings_typed import options_of_training

        return _Taken(options_of_training(command, rest), [])
    return _of_parser(importlib.import_module(f"qahm_torch.cli.{module}").parser())


def _of_parser(parser: Parser) -> _Taken:
    taken = _Taken({}, [])
    for action in parser._actions:
        if action.help == SUPPRESS:
            continue
        offer = parser.offers.get(action.dest, nothing)
        # A name with a plus is for more of a list.
        for name in (name for name in action.option_strings if not name.endswith("+")):
            # What takes a value or none is not waited for.
            is_alone = action.nargs in (0, "?")
            taken.options[name] = Option(str(action.help or ""), None if is_alone else offer)
        if not action.option_strings:
            taken.places.append(offer)
    return taken
