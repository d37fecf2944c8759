r"""State dicts with fewer bits per weight."""

from __future__ import annotations

__all__ = ["BITS", "check_bits", "packed", "unpacked"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

BITS = (6, 8, 16, 32)
# What a rounded matrix is stored as, by 8 bits and by 6.
_ROUNDED = ({"rounded", "scale"}, {"shape", "bytes", "scale"})


def packed(state: Mapping[str, Any], bits: int, kept: tuple[str, ...] = ()) -> dict[str, Any]:
    r"""Returns a state whose matrices are rounded.

    With 16 bits a weight is a half-precision number; with 8 or 6, n, it is a whole number q of a
    row with a scale of its own,

    .. math::
        w_{ij} \approx s_i \, q_{ij}, \qquad s_i = \max_j |w_{ij}| / m, \quad |q_{ij}| \le m
        = 2^{n - 1} - 1.

    Four numbers of 6 bits are stored in three bytes.

    Vectors and single numbers stay as they are: biases, batch statistics, log Z.

    Arguments:
        state: The state dict.
        bits: 6, 8, 16 or 32, which leaves all as it is.
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
        raise ValueError(f"bits is {bits}, but a weight has 6, 8, 16 or 32")


def _is_matrix(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2


def _rounded(matrix: Tensor, bits: int) -> Any:
    if bits == 16:
        half = matrix.half()
        # Beyond 65504 there are no half-precision numbers.
        return half if bool(half.isfinite().all()) else matrix
    if bits == 32:
        return matrix
    rows, most = matrix.flatten(1), 2 ** (bits - 1) - 1
    scale = rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny) / most
    whole = (rows / scale).round().to(torch.int8).view(matrix.shape)
    if bits == 8:
        return {"rounded": whole, "scale": scale.squeeze(1)}
    return {"shape": list(whole.shape), "bytes": _in_bytes(whole), "scale": scale.squeeze(1)}


def _in_bytes(whole: Tensor) -> Tensor:
    r"""Returns whole numbers from -32 to 31 as bytes, three for each four of them."""
    codes = (whole.flatten() + 32).to(torch.uint8)
    padded = torch.nn.functional.pad(codes, (0, -len(codes) % 4))
    a, b, c, d = padded.view(-1, 4).unbind(1)
    return torch.stack([a << 2 | b >> 4, (b & 15) << 4 | c >> 2, (c & 3) << 6 | d], 1).flatten()


def _of_bytes(packed: Tensor, shape: Sequence[int]) -> Tensor:
    r"""Returns the whole numbers of `_in_bytes` in a shape."""
    x, y, z = packed.view(-1, 3).unbind(1)
    codes = torch.stack([x >> 2, (x & 3) << 4 | y >> 4, (y & 15) << 2 | z >> 6, z & 63], 1)
    return (codes.flatten()[: math.prod(shape)].to(torch.int8) - 32).view(list(shape))


def _restored(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Mapping) and value.keys() in _ROUNDED:
        few = "bytes" in value
        whole = _of_bytes(value["bytes"], value["shape"]) if few else value["rounded"]
        scale = value["scale"]
        return (whole.flatten(1) * scale.unsqueeze(1)).to(dtype).view(whole.shape)
    if isinstance(value, Tensor) and value.dtype == torch.float16:
        return value.to(dtype)
    return value
