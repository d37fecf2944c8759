r"""First derivatives that have no derivative of their own, and say so."""

from __future__ import annotations

__all__ = ["only_once"]

from typing import Any

import torch
from torch import Tensor


def only_once(gradient: Tensor, like: Tensor, why: str) -> Tensor:
    r"""Returns a gradient that raises an error when it is differentiated itself.

    `once_differentiable` of torch raises it only where the incoming gradient has one, and
    otherwise takes the result for a constant, so that second derivatives are silently wrong.

    Arguments:
        gradient: The gradient, of any shape.
        like: A tensor that it depends on.
        why: What the error says.

    Raises:
        RuntimeError: In the backward pass through the result.
    """
    if not torch.is_grad_enabled():
        return gradient
    result: Tensor = _OnlyOnce.apply(gradient, like, why)
    return result


class _OnlyOnce(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, like: Tensor, why: str) -> Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.why = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(ctx.why)
