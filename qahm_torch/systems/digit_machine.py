r"""Machines of 8 x 8 gray digits and their classes, and an update of them."""

from __future__ import annotations

__all__ = ["NUM_CLASSES", "NUM_PIXELS", "DigitMachine", "look_at", "some"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qahm_torch.ising import CouplingGraph
from qahm_torch.nn import (
    BeliefNetwork,
    Concatenated,
    ContinuousSpins,
    HelmholtzMachine,
    OneHot,
)
from qahm_torch.objectives import ReweightedWakeSleep
from qahm_torch.priors import BoltzmannPrior, QuantumPriorLayer
from qahm_torch.samplers import GibbsSampler

NUM_PIXELS, NUM_CLASSES = 64, 10


@dataclass(frozen=True)
class DigitMachine:
    r"""What machine of digits is trained, and by what updates.

    Arguments:
        num_hidden: The number of units of the first hidden layer.
        num_deepest: The number of units of the deepest one.
        num_samples: The number of samples of the prior, and of dreams, in an update.
        num_particles: The number of hidden states of an image in an update.
        batch_size: The number of images of an update.
        lr: The learning rate of Adam.
    """

    num_hidden: int = 60
    num_deepest: int = 30
    num_samples: int = 100
    num_particles: int = 5
    batch_size: int = 100
    lr: float = 0.003

    def new(self, *, is_factorial: bool = False) -> HelmholtzMachine:
        r"""Returns a machine, whose prior has all couplings or none."""
        widths = [NUM_PIXELS + NUM_CLASSES, self.num_hidden, self.num_deepest]
        number = self.num_deepest
        graph = CouplingGraph(number, []) if is_factorial else CouplingGraph.complete(number)
        output = Concatenated([ContinuousSpins(NUM_PIXELS), OneHot(NUM_CLASSES)])
        return HelmholtzMachine(
            BeliefNetwork(widths),
            BeliefNetwork(widths[::-1], output=output),
            QuantumPriorLayer(graph, sampler=GibbsSampler(5), num_samples=self.num_samples),
        )

    def train(
        self,
        machine: HelmholtzMachine,
        next_batch: Callable[[], Tensor],
        num_updates: int,
        *,
        num_looks: int,
        look: Callable[[], None],
        class_weight: float = 1.0,
        hide_classes: float = 0.5,
        falls: bool = True,
    ) -> None:
        r"""Trains by reweighted wake-sleep, and looks at the machine at even intervals.

        Arguments:
            machine: The machine.
            next_batch: Returns the images of an update.
            num_updates: The number of updates.
            num_looks: How often to look, at last after the last update.
            look: What is called then, on a machine whose log Z is known.
            class_weight: The weight of the class.
            hide_classes: How often recognition does not see it.
            falls: Whether the learning rate falls to 0 by a cosine.
        """
        objective = ReweightedWakeSleep(
            self.num_particles, class_weight=class_weight, hide_classes=hide_classes
        )
        optimizer = torch.optim.Adam(machine.parameters(), lr=self.lr, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
        for update in range(1, num_updates + 1):
            optimizer.zero_grad()
            objective(machine, next_batch(), machine.prior.draw())["loss"].backward()
            optimizer.step()
            if falls:
                schedule.step()
            if update * num_looks // num_updates > (update - 1) * num_looks // num_updates:
                look_at(machine, look)


def look_at(machine: HelmholtzMachine, look: Callable[[], None]) -> None:
    r"""Calls a function on a machine whose log Z is known; random numbers stay as they were."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        if isinstance(machine.prior, BoltzmannPrior):
            machine.prior.estimate_log_z(num_chains=128, num_temperatures=200)
        look()


def some(rows: Tensor, number: int) -> Tensor:
    r"""Returns so many rows, drawn at random with replacement."""
    return rows[torch.randint(len(rows), (number,))]
