r"""The log-partition function as a node of the autograd graph, with sampled gradients."""

from __future__ import annotations

__all__ = ["log_partition"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qahm_torch.ising.model import Moments


def log_partition(
    h: Tensor, J: Tensor, value: Tensor, negative_phase: Callable[[], Moments]
) -> Tensor:
    r"""Returns `value` with the gradient of :math:`\log Z` in h and J.

    .. math::
        \partial \log Z / \partial h_i = -\langle Z_i \rangle, \qquad
        \partial \log Z / \partial J_{ij} = -\langle Z_i Z_j \rangle,

    which holds for any transverse field, since Z and the Hamiltonian are traced together. The
    moments are asked for once, in the backward pass; with exact moments the gradient is exact.

    Arguments:
        h: The fields of shape (N,).
        J: The couplings of shape (E,).
        value: An estimate of :math:`\log Z`, a scalar; it gets no gradient.
        negative_phase: Returns the moments of the model; called in the backward pass.
    """
    return _LogPartition.apply(h, J, value, negative_phase)


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, J: Tensor, value: Tensor, negative_phase: Callable[[], Moments]
    ) -> Tensor:
        ctx.negative_phase = negative_phase
        return value.detach().to(h.dtype).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        mean, correlation = ctx.negative_phase()
        return -grad * mean, -grad * correlation, None, None
