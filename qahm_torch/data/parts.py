r"""Which rows of a table are for training, validation and test."""

from __future__ import annotations

__all__ = ["count_of", "random_parts", "told_parts"]

from collections.abc import Sequence

import torch

from qahm_torch.data.loader import check_count
from qahm_torch.data.tensor_module import Splits


def random_parts(num_rows: int, num_val: int, num_test: int, seed: int) -> Splits:
    r"""Returns the places of the rows of each part, drawn by a seed.

    Raises:
        ValueError: If a number is negative, or no row is left for training.
    """
    check_count("num_val", num_val, 0)
    check_count("num_test", num_test, 0)
    check_count("num_val + num_test", num_val + num_test, 0, num_rows - 1)
    order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))
    test, val, train = order.tensor_split((num_test, num_test + num_val))
    return Splits(train, val, test)


def told_parts(split: Sequence[object], num_rows: int, num_val: int, num_test: int) -> Splits:
    r"""Returns the places of the rows of each part, in their order, as their names say.

    Arguments:
        split: The name of the part of each row: "train", "val" or "test".
        num_rows: The number of rows.
        num_val: The number of rows for validation that is told besides, which is 0.
        num_test: That for the test, 0 as well.

    Raises:
        ValueError: If a name is another, there is not one for each row, no row is for training,
            or numbers are told besides.
    """
    if num_val or num_test:
        raise ValueError(
            f"num_val is {num_val} and num_test {num_test}, but the split says how many rows "
            "there are of each part: leave them out"
        )
    if len(split) != num_rows:
        raise ValueError(f"the split names {len(split)} parts, but there are {num_rows} rows")
    places: dict[str, list[int]] = {name: [] for name in Splits._fields}
    for place, name in enumerate(split):
        if not isinstance(name, str) or name not in places:
            told = "is empty" if name is None else f"holds {name!r}"
            raise ValueError(
                f"the split {told} in row {place + 1}, but a row is for train, val or test"
            )
        places[name].append(place)
    if not places["train"]:
        raise ValueError("the split has no row for train, but at least one is needed")
    return Splits(**{name: torch.tensor(k, dtype=torch.int64) for name, k in places.items()})


def count_of(name: str, number: float, num_rows: int) -> int:
    r"""Returns a number of rows: a whole number as it is, and a share of all of them.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> count_of("num_val", 20, 50), count_of("num_val", 0.2, 50)
        (20, 10)
    """
    if number == int(number):
        return int(number)
    if not 0 < number < 1:
        raise ValueError(
            f"{name} is {number}, but it is a whole number of rows, or a share of them between "
            "0 and 1"
        )
    return round(number * num_rows)
