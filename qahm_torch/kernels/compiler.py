r"""How kernels for the processor are compiled, and run by several threads."""

from __future__ import annotations

__all__ = ["compiled", "in_threads"]

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from numba import njit

Block = TypeVar("Block")
Answer = TypeVar("Answer")


def compiled(function: Any, fastmath: Any = False) -> Any:
    r"""Returns the function compiled by numba, without the interpreter's lock, and cached on disk.

    Arguments:
        function: The function.
        fastmath: Which liberties the compiler may take with floats (see `numba.njit`).
    """
    settings = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **settings)(function)
    except RuntimeError:  # no folder for the cache can be written to
        return njit(**settings)(function)


def in_threads(
    run: Callable[[Block], Answer], blocks: Iterable[Block], num_threads: int
) -> list[Answer]:
    r"""Returns what `run` makes of each block, in their order, by some threads at once."""
    if num_threads == 1:
        return [run(block) for block in blocks]
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(run, blocks))
