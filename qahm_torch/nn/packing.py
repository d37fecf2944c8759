r"""State dicts with fewer bits per weight."""

from __future__ import annotations

__all__ = ["BITS", "check_bits", "packed", "unpacked"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BITS = (8, 16, 32)


def packed(state: Mapping[str, Any], bits: int, kept: tuple[str, ...] = ()) -> dict[str, Any]:
    r"""Returns a state whose matrices are rounded.

    With 16 bits a weight is a half-precision number; with 8 it is a whole number q of a row with a
    scale of its own,

    .. math::
        w_{ij} \approx s_i \, q_{ij}, \qquad s_i = \max_j |w_{ij}| / 127, \quad |q_{ij}| \le 127.

    Vectors and single numbers stay as they are: biases, batch statistics, log Z.

    Arguments:
        state: The state dict.
        bits: 8, 16 or 32, which leaves all as it is.
        kept: How the names of tensors begin that are not rounded.

    Raises:
        ValueError: If the number of bits is another one.

    Example:
        >>> packed({"w": torch.tensor([[1.0, -0.5]])}, 8)["w"]["rounded"]
        tensor([[127, -64]], dtype=torch.int8)
    """
    check_bits(bits)
    return {
        name: _rounded(value, bits) if _is_matrix(value) and not name.startswith(kept) else value
        for name, value in state.items()
    }


def unpacked(state: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    r"""Returns a state whose rounded matrices are of a floating dtype again.

    Example:
        >>> unpacked(packed({"w": torch.tensor([[1.0, -0.5]])}, 16), torch.float32)
        {'w': tensor([[ 1.0000, -0.5000]])}
    """
    return {name: _restored(value, dtype) for name, value in state.items()}


def check_bits(bits: int) -> None:
    r"""Raises ValueError if a number of bits is not one that weights are stored with."""
    if bits not in BITS:
        raise ValueError(f"bits is {bits}, but a weight has 8, 16 or 32")


def _is_matrix(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2


def _rounded(matrix: Tensor, bits: int) -> Any:
    if bits == 16:
        half = matrix.half()
        # Beyond 65504 there are no half-precision numbers.
        return half if bool(half.isfinite().all()) else matrix
    if bits == 8:
        rows = matrix.flatten(1)
        scale = rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny) / 127
        whole = (rows / scale).round().to(torch.int8).view(matrix.shape)
        return {"rounded": whole, "scale": scale.squeeze(1)}
    return matrix


def _restored(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"rounded", "scale"}:
        whole, scale = value["rounded"], value["scale"]
        return (whole.flatten(1) * scale.unsqueeze(1)).to(dtype).view(whole.shape)
    if isinstance(value, Tensor) and value.dtype == torch.float16:
        return value.to(dtype)
    return value
