r"""What only the first of several processes does, and all of them get."""

from __future__ import annotations

__all__ = ["from_first_process", "is_first_process", "refuse_second_bill"]

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from qahm_torch.samplers import Sampler

T = TypeVar("T")


def is_first_process() -> bool:
    r"""Whether this process is the first of its group, or the only one."""
    return not _is_distributed() or dist.get_rank() == 0


def from_first_process(function: Callable[[], T]) -> T:
    r"""Returns what a function returns in the first process, to all of them.

    It is called there only. If it raises an exception, that is raised in all processes, which
    would otherwise wait for ever. All of them have to call this together.

    Arguments:
        function: What is called, such as `lambda: layer.sample(100)` of a layer with a sampler
            that bills.

    Example:
        >>> from_first_process(lambda: "samples")
        'samples'
    """
    if not _is_distributed():
        return function()
    outcome: list[T | Exception | None] = [None]
    if dist.get_rank() == 0:
        try:
            outcome = [function()]
        except Exception as error:
            outcome = [error]
    dist.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]  # type: ignore[return-value]


def refuse_second_bill(sampler: Sampler) -> None:
    r"""Raises RuntimeError if a sampler bills and this is not the first of several processes."""
    if sampler.is_billed and not is_first_process():
        raise RuntimeError(
            f"process {dist.get_rank()} of {dist.get_world_size()} asks {type(sampler).__name__}, "
            "which bills, and so would each of them: let only process 0 ask, or all have its "
            "samples by `from_first_process(lambda: layer.sample(n))` or by `draw`"
        )


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
