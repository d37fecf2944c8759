r"""How kernels for the processor are compiled, and run by several threads."""

from __future__ import annotations

__all__ = ["compiled", "in_threads", "inlined", "worthwhile_threads"]

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import torch
from numba import njit

Block = TypeVar("Block")
Answer = TypeVar("Answer")
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, fastmath: Collection[str] = ()) -> Function:
    r"""Returns the function compiled by numba, without the interpreter's lock, and cached on disk.

    Arguments:
        function: The function.
        fastmath: Which liberties the compiler may take with floats (see `numba.njit`).
    """
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    try:
        kernel = njit(cache=True, **settings)(function)
    except RuntimeError:  # no folder for the cache can be written to
        kernel = njit(**settings)(function)
    return cast(Function, kernel)


def inlined(function: Function) -> Function:
    r"""Returns the function as one that is written out wherever a compiled one calls it."""
    return cast(Function, njit(inline="always")(function))


def worthwhile_threads(work: int, work_of_thread: int, num_blocks: int) -> int:
    r"""Returns the number of threads to use, at most as many as torch does.

    Arguments:
        work: The work to do, in any unit.
        work_of_thread: The work below which a second thread costs more than it gains.
        num_blocks: The number of parts that the work can be divided into.
    """
    return min(torch.get_num_threads(), num_blocks, 1 + work // work_of_thread)


def in_threads(
    run: Callable[[Block], Answer], blocks: Iterable[Block], num_threads: int
) -> list[Answer]:
    r"""Returns what `run` makes of each block, in their order, by some threads at once."""
    if num_threads == 1:
        return [run(block) for block in blocks]
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(run, blocks))
