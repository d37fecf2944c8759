r"""Which form of the kernels is taken: by what was asked for, where the model is, what works."""

from __future__ import annotations

__all__ = ["check_backend", "compiled_form"]

import functools
import importlib
import warnings
from types import ModuleType

import torch

BACKENDS = ("auto", "numba", "torch", "triton")


def check_backend(backend: str) -> None:
    r"""Raises ValueError if there is no such backend."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; it is one of {', '.join(map(repr, BACKENDS))}")


def compiled_form(name: str, device: torch.device, backend: str) -> ModuleType | None:
    r"""Returns the module of this folder with kernels for the CPU, or None where torch takes over.

    Arguments:
        name: The name of the module.
        device: Where the model is.
        backend: "numba" for the compiled form, "torch" for none, or "auto" for it on the CPU
            wherever numba works.

    Raises:
        ValueError: If the backend is "numba" and the model is not on the CPU.
        RuntimeError: If the backend is "numba" and numba does not work here.
    """
    on_cpu = device.type == "cpu"
    if backend == "torch" or (backend == "auto" and not on_cpu):
        return None
    if not on_cpu:
        raise ValueError(f"backend 'numba' runs on the CPU, but the model is on {device}")
    module, trouble = _imported(name)
    if module is None and backend == "numba":
        raise RuntimeError(f"backend 'numba' does not work here: {trouble}")
    return module


@functools.cache
def _imported(name: str) -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module(f"qahm_torch.kernels.{name}"), ""
    except Exception as error:  # whatever numba may raise where it does not fit the machine
        trouble = f"{type(error).__name__}: {error}"
        warnings.warn(f"numba does not work, so sampling is slow: {trouble}", stacklevel=5)
        return None, trouble
