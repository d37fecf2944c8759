r"""Multilayer perceptrons with batch normalization."""

from __future__ import annotations

__all__ = ["NormalizedMLP"]

from collections.abc import Sequence

from torch import nn

from qahm_torch.nn.units import check_positive


class NormalizedMLP(nn.Sequential):
    r"""Linear maps, each but the last with batch normalization and rectified.

    Relaxed spins need inputs of a steady scale: without the normalization log-odds grow, spins no
    longer depend on the data, and gradients explode.

    Arguments:
        num_inputs: The number of inputs.
        hidden: The numbers of rectified units of each layer.
        num_outputs: The number of outputs of a last linear map; None where the last rectified
            units are the outputs, as in the trunk of a `GroupedRecognition`.
        dropout: The probability with which a rectified unit is dropped in training.

    Raises:
        ValueError: If a number is not a positive integer.

    References:
        | Batch normalization: accelerating deep network training by reducing internal covariate
          shift (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167

    Example:
        >>> import torch
        >>> NormalizedMLP(6, [8, 8], 3)(torch.ones(5, 6)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        num_inputs: int,
        hidden: Sequence[int],
        num_outputs: int | None = None,
        dropout: float = 0.0,
    ):
        modules: list[nn.Module] = []
        before = check_positive("num_inputs", num_inputs)
        for width in hidden:
            check_positive("hidden", width)
            modules += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
            modules += [nn.Dropout(dropout)] if dropout else []
            before = width
        if num_outputs is not None:
            modules.append(nn.Linear(before, check_positive("num_outputs", num_outputs)))
        super().__init__(*modules)
        self.num_inputs = num_inputs
        self.hidden = tuple(hidden)
        self.num_outputs = num_outputs
        self.dropout = dropout
