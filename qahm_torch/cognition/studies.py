r"""Counts of human judgments that break the law of total probability, or depend on order."""

from __future__ import annotations

__all__ = ["GAMBLES", "QUESTION_ORDERS", "Gamble", "QuestionOrder"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# The answers (A, B), in the order of the columns of counts: each order of asking has the same.
ANSWERS = ("yy", "yn", "ny", "nn")
A_FIRST = ("AyBy", "AyBn", "AnBy", "AnBn")
B_FIRST = ("ByAy", "BnAy", "ByAn", "BnAn")  # beside A_FIRST: its second is the third as asked


@dataclass(frozen=True)
class Gamble:
    r"""How many play a gamble again, told that they won, that they lost, or nothing.

    By the law of total probability, those who are told nothing play again with a probability
    between the two others.

    Arguments:
        won, lost, unknown: The numbers of those who play again.
        num_asked: The number of those who were asked each of the three.

    Raises:
        ValueError: If more play again than were asked.

    References:
        | The disjunction effect in choice under uncertainty (Tversky & Shafir, 1992)
        | https://doi.org/10.1111/j.1467-9280.1992.tb00678.x

    Example:
        >>> Gamble(won=68, lost=58, unknown=35, num_asked=98).counts[2]
        tensor([35., 63.], dtype=torch.float64)
    """

    won: int
    lost: int
    unknown: int
    num_asked: int

    def __post_init__(self) -> None:
        for name in ("won", "lost", "unknown"):
            value = getattr(self, name)
            if not 0 <= value <= self.num_asked:
                raise ValueError(f"{name} is {value}, but {self.num_asked} were asked")

    @property
    def counts(self) -> Tensor:
        r"""The counts, of shape (3, 2): won, lost and unknown by playing again and not."""
        accepted = torch.tensor([self.won, self.lost, self.unknown], dtype=torch.float64)
        return torch.stack([accepted, self.num_asked - accepted], -1)


@dataclass(frozen=True)
class QuestionOrder:
    r"""Answers to two questions, A before B by some people and B before A by others.

    Cells go by their names as asked, so that none is taken for another one: `AyBn` is yes to A and
    then no to B, `BnAy` is no to B and then yes to A.

    Arguments:
        a_first: The numbers of people by `AyBy`, `AyBn`, `AnBy` and `AnBn`.
        b_first: The numbers of people by `ByAy`, `ByAn`, `BnAy` and `BnAn`.

    Raises:
        ValueError: If a cell has another name, or is missing, or counts less than nobody.

    References:
        | Measuring new types of question-order effects: additive and subtractive (Moore, 2002)
        | https://doi.org/10.1086/338631
        | A quantum question order model supported by empirical tests of an a priori and precise
          prediction (Wang & Busemeyer, 2013)
        | https://doi.org/10.1111/tops.12040

    Example:
        >>> study = QUESTION_ORDERS["Clinton-Gore"]
        >>> study.counts[:, 1], study.b_first["BnAy"]  # yes to A and no to B
        (tensor([20., 11.], dtype=torch.float64), 11)
    """

    a_first: Mapping[str, int]
    b_first: Mapping[str, int]

    def __post_init__(self) -> None:
        for name, cells in (("a_first", A_FIRST), ("b_first", B_FIRST)):
            found = getattr(self, name)
            if set(found) != set(cells):
                raise ValueError(f"{name} has the cells {sorted(found)}, but they are {cells}")
            if min(found.values()) < 0:
                raise ValueError(f"{name} is {dict(found)}, but no count is below 0")

    @property
    def counts(self) -> Tensor:
        r"""The counts, of shape (2, 4): A first and B first by the answers to A and B.

        The columns are `ANSWERS` in both rows, so that rows may be added.
        """
        rows = [[self.a_first[c] for c in A_FIRST], [self.b_first[c] for c in B_FIRST]]
        return torch.tensor(rows, dtype=torch.float64)


# The source has .39 of those who are told nothing play again, which agrees with no other report;
# Tversky and Shafir have .36. Both are of .69 and .59 of those who are told.
GAMBLES = {
    "gamble, .36": Gamble(won=68, lost=58, unknown=35, num_asked=98),
    "gamble, .39": Gamble(won=68, lost=58, unknown=38, num_asked=98),
}


def _study(a_first: tuple[int, ...], as_asked: tuple[int, ...]) -> QuestionOrder:
    r"""Returns a study of the counts in the order in which they are printed, and were asked."""
    names = ("ByAy", "ByAn", "BnAy", "BnAn")
    return QuestionOrder(
        dict(zip(A_FIRST, a_first, strict=True)), dict(zip(names, as_asked, strict=True))
    )


QUESTION_ORDERS = {
    "Clinton-Gore": _study((219, 20, 79, 129), (243, 86, 11, 92)),
    "Gingrich-Dole": _study((172, 36, 140, 89), (130, 129, 24, 94)),
    "White-Black": _study((183, 8, 74, 194), (195, 29, 67, 195)),
    "Rose-Jackson": _study((171, 164, 9, 162), (192, 31, 57, 182)),
    "lab, race": _study((29, 7, 34, 46), (35, 7, 23, 43)),
    "lab, affirmative action": _study((57, 5, 19, 37), (60, 14, 3, 29)),
}
