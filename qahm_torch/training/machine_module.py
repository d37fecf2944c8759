r"""Helmholtz machines, trained by any objective, as a Lightning module."""

from __future__ import annotations

__all__ = ["MachineModule"]

from functools import partial
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from qahm_torch.evaluation import classification_accuracy
from qahm_torch.evaluation.likelihood import known_gap
from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine, Prior, Units
from qahm_torch.nn.construction import construction
from qahm_torch.nn.saving import FORMAT, MACHINE_KEY
from qahm_torch.objectives import Objective, WakeSleep
from qahm_torch.training.compiling import Compiler
from qahm_torch.training.prior_module import Interval, PriorModule, boltzmann_of


class MachineModule(PriorModule):
    r"""Trains a Helmholtz machine by an objective.

    Each update samples the prior once: the samples are its negative phase, and the seeds of the
    dreams on which the recognition network learns. The losses of an objective have one backward
    pass and one optimizer, so that `global_step` counts updates.

    Logged in nats per datum: `train/loss` is what backward minimizes, its parts are beside it by
    the names that the objective gives them, and `val/log_likelihood` is an importance-sampled
    estimate (a lower bound on average, given log Z).

    Arguments:
        machine: The machine.
        objective: What is minimized; None for `WakeSleep()`.
        num_val_particles: The particles per datum of the validation and test likelihood.
        optimizer: Returns the optimizer of parameter groups; None for Adam at 1e-3.
        lr_scheduler: Returns the learning-rate schedule; None for a constant rate.
        prior_lr: The learning rate of the prior; None for that of the rest.
        overlap: Whether a device works on the samples of the next update while this one is
            computed; they are then of the model one update ago. For Boltzmann machines.
        compile_losses: Whether the objective is compiled by `torch.compile`, which takes some ten
            seconds and, on the CPU, a C++ compiler; the random numbers are those of a run without.
        lr_scheduler_interval: When the schedule is stepped, after each "epoch" or each "step",
            which is an update: `T_max` and the like are then numbers of updates.

    Raises:
        ValueError: If a setting is out of its range or does not fit the machine; in training also
            if the objective is to be compiled and cannot be.

    Example:
        >>> from qahm_torch import BeliefNetwork, QuantumPriorLayer, ReweightedWakeSleep
        >>> networks = BeliefNetwork([6, 3]), BeliefNetwork([3, 6])
        >>> machine = HelmholtzMachine(*networks, QuantumPriorLayer(3))
        >>> module = MachineModule(machine, ReweightedWakeSleep(num_particles=2))
        >>> module.training_step(torch.ones(4, 6), 0).backward()
    """

    def __init__(
        self,
        machine: HelmholtzMachine,
        objective: Objective | None = None,
        num_val_particles: int = 10,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        prior_lr: float | None = None,
        overlap: bool = False,
        compile_losses: bool = False,
        lr_scheduler_interval: Interval = "epoch",
    ):
        optimizer = optimizer or partial(torch.optim.Adam, lr=1e-3, fused=True)
        super().__init__(optimizer, lr_scheduler, prior_lr, overlap, lr_scheduler_interval)
        if num_val_particles < 1:
            raise ValueError(
                f"num_val_particles is {num_val_particles}, but at least 1 particle is needed"
            )
        self.machine = machine
        self.objective = objective or WakeSleep()
        self.objective.check(machine)
        if overlap and boltzmann_of(self) is None:
            raise ValueError(
                f"overlap is true, but {type(machine.prior).__name__} is no Boltzmann machine, "
                "whose samples could be asked for in advance"
            )
        self.num_val_particles = num_val_particles
        self.compile_losses = compile_losses
        self._compiler = Compiler()

    @property
    def prior(self) -> Prior:
        return self.machine.prior

    @property
    def visible_units(self) -> Units:
        return self.machine.generator.output

    @property
    def num_classes(self) -> int:
        return self.machine.num_classes

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.states_of(batch)
        self.negative = self.draw_negative()
        losses = self._losses(batch, self.negative)
        self._log_train(losses)
        return losses["loss"]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(self.states_of(batch), "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(self.states_of(batch), "test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        try:
            told = construction(self.machine)
        except ValueError:
            # A part of somebody's own: the checkpoint then loads where its class is known.
            return
        checkpoint[MACHINE_KEY] = {"format": FORMAT, "construction": told}

    def _losses(self, batch: Tensor, negative: Samples) -> dict[str, Tensor]:
        objective = self.objective.at(self.current_epoch)
        call = self._compiler(objective) if self.compile_losses else objective
        losses = call(self.machine, batch, negative)
        if "loss" not in losses:
            raise ValueError(
                f"the losses of {type(objective).__name__} are named {', '.join(losses)}, but one "
                "is to be named loss: what backward minimizes"
            )
        return losses

    def _evaluate(self, batch: Tensor, stage: str) -> None:
        machine = self.machine
        value = machine.log_prob(batch, self.num_val_particles).mean()
        self._log_mean(f"{stage}/log_likelihood", value, batch, prog_bar=True)
        # Units that see each other are drawn one after the other, which takes too long here.
        if not machine.generator.output.is_sequential:
            gap = known_gap(machine, machine.reconstruct(batch), batch)
            self._log_mean(f"{stage}/reconstruction_mse", gap.square().mean(), gap)
        labeled = batch[~batch[:, machine.num_pixels :].isnan().any(-1)]
        if machine.num_classes:
            accuracy = classification_accuracy(
                machine, labeled, rule="read_out", num_particles=self.num_val_particles
            )
            self._log_mean(f"{stage}/accuracy", accuracy, labeled, prog_bar=True)

    def _log_mean(
        self, name: str, value: Tensor | float, over: Tensor, prog_bar: bool = False
    ) -> None:
        r"""Logs a mean over what has some length, unless there is nothing."""
        if len(over):
            self.log(name, value, prog_bar=prog_bar, batch_size=len(over), sync_dist=True)
