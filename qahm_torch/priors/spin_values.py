r"""Spins that are looked at, before anything is computed with them."""

from __future__ import annotations

__all__ = ["check_spins"]

import torch
from torch import Tensor

from qahm_torch.ising.transforms import is_transformed


def check_spins(spins: Tensor) -> None:
    r"""Raises ValueError if spins of any shape are bits, NaN or beyond +-1.

    Reading values stops a compiler and stalls a GPU; there nothing is looked at.
    """
    is_traced = torch.compiler.is_compiling() or is_transformed(spins)
    if is_traced or spins.device.type != "cpu" or spins.numel() == 0:
        return
    low, high = (float(x) for x in spins.detach().aminmax())
    if not (low >= -1 - 1e-6 and high <= 1 + 1e-6):
        value = low if not low >= -1 - 1e-6 else high
        raise ValueError(f"spins hold {value}, but spins are -1 or +1 (relaxed ones in between)")
    if low == 0 and bool(((spins == 0) | (spins == 1)).all()):
        raise ValueError("spins hold bits, 0 and 1, but spins are -1 and +1: use 2 * bits - 1")
