r"""Wake-sleep and reweighted wake-sleep for Helmholtz machines, as a Lightning module."""

from __future__ import annotations

__all__ = ["WakeSleep"]

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from qahm_torch.evaluation.likelihood import classification_accuracy
from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine, hide
from qahm_torch.objectives import reweighted_wake_loss, sleep_loss, wake_loss
from qahm_torch.priors import BoltzmannPrior as Prior
from qahm_torch.training.prior_module import PriorModule


class WakeSleep(PriorModule):
    r"""Trains a Helmholtz machine by wake-sleep or reweighted wake-sleep.

    Each update samples the prior once: the samples are its negative phase, and the seeds of the
    dreams on which the recognition network learns. Losses are added up for one backward pass and
    one optimizer, so that `global_step` counts updates.

    Logged in nats per datum: `train/loss` is what backward minimizes, `val/log_likelihood` an
    importance-sampled estimate (a lower bound on average, given log Z).

    Arguments:
        machine: The machine.
        objective: "wake-sleep", or "reweighted" for several weighted particles per datum.
        num_particles: The particles per datum of the reweighted objective.
        num_val_particles: The particles per datum of the validation and test likelihood.
        wake_phi: The weight of the recognition network's wake loss (reweighted only).
        sleep_phi: The weight of its sleep loss.
        warmup_epochs: The epochs of plain wake-sleep before a reweighted objective sets in, whose
            weights say little while the generator is still far from the data.
        class_weight: The weight of the class units' log-probability in the wake phase. Above 1,
            hidden states are drawn to tell classes apart, at some cost in likelihood; what is
            evaluated always has weight 1.
        hide_classes: The probability with which a datum's class is hidden from recognition, so
            that the network learns to infer without it. Needs a machine with class units.
        optimizer: Returns the optimizer of parameter groups.
        lr_scheduler: Returns the learning-rate schedule, stepped per epoch.
        prior_lr: The learning rate of the prior; None for that of the rest.
        overlap: Whether a device works on the samples of the next update while this one is
            computed; they are then of the model one update ago.
        compile_losses: Whether the losses are compiled by `torch.compile`, which takes some ten
            seconds and, on the CPU, a C++ compiler; the random numbers are those of a run without.

    Raises:
        ValueError: If a setting is out of its range; in training also if losses are to be compiled
            and cannot be.

    References:
        | The wake-sleep algorithm for unsupervised neural networks (Hinton et al., 1995)
        | https://doi.org/10.1126/science.7761831
        | Reweighted wake-sleep (Bornschein & Bengio, 2014)
        | https://arxiv.org/abs/1406.2751
    """

    def __init__(
        self,
        machine: HelmholtzMachine,
        objective: Literal["wake-sleep", "reweighted"] = "wake-sleep",
        num_particles: int = 5,
        num_val_particles: int = 10,
        wake_phi: float = 1.0,
        sleep_phi: float = 1.0,
        warmup_epochs: int = 0,
        class_weight: float = 1.0,
        hide_classes: float = 0.0,
        optimizer: OptimizerCallable = partial(torch.optim.Adam, lr=1e-3, fused=True),  # noqa: B008
        lr_scheduler: LRSchedulerCallable | None = None,
        prior_lr: float | None = None,
        overlap: bool = False,
        compile_losses: bool = False,
    ):
        super().__init__(optimizer, lr_scheduler, prior_lr, overlap)
        if objective not in ("wake-sleep", "reweighted"):
            raise ValueError(f"objective is {objective!r}, not 'wake-sleep' or 'reweighted'")
        if num_particles < 1 or num_val_particles < 1:
            raise ValueError(f"{num_particles} and {num_val_particles} particles; 1 is the least")
        if not 0 <= hide_classes <= 1:
            raise ValueError(f"hide_classes is {hide_classes}, but a probability is 0 to 1")
        if (hide_classes > 0 or class_weight != 1) and machine.num_classes == 0:
            raise ValueError(
                f"hide_classes is {hide_classes} and class_weight {class_weight}, but the machine "
                "has no class units"
            )
        self.machine = machine
        self.objective = objective
        self.num_particles = num_particles
        self.num_val_particles = num_val_particles
        self.wake_phi = wake_phi
        self.sleep_phi = sleep_phi
        self.warmup_epochs = warmup_epochs
        self.hide_classes = hide_classes
        self.compile_losses = compile_losses
        self.register_buffer(
            "unit_weights", _unit_weights(machine, class_weight), persistent=False
        )

    @property
    def prior(self) -> Prior:
        return self.machine.prior

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.negative = self.draw_negative()
        sleep = self._compiled(sleep_loss)(self.machine, self._seeds(self.negative), self._view())
        loss = self._wake_loss(batch, self.negative) + self.sleep_phi * sleep
        self._log_train({"sleep_phi": sleep, "loss": loss})
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self._evaluate(batch, "test")

    def _wake_loss(self, batch: Tensor, negative: Samples) -> Tensor:
        settings: dict[str, Any] = {"view": self._view(), "unit_weights": self.unit_weights}
        if self.objective == "wake-sleep" or self.current_epoch < self.warmup_epochs:
            wake = self._compiled(wake_loss)(self.machine, batch, negative, **settings)
            self._log_train({"wake_theta": wake})
            return wake
        loss = self._compiled(reweighted_wake_loss)
        parts = loss(self.machine, batch, self.num_particles, negative, **settings)
        self._log_train({"wake_theta": parts.theta, "wake_phi": parts.phi})
        return parts.theta + self.wake_phi * parts.phi

    def _compiled(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        return _compile(loss) if self.compile_losses else loss

    def _evaluate(self, batch: Tensor, stage: str) -> None:
        value = self.machine.log_prob(batch, self.num_val_particles).mean()
        self.log(f"{stage}/log_likelihood", value, prog_bar=True, batch_size=len(batch))
        pixels = self.machine.reconstruct(batch)[:, : self.machine.num_pixels]
        error = (pixels - batch[:, : self.machine.num_pixels]).square().mean()
        self.log(f"{stage}/reconstruction_mse", error, batch_size=len(batch))
        if self.machine.num_classes:
            accuracy = classification_accuracy(
                self.machine, batch, rule="read_out", num_particles=self.num_val_particles
            )
            self.log(f"{stage}/accuracy", accuracy, prog_bar=True, batch_size=len(batch))

    def _seeds(self, samples: Samples) -> Tensor:
        r"""Returns equally weighted visible spins of the prior's samples."""
        spins = self.prior.to_visible(samples.spins.to(self.prior.h))
        if samples.weights is None:
            return spins
        return spins[torch.multinomial(samples.weights, len(spins), replacement=True)]

    def _view(self) -> Callable[[Tensor], Tensor] | None:
        if self.hide_classes == 0:
            return None
        return partial(hide, num_pixels=self.machine.num_pixels, probability=self.hide_classes)


# Not an attribute of the module, which could then not be pickled.
@cache
def _compile(loss: Callable[..., Any]) -> Callable[..., Any]:
    from torch._dynamo.exc import TorchDynamoException  # by which all its errors are known

    # On the CPU, torch's own random numbers are several times as fast as those of the compiler.
    compiled = torch.compile(loss, options={"fallback_random": True})

    def run(*arguments: Any, **settings: Any) -> Any:
        try:
            return compiled(*arguments, **settings)
        except TorchDynamoException as error:
            raise ValueError(
                f"compile_losses is true, but {loss.__name__} cannot be compiled here "
                f"({str(error).splitlines()[0]}); set it to false, or on the CPU install a C++ "
                "compiler"
            ) from error

    return run


def _unit_weights(machine: HelmholtzMachine, class_weight: float) -> Tensor | None:
    if class_weight == 1:
        return None
    weights = torch.ones(machine.num_pixels + machine.num_classes)
    weights[machine.num_pixels :] = class_weight
    return weights
