r"""What a shell is offered of an option: what it is for, and which values it may take."""

from __future__ import annotations

__all__ = ["Offer", "Option", "nothing"]

from collections.abc import Callable, Iterable
from typing import NamedTuple

# For a word that has been begun, words that it may become; others among them do no harm.
Offer = Callable[[str], Iterable[str]]


class Option(NamedTuple):
    r"""An option, and the values that it may take; None where it takes none."""

    about: str
    offer: Offer | None


def nothing(begun: str) -> tuple[str, ...]:
    r"""Returns nothing, which is known of numbers, names and files."""
    return ()
