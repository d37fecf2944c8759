r"""Which form of the kernels is taken: by what was asked for, where the model is, what works."""

from __future__ import annotations

__all__ = ["BACKENDS", "NUMBA_BACKENDS", "check_backend", "compiled_form"]

import functools
import importlib
import warnings
from collections.abc import Sequence
from types import ModuleType

import torch

# Of kernels that have no form in Triton, and of those that do.
NUMBA_BACKENDS = ("auto", "numba", "torch")
BACKENDS = (*NUMBA_BACKENDS, "triton")


def check_backend(backend: str, known: Sequence[str] = BACKENDS) -> None:
    r"""Raises ValueError if a backend is none of those that are known."""
    if backend not in known:
        names = [repr(name) for name in known]
        choice = f"{', '.join(names[:-1])} or {names[-1]}"
        raise ValueError(f"backend is {backend!r}, but {choice} is needed")


def compiled_form(name: str, device: torch.device, backend: str) -> ModuleType | None:
    r"""Returns the module of this folder with kernels for the CPU, or None where torch takes over.

    Arguments:
        name: The name of the module.
        device: Where the model is.
        backend: "numba" for the compiled form, "torch" for none, or "auto" for it on the CPU
            wherever numba works, and unless torch traces what is done, as `torch.export` does.

    Raises:
        ValueError: If the backend is none of these, or it is "numba" and the model is not on the
            CPU.
        RuntimeError: If the backend is "numba" and numba does not work here.
    """
    check_backend(backend, NUMBA_BACKENDS)
    on_cpu = device.type == "cpu"
    is_traced = torch.compiler.is_compiling()
    if backend == "torch" or (backend == "auto" and (is_traced or not on_cpu)):
        return None
    if not on_cpu:
        raise ValueError(
            f"backend is 'numba', but it runs on the CPU and the model is on {device}"
        )
    module, trouble = _imported(name)
    if module is None and backend == "numba":
        raise RuntimeError(f"backend is 'numba', but numba does not work here: {trouble}")
    return module


@functools.cache
def _imported(name: str) -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module(f"qahm_torch.kernels.{name}"), ""
    except Exception as error:  # whatever numba may raise where it does not fit the machine
        trouble = f"{type(error).__name__}: {error}"
        warnings.warn(f"numba does not work, so sampling is slow: {trouble}", stacklevel=5)
        return None, trouble
