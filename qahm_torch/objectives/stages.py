r"""Objectives one after another, by epochs."""

from __future__ import annotations

__all__ = ["Stages"]

from collections.abc import Sequence

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.objectives.objective import Objective


class Stages(Objective):
    r"""Trains by one objective after another.

    Reweighted wake-sleep, say, is better begun with some epochs of plain wake-sleep: its weights
    say little while the generator is still far from the data. Called without `at`, it is its first
    stage.

    Arguments:
        objectives: The objectives, in order.
        epochs: The number of epochs of each but the last, which stays.

    Raises:
        ValueError: If there is no objective, there are not as many numbers of epochs as stages
            that end, or one of them is negative.

    Example:
        >>> from qahm_torch import ReweightedWakeSleep, WakeSleep
        >>> objective = Stages([WakeSleep(), ReweightedWakeSleep()], epochs=[10])
        >>> [type(objective.at(epoch)).__name__ for epoch in (0, 9, 10, 99)]
        ['WakeSleep', 'WakeSleep', 'ReweightedWakeSleep', 'ReweightedWakeSleep']
    """

    def __init__(self, objectives: Sequence[Objective], epochs: Sequence[int]):
        self.objectives = list(objectives)
        self.epochs = list(epochs)
        if not self.objectives:
            raise ValueError("objectives is [], but at least 1 objective is needed")
        if len(self.epochs) != len(self.objectives) - 1:
            raise ValueError(
                f"epochs is {self.epochs}, but {len(self.objectives)} objectives need "
                f"{len(self.objectives) - 1} numbers: one for each but the last"
            )
        if min(self.epochs, default=0) < 0:
            raise ValueError(f"epochs is {self.epochs}, but numbers of epochs are not negative")

    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        return self.at(0)(machine, batch, negative, generator=generator)

    def at(self, epoch: int) -> Objective:
        r"""Returns the objective of an epoch, where stages count from their own start."""
        for objective, length in zip(self.objectives, self.epochs, strict=False):
            if epoch < length:
                return objective.at(epoch)
            epoch -= length
        return self.objectives[-1].at(epoch)

    def check(self, machine: HelmholtzMachine) -> None:
        for objective in self.objectives:
            objective.check(machine)
