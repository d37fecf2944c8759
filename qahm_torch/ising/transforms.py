r"""Whether a transform of torch.func is at work, under which no sampler can be called."""

from __future__ import annotations

__all__ = ["is_transformed", "refuse_transforms"]

import torch
from torch import Tensor


def is_transformed(*tensors: Tensor) -> bool:
    r"""Whether a transform such as `torch.func.grad` or `vmap` is at work.

    Torch has a function of its own that tells, which is not public: without it, what tells is
    whether one of the tensors is wrapped by a transform.

    Arguments:
        tensors: Those that are computed with, of any shape.
    """
    known = getattr(torch._C, "_are_functorch_transforms_active", None)
    if known is not None:
        return bool(known())
    return any(torch.func.debug_unwrap(x) is not x for x in tensors)


def refuse_transforms(what: str, *tensors: Tensor) -> None:
    r"""Raises RuntimeError under a transform of torch.func, through which no values can be read.

    Arguments:
        what: What it must not do, and what would be right.
        tensors: Those that are computed with, of any shape.
    """
    if is_transformed(*tensors):
        raise RuntimeError(f"a transform of torch.func must not {what}")
