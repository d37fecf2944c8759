r"""Memory that stays with the process, so that large tensors cost no new pages."""

from __future__ import annotations

__all__ = ["keep_memory"]

import ctypes

# What `mallopt` of the GNU C library calls its settings, and the largest sizes that it takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_BYTES, _MMAP_BYTES = 1 << 30, 1 << 25


def keep_memory() -> bool:
    r"""Lets the GNU C library keep the memory that tensors free; returns whether it does.

    By default each tensor of more than some megabytes is given back to the operating system, and
    the next one of its size is of new pages, which are zeroed one by one: up to a third of the
    time of a step with convolutions. Afterwards the process keeps up to 1 GiB that it no longer
    uses. Elsewhere than on Linux with the GNU C library, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    )
