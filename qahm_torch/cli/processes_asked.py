r"""Whether this machine has the processors that a training asks for."""

from __future__ import annotations

__all__ = ["check_processes", "is_on_processors"]

import os
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.accelerators import AcceleratorRegistry

from qahm_torch.cli.mistakes import UsageError


def check_processes(trainer: Mapping[str, Any]) -> None:
    r"""Refuses more processes than there are processors, which Lightning would start.

    Of other accelerators Lightning itself finds that there are fewer.

    Arguments:
        trainer: Settings of a trainer: its devices and its accelerator.

    Raises:
        UsageError: If there are more, or it is no number, on the processors of this machine.

    Example:
        >>> check_processes({"devices": 10**6, "accelerator": "cpu"})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        qahm_torch.cli.mistakes.UsageError: trainer.devices is 1000000, a process each, but ...
    """
    devices = str(trainer.get("devices", "auto"))
    if devices == "auto" or not is_on_processors(trainer.get("accelerator", "auto")):
        return
    if not devices.isdecimal() or int(devices) < 1:
        raise UsageError(
            f"trainer.devices is {devices}, but on the processor it is a whole number of at least "
            "1, or auto"
        )
    processors = os.cpu_count()
    if processors is not None and int(devices) > processors:
        raise UsageError(
            f"trainer.devices is {devices}, a process each, but the processors of this machine "
            f"are {processors}: take no more"
        )


def is_on_processors(accelerator: Any) -> bool:
    r"""Returns whether a trainer's accelerator is, or as auto becomes, the processor."""
    if accelerator == "auto":
        # As Lightning chooses.
        others = [name for name in AcceleratorRegistry if name != "cpu"]
        return not any(AcceleratorRegistry[name]["accelerator"].is_available() for name in others)
    return bool(accelerator == "cpu")
