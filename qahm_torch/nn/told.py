r"""What a state dict tells of a module besides its numbers, as a tensor among the others."""

from __future__ import annotations

__all__ = ["as_tensor", "told_by"]

import json
from typing import Any

import torch
from torch import Tensor


def as_tensor(told: Any) -> Tensor:
    r"""Returns plain values as the bytes of their JSON text, of shape (length,).

    So a state dict holds nothing but tensors, and can be a file of formats that take no other
    things, such as safetensors.

    Example:
        >>> told_by(as_tensor({"edges": torch.tensor([[0, 1]]), "labels": ("a", 7)}))
        {'edges': [[0, 1]], 'labels': ['a', 7]}
    """
    text = json.dumps(_plain(told), separators=(",", ":"))
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def told_by(state: Any) -> Any:
    r"""Returns the plain values that a state tells, in lists and dictionaries.

    A state of before, which told them as they are, is taken too; what is not JSON stays as it is.
    """
    if not (isinstance(state, Tensor) and state.dtype == torch.uint8 and state.ndim == 1):
        return _plain(state)
    try:
        return json.loads(bytes(state.cpu().tolist()))
    except ValueError:
        return state


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):  # of torch or numpy
        return value.tolist()
    return value if value is None or isinstance(value, (str, int, float)) else repr(value)
