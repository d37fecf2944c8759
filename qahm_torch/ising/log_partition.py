r"""The log-partition function as a node of the autograd graph, with sampled gradients."""

from __future__ import annotations

__all__ = ["log_partition"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qahm_torch.ising.derivatives import only_once
from qahm_torch.ising.model import Moments


def log_partition(
    h: Tensor, J: Tensor, value: Tensor, negative_phase: Callable[[Tensor, Tensor], Moments]
) -> Tensor:
    r"""Returns `value` with the gradient of :math:`\log Z` in h and J.

    .. math::
        \partial \log Z / \partial h_i = -\langle Z_i \rangle, \qquad
        \partial \log Z / \partial J_{ij} = -\langle Z_i Z_j \rangle,

    which holds for any transverse field, since Z and the Hamiltonian are traced together. The
    moments are asked for once, in the backward pass; with exact moments the gradient is exact. So
    is the second derivative, if the moments that are returned where gradients are enabled have a
    gradient in h and J; otherwise it is refused.

    Arguments:
        h: The fields of shape (N,).
        J: The couplings of shape (E,).
        value: An estimate of :math:`\log Z`, a scalar; it gets no gradient.
        negative_phase: Returns the moments of the model of h and J, which it is given as they were
            here; called in the backward pass.
    """
    result: Tensor = _LogPartition.apply(h, J, value, negative_phase)
    return result


class _LogPartition(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        h: Tensor, J: Tensor, value: Tensor, negative_phase: Callable[[Tensor, Tensor], Moments]
    ) -> Tensor:
        return value.detach().to(h.dtype).clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        h, J, _, ctx.negative_phase = inputs
        ctx.save_for_backward(h, J)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        parameters = ctx.saved_tensors
        values = zip(ctx.negative_phase(*parameters), parameters, strict=True)
        return *(-grad * _twice(moment, x) for moment, x in values), None, None


def _twice(moment: Tensor, parameter: Tensor) -> Tensor:
    if moment.requires_grad:
        return moment
    why = "the second derivative of log Z needs moments with a gradient, and these have none"
    return only_once(moment, parameter, why)
