r"""Which values units take, for data to be checked once before they count."""

from __future__ import annotations

__all__ = [
    "COUNTS",
    "INTERVAL",
    "ONE_HOT",
    "REAL",
    "SPIN",
    "Support",
    "check_values",
    "grid",
    "missing_or",
]

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Of values that were rounded on the way, such as those of half precision on a grid.
_TOLERANCE = 1e-3


class Support(NamedTuple):
    r"""The values that units take.

    Arguments:
        told: What they are, for an error.
        holds: Which values (*, num_units) are among them, as booleans of the same shape.
    """

    told: str
    holds: Callable[[Tensor], Tensor]


def _is_spin(values: Tensor) -> Tensor:
    return values.abs() == 1


def _is_within(values: Tensor) -> Tensor:
    return values.abs() <= 1 + _TOLERANCE


def _is_count(values: Tensor) -> Tensor:
    return values.isfinite() & (values >= 0) & (values == values.round())


def _is_class(values: Tensor) -> Tensor:
    r"""One +1 and -1 else, or nothing known."""
    one = (values == 1).sum(-1, keepdim=True) == 1
    unknown = values.isnan().all(-1, keepdim=True)
    return (_is_spin(values) & one) | unknown


REAL = Support("finite numbers", torch.isfinite)
SPIN = Support("-1 and +1", _is_spin)
INTERVAL = Support("numbers from -1 to +1", _is_within)
COUNTS = Support("counts 0, 1, 2, ...", _is_count)
ONE_HOT = Support(
    "+1 at one class and -1 at the others, or NaN where no class is known", _is_class
)


def grid(num_levels: int) -> Support:
    r"""Returns the support of units with levels.

    Example:
        >>> grid(3).holds(torch.tensor([-1.0, 0.0, 0.25]))
        tensor([ True,  True, False])
    """
    top = num_levels - 1

    def is_level(values: Tensor) -> Tensor:
        level = (values + 1) * (top / 2)
        return _is_within(values) & ((level - level.round()).abs() <= max(_TOLERANCE, 1e-5 * top))

    return Support(f"the {num_levels} levels 2 l / {top} - 1 from -1 to +1", is_level)


def missing_or(support: Support) -> Support:
    r"""Returns a support to which NaN belongs, which says that a value is missing."""
    return Support(
        f"{support.told}, or NaN where one is missing",
        lambda values: support.holds(values) | values.isnan().all(-1, keepdim=True),
    )


def check_values(
    name: str,
    values: Tensor,
    supports: Sequence[tuple[int, Support]],
    counts: Tensor | None = None,
) -> None:
    r"""Raises ValueError if values are not those that units take.

    Arguments:
        name: What the values are, for the error, such as "the training data".
        values: The values, of shape (*, N).
        supports: The number of units of each kind, N in all, and the values that they take.
        counts: Where values matter, broadcastable to them; None for everywhere.

    Example:
        >>> check_values("the training data", torch.tensor([[1.0, -1.0], [1.0, 0.0]]), [(2, SPIN)])
        Traceback (most recent call last):
        ...
        ValueError: the training data has 1 value of 4 that its units do not take, such as 0 in row 1, column 1: columns 0 to 1 take -1 and +1
    """  # noqa: E501
    rows = values.detach().reshape(-1, values.shape[-1])
    sizes = [size for size, _ in supports]
    pairs = zip(rows.split(sizes, -1), supports, strict=True)
    wrong = torch.cat([~support.holds(part) for part, (_, support) in pairs], -1)
    if counts is not None:
        wrong &= counts.expand(values.shape).reshape(rows.shape) != 0
    if not wrong.any():
        return
    row, column = wrong.nonzero()[0].tolist()
    number = int(wrong.sum())
    first, (size, support) = _piece(column, supports)
    columns = f"columns {first} to {first + size - 1}" if size > 1 else f"column {first}"
    raise ValueError(
        f"{name} has {number} {'value' if number == 1 else 'values'} of {wrong.numel()} that its "
        f"units do not take, such as {rows[row, column].item():g} in row {row}, column {column}: "
        f"{columns} take {support.told}{_advice(rows[:, first : first + size], support)}"
    )


def _piece(
    column: int, supports: Sequence[tuple[int, Support]]
) -> tuple[int, tuple[int, Support]]:
    first = 0
    for piece in supports:
        if column < first + piece[0]:
            return first, piece
        first += piece[0]
    raise IndexError(f"column is {column}, but there are {first}")


def _advice(values: Tensor, support: Support) -> str:
    r"""Returns how values become those that are taken, where that can be seen of them."""
    if not values.isfinite().all():
        return ""
    is_class = support.told == ONE_HOT.told
    if ((values == 0) | (values == 1)).all() and (values == 0).any():
        return "; these look like bits, of which 2 * x - 1 makes spins"
    top = float(values.max())
    if support.told != SPIN.told and not is_class and values.min() >= 0 and top > 1:
        return f"; these look like numbers from 0 on, of which 2 * x / {top:g} - 1 makes such ones"
    return ""
