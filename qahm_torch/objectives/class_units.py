r"""What objectives do with class units: weigh them, and hide them from recognition."""

from __future__ import annotations

__all__ = ["ClassUnits", "View"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from qahm_torch.nn import HelmholtzMachine, hide
from qahm_torch.objectives.objective import check_weight

View = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ClassUnits:
    r"""How training treats the class units of a machine.

    Arguments:
        weight: The weight of their log-probability in the wake phase.
        hidden: The probability with which a datum's class is hidden from recognition.

    Raises:
        ValueError: If one of the two is out of its range.
    """

    weight: float = 1.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        check_weight("class_weight", self.weight)
        if not 0 <= self.hidden <= 1:
            raise ValueError(f"hide_classes is {self.hidden}, but a probability is 0 to 1")

    def check(self, machine: HelmholtzMachine) -> None:
        r"""Raises ValueError if a machine has no class units to be treated so."""
        if (self.hidden > 0 or self.weight != 1) and machine.num_classes == 0:
            raise ValueError(
                f"hide_classes is {self.hidden} and class_weight {self.weight}, but the machine "
                "has no class units"
            )

    def view(self, machine: HelmholtzMachine, generator: torch.Generator | None) -> View | None:
        r"""Returns what recognition sees of visible states; None for all of it."""
        if self.hidden == 0:
            return None
        return partial(
            hide,
            num_pixels=machine.num_pixels,
            probability=self.hidden,
            unknown=machine.recognition.unknown,
            generator=generator,
        )

    def unit_weights(self, machine: HelmholtzMachine, batch: Tensor) -> Tensor | None:
        r"""Returns the weights of visible units, of shape (N_visible,); None where all are 1."""
        if self.weight == 1:
            return None
        weights = batch.new_ones(machine.num_pixels + machine.num_classes)
        weights[machine.num_pixels :] = self.weight
        return weights
