r"""Objectives compiled by `torch.compile`, each once."""

from __future__ import annotations

__all__ = ["Compiler"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qahm_torch.objectives import Objective

Losses = Callable[..., dict[str, Tensor]]


class Compiler:
    r"""Compiles objectives when they are first asked for.

    A copy, or what has been pickled, begins anew: compiled code belongs to its process.
    """

    def __init__(self) -> None:
        # By identity, as an objective need not have a hash; it is kept, so that its id stays its.
        self._compiled: dict[int, tuple[Objective, Losses]] = {}

    def __call__(self, objective: Objective) -> Losses:
        r"""Returns the compiled call of an objective.

        Raises:
            ValueError: If the compiled call is called and cannot be compiled.
        """
        if id(objective) not in self._compiled:
            self._compiled[id(objective)] = objective, _compiled(objective)
        return self._compiled[id(objective)][1]

    def __reduce__(self) -> tuple[type[Compiler], tuple[()]]:
        return Compiler, ()


def _compiled(objective: Objective) -> Losses:
    from torch._dynamo.exc import TorchDynamoException  # by which all its errors are known

    # On the CPU, torch's own random numbers are several times as fast as those of the compiler.
    compiled = torch.compile(objective.__call__, options={"fallback_random": True})

    def run(*arguments: Any, **settings: Any) -> dict[str, Tensor]:
        try:
            return compiled(*arguments, **settings)
        except TorchDynamoException as error:
            raise ValueError(
                f"compile_losses is true, but {type(objective).__name__} cannot be compiled here "
                f"({str(error).splitlines()[0]}); set it to false, or on the CPU install a C++ "
                "compiler"
            ) from error

    return run
