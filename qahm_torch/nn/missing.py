r"""Units that are not known: NaN in visible states, and bits that tell a network so."""

from __future__ import annotations

__all__ = ["Flagged", "flag_missing"]

from collections.abc import Sequence

import torch
from torch import Tensor

from qahm_torch.nn.recognition import Draw, Recognition


def flag_missing(values: Tensor) -> Tensor:
    r"""Returns values (*, N) with 0 for NaN, followed by N bits: +1 where a value is missing.

    Where one is known the bit is 0, so that nothing is added to complete data.

    Arguments:
        values: The values of shape (*, N), NaN where they are missing.

    Returns:
        Values and bits, of shape (*, 2 N).

    Example:
        >>> flag_missing(torch.tensor([0.0, torch.nan]))
        tensor([0., 0., 0., 1.])
    """
    missing = values.isnan()
    return torch.cat([values.masked_fill(missing, 0.0), missing.to(values.dtype)], dim=-1)


class Flagged(Recognition):
    r"""A recognition that is told which visible units are not known, one bit for each.

    .. math::
        q(u \mid v) = q'(u \mid v', b), \qquad b_i = [v_i \text{ is missing}], \quad
        v'_i = (1 - b_i) \, v_i

    so that a missing unit (NaN) and one in the middle of its range (0) are not the same.

    Arguments:
        recognition: The recognition q', with two inputs for each visible unit.

    Raises:
        ValueError: If the number of its inputs is odd.

    References:
        | Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2018)
        | https://arxiv.org/abs/1807.03653

    Example:
        >>> from qahm_torch import BeliefNetwork
        >>> recognition = Flagged(BeliefNetwork([8, 3]))
        >>> recognition.widths
        (4, 3)
        >>> recognition.sample(torch.tensor([[0.5, torch.nan, 1.0, -1.0]]))[0].shape
        torch.Size([1, 3])
    """

    unknown = torch.nan

    def __init__(self, recognition: Recognition) -> None:
        num_inputs, *hidden = recognition.widths
        if num_inputs % 2:
            raise ValueError(
                f"the recognition has {num_inputs} inputs, but two for each visible unit are "
                "needed, its value and its bit"
            )
        super().__init__([num_inputs // 2, *hidden])
        self.recognition = recognition

    def draw(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        return self.recognition.draw(flag_missing(inputs), generator)

    def log_prob(self, states: Sequence[Tensor]) -> Tensor:
        return self.recognition.log_prob([flag_missing(states[0]), *states[1:]])

    def rsample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        return self.recognition.rsample(flag_missing(inputs), generator)
