r"""A recognition whose units come in groups, each given the earlier ones."""

from __future__ import annotations

__all__ = ["GroupedRecognition"]

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from qahm_torch.nn.distributions import draw, full_precision, rdraw
from qahm_torch.nn.recognition import Draw, Recognition, without_repeats
from qahm_torch.nn.units import Spins, check_positive


class GroupedRecognition(Recognition):
    r"""One hidden layer of spins in groups, of which each sees the data and the groups before it.

    .. math::
        q(u \mid v) = \prod_{g=1}^{G} q\big(u^{(g)} \mid t(v), u^{(1)}, \dots, u^{(g-1)}\big),

    with a trunk t that all groups share, and for each group a layer of rectified units that sees
    it and the earlier groups, and gives the log-odds of its spins. So the posterior has
    correlations, and one prior is over all groups.

    Arguments:
        num_visible: The number of visible units.
        num_units: The number of spins.
        trunk: The module t, from rows (B, num_visible) to rows (B, num_features), best with
            outputs of a steady scale, as `NormalizedMLP` has them; None for the data itself.
        num_features: The number of features of the trunk; None for `num_visible`.
        num_groups: The number G of groups, of sizes that differ by one at most.
        num_hidden: The number of rectified units of each group.
        temperature: That of the relaxed spins that `rsample` draws; None for no such draws.
        hard: Whether these are spins, whose gradient alone is relaxed (straight-through).

    Raises:
        ValueError: If a number is not a positive integer, there are more groups than spins, or the
            temperature is not positive.

    References:
        | Discrete variational autoencoders (Rolfe, 2016)
        | https://arxiv.org/abs/1609.02200

    Example:
        >>> recognition = GroupedRecognition(6, 4, num_groups=2, num_hidden=8)
        >>> states, log_q = recognition.draw(torch.ones(5, 6))
        >>> states[0].shape, torch.equal(log_q, recognition.log_prob([torch.ones(5, 6), *states]))
        (torch.Size([5, 4]), True)
    """

    def __init__(
        self,
        num_visible: int,
        num_units: int,
        *,
        trunk: nn.Module | None = None,
        num_features: int | None = None,
        num_groups: int = 4,
        num_hidden: int = 200,
        temperature: float | None = None,
        hard: bool = False,
    ):
        super().__init__([num_visible, num_units])
        num_features = num_visible if num_features is None else num_features
        for name, value in (
            ("num_features", num_features),
            ("num_groups", num_groups),
            ("num_hidden", num_hidden),
        ):
            check_positive(name, value)
        if num_groups > num_units:
            raise ValueError(
                f"num_groups is {num_groups}, but there are only {num_units} spins for them"
            )
        self.num_visible = num_visible
        self.num_units = num_units
        self.num_features = num_features
        self.num_groups = num_groups
        self.num_hidden = num_hidden
        self.trunk = nn.Identity() if trunk is None else trunk
        self.sizes = [len(part) for part in torch.arange(num_units).tensor_split(num_groups)]
        earlier = [sum(self.sizes[:g]) for g in range(num_groups)]
        self.of_data = nn.ModuleList(nn.Linear(num_features, num_hidden) for _ in self.sizes)
        # The first group has no earlier one, and no weights for it.
        self.of_earlier = nn.ModuleList(
            nn.Linear(width, num_hidden, bias=False) if width else nn.Identity()
            for width in earlier
        )
        self.heads = nn.ModuleList(nn.Linear(num_hidden, size) for size in self.sizes)
        self.units = nn.ModuleList(Spins(size, temperature, hard) for size in self.sizes)

    @property
    def temperature(self) -> float | None:
        r"""The temperature of relaxed spins, or None."""
        return cast(Spins, self.units[0]).temperature

    @property
    def hard(self) -> bool:
        r"""Whether relaxed draws are spins, whose gradient alone is relaxed."""
        return cast(Spins, self.units[0]).hard

    def draw(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        return self.run(inputs, lambda g, law: draw(law, generator))

    def rsample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        r"""Returns relaxed states of the spins, and their log-probability, in one pass.

        Arguments:
            inputs: Visible states of shape (*, N_visible).
            generator: The source of randomness, on the device of the inputs.

        Raises:
            NotImplementedError: If the spins have no temperature.
        """
        return self.run(inputs, lambda g, law: self._relaxed(law, generator))

    def run(self, inputs: Tensor, choose: Callable[[int, Distribution], Tensor]) -> Draw:
        r"""Returns states that a function chooses, group by group, and their log-probability.

        Arguments:
            inputs: Visible states of shape (*, N_visible).
            choose: Returns states (*, width) of a group, given its number and its distribution.
        """
        shape = inputs.shape[:-1]
        # A datum that stands in many rows, of its particles, is looked at once.
        inputs = without_repeats(inputs)
        features = self.trunk(inputs.reshape(-1, inputs.shape[-1]))
        spins: list[Tensor] = []
        log_prob = inputs.new_zeros(shape)
        for g in range(len(self.sizes)):
            hidden = self.of_data[g](features).view(*inputs.shape[:-1], -1).expand(*shape, -1)
            if spins:
                hidden = hidden + self.of_earlier[g](torch.cat(spins, -1))
            log_odds = full_precision(self.heads[g](hidden.relu()))
            law = self.units[g](log_odds / 2)
            spins.append(choose(g, law))
            log_prob = log_prob + law.log_prob(spins[-1])
        return Draw([torch.cat(spins, -1)], log_prob)

    def log_prob(self, states: Sequence[Tensor]) -> Tensor:
        inputs, spins = states
        parts = spins.split(self.sizes, -1)
        return self.run(inputs, lambda g, law: parts[g]).log_prob

    def extra_repr(self) -> str:
        return f"widths={list(self.widths)}, sizes={self.sizes}"

    def _relaxed(self, law: Distribution, generator: torch.Generator | None) -> Tensor:
        if not law.has_rsample:
            raise NotImplementedError(
                "temperature is None, but relaxed states need one: "
                "GroupedRecognition(..., temperature=1 / 7)"
            )
        return rdraw(law, generator)
