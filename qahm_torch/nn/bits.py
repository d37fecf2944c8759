r"""Linear maps of spins as bits."""

from __future__ import annotations

__all__ = ["BitLinear"]

from torch import Tensor, nn
from torch.nn.functional import linear


class BitLinear(nn.Linear):
    r"""A linear map of spins to which those that are down say nothing, as 0 among 0 and 1.

    .. math::
        s \mapsto W (s + 1) + b

    It is `nn.Linear` with other biases, but learns otherwise: only of the units that are on. With
    sparse units, such as those of sigmoid belief nets, the others move every activation by their
    sum, which hinders the weights.

    Arguments:
        in_features: The number of inputs.
        out_features: The number of outputs.

    Example:
        >>> import torch
        >>> layer = BitLinear(3, 2)
        >>> torch.equal(layer(-torch.ones(5, 3)), layer.bias.expand(5, 2))
        True
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)

    def forward(self, spins: Tensor) -> Tensor:
        r"""Returns the map (*, out_features) of spins (*, in_features)."""
        return linear(spins + 1, self.weight, self.bias)
