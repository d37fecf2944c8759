r"""Whether the processor calculates in the precision that a training asks for."""

from __future__ import annotations

__all__ = ["precision_here"]

from collections.abc import Mapping
from typing import Any

import torch

from qahm_torch.cli.processes_asked import is_on_processors


def precision_here(trainer: Mapping[str, Any]) -> Any:
    r"""Returns the precision of a trainer, or single precision where bfloat16 is slower.

    A processor without vectors of 512 bits, as that of many notebooks, imitates bfloat16: a
    product of matrices takes some 25 times as long as in single precision, instead of less.

    Arguments:
        trainer: Settings of a trainer: its precision and its accelerator.

    Example:
        >>> precision_here({"precision": "16-mixed", "accelerator": "cpu"})
        '16-mixed'
    """
    precision = trainer.get("precision")
    if not str(precision).startswith("bf16") or has_bfloat16():
        return precision
    return "32-true" if is_on_processors(trainer.get("accelerator", "auto")) else precision


def has_bfloat16() -> bool:
    r"""Returns whether torch's library for this processor calculates in bfloat16."""
    try:
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except AttributeError:  # a torch that does not say
        return True
    return bool(supported)
