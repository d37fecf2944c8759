r"""Lightning modules: wake-sleep for Helmholtz machines, maximum likelihood for a prior alone."""

from __future__ import annotations

__all__ = ["MaximumLikelihood", "PriorModule", "WakeSleep", "freeze"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from qahm_torch.evaluation.likelihood import classification_accuracy
from qahm_torch.losses import reweighted_wake_loss, sleep_loss, wake_loss
from qahm_torch.nn import HelmholtzMachine, hide
from qahm_torch.nn.interface import Prior
from qahm_torch.samplers import Samples


class PriorModule(pl.LightningModule, ABC):
    r"""What all modules with a prior share: its chains, its log Z and one optimizer.

    Checkpoints hold the chains of the prior and the state of torch's random numbers, so that a run
    that was killed and resumed ends with the same weights, bit for bit, on the same machine.
    Before each validation and test, log Z is estimated anew by a generator of its own, which
    neither calls the prior's sampler nor moves the random numbers of the training. A validation as
    a whole leaves those as they were.

    Arguments:
        optimizer: Returns the optimizer of parameter groups; Adam at 1e-3 by default.
        lr_scheduler: Returns the learning-rate schedule of the optimizer, stepped per epoch; None
            for a constant rate.
        prior_lr: The learning rate of the prior; None for that of the rest.
        overlap: Whether the samples of the next update are asked for before this one is computed,
            so that a device works in the meantime. They are then of the model one update ago.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        prior_lr: float | None,
        overlap: bool = False,
    ):
        super().__init__()
        self.overlap = overlap
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.prior_lr = prior_lr
        self.negative: Samples | None = None
        self._resumed: tuple[Any, Tensor | None] | None = None
        self._rng_state = torch.get_rng_state()

    @property
    @abstractmethod
    def prior(self) -> Prior:
        r"""The prior that is trained."""

    def draw_negative(self) -> Samples:
        r"""Returns the samples of this update, and asks for the next ones if they overlap.

        Of several processes, only the first asks a device that bills, and shares its samples.
        """
        trainer = self._trainer
        if trainer is None or trainer.world_size == 1 or not self.prior.sampler.is_billed:
            return self._draw()
        outcome: Samples | Exception | None = None
        if trainer.is_global_zero:
            try:
                outcome = self._draw()
            except Exception as error:
                outcome = error  # shared too, or the other processes would wait for ever
        outcome = trainer.strategy.broadcast(outcome)
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        return outcome

    def _draw(self) -> Samples:
        negative = self.prior.draw()
        if self.overlap and not self._is_last_update():
            self.prior.prefetch()
        return negative

    def _is_last_update(self) -> bool:
        trainer = self._trainer
        if trainer is None:
            return False
        ends = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        return self.global_step + 1 == trainer.max_steps or (ends and trainer.is_last_batch)

    def _log_train(self, losses: dict[str, Tensor]) -> None:
        r"""Logs losses in those updates that reach the logger, and at the end of an epoch.

        To log in every update, as Lightning would have it, costs more than the layer's samples.
        """
        trainer = self._trainer
        if trainer is None:
            return
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.is_last_batch or (every > 0 and (self.global_step + 1) % every == 0):
            for name, value in losses.items():
                self.log(f"train/{name}", value.detach(), prog_bar=name == "loss")

    def configure_optimizers(self) -> Any:
        prior = [p for p in self.prior.parameters() if p.requires_grad]
        known = {id(p) for p in prior}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        groups: list[dict[str, Any]] = [{"params": rest}] if rest else []
        if prior:
            own = {} if self.prior_lr is None else {"lr": self.prior_lr}
            groups.append({"params": prior, **own})
        if not groups:
            raise ValueError("all parameters are frozen, so that there is nothing to train")
        optimizer = self.optimizer(groups)
        if self.lr_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.lr_scheduler(optimizer)}

    def anchor_log_z(self) -> dict[str, float]:
        r"""Estimates log Z of the prior, and returns what is to be logged of it.

        The random numbers of torch are not touched, and no sampler is called.
        """
        generator = torch.Generator(self.prior.h.device).manual_seed(self.global_step)
        estimate = self.prior.estimate_log_z(num_temperatures=200, generator=generator)
        width = estimate.upper - estimate.lower
        return {"prior/log_z": estimate.value, "prior/log_z_width": width}

    def on_validation_epoch_start(self) -> None:
        self._rng_state = torch.get_rng_state()
        self.log_dict(self.anchor_log_z())

    def on_validation_epoch_end(self) -> None:
        # Lightning leaves the validation out when it resumes from a checkpoint that was written
        # at the last batch of an epoch, so a validation may not move the random numbers.
        torch.set_rng_state(self._rng_state)

    def on_test_epoch_start(self) -> None:
        self.log_dict(self.anchor_log_z())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["prior_chains"] = self.prior.chains
        checkpoint["prior_sampler"] = self.prior.sampler.state_dict()
        checkpoint["rng_state"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint.get("prior_chains"), checkpoint.get("rng_state")
        self.prior.sampler.load_state_dict(checkpoint.get("prior_sampler", {}))

    def on_train_start(self) -> None:
        # Here and not on loading: Lightning loads the weights after that, at which the prior
        # forgets its chains, and draws random numbers in between.
        if self._resumed is None:
            return
        self.prior.chains, rng_state = self._resumed
        if rng_state is not None:
            torch.set_rng_state(rng_state.cpu())
        self._resumed = None


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
        ValueError: If a setting is out of its range.

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
    # On the CPU, torch's own random numbers are several times as fast as those of the compiler.
    return torch.compile(loss, options={"fallback_random": True})


def _unit_weights(machine: HelmholtzMachine, class_weight: float) -> Tensor | None:
    if class_weight == 1:
        return None
    weights = torch.ones(machine.num_pixels + machine.num_classes)
    weights[machine.num_pixels :] = class_weight
    return weights


class MaximumLikelihood(PriorModule):
    r"""Trains a Boltzmann machine on spins directly.

    The negative phase is what the layer's sampler gives: with `negative="sampler"` its own chains
    (persistent contrastive divergence if the layer is persistent and the sampler Gibbs), with
    `negative="data"` chains that start at the data in every step (contrastive divergence; k is the
    number of sweeps of the sampler, which must take chains as its state).

    Arguments:
        layer: The Boltzmann machine.
        negative: Where the chains of the negative phase start, "sampler" or "data".
        optimizer: Returns the optimizer of parameter groups.
        lr_scheduler: Returns the learning-rate schedule, stepped per epoch.

    Raises:
        ValueError: If `negative` is neither of the two.

    References:
        | Training products of experts by minimizing contrastive divergence (Hinton, 2002)
        | https://doi.org/10.1162/089976602760128018
        | Training restricted Boltzmann machines using approximations to the likelihood gradient
          (Tieleman, 2008)
        | https://doi.org/10.1145/1390156.1390290
    """

    def __init__(
        self,
        layer: Prior,
        negative: Literal["sampler", "data"] = "sampler",
        optimizer: OptimizerCallable = partial(torch.optim.Adam, lr=1e-2, fused=True),  # noqa: B008
        lr_scheduler: LRSchedulerCallable | None = None,
    ):
        super().__init__(optimizer, lr_scheduler, None)
        if negative not in ("sampler", "data"):
            raise ValueError(f"negative is {negative!r}, not 'sampler' or 'data'")
        self.layer = layer
        self.start = negative

    @property
    def prior(self) -> Prior:
        return self.layer

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.negative = self.draw_negative() if self.start == "sampler" else self._from_data(batch)
        loss = -self.layer.log_prob(batch, self.negative).mean()
        self._log_train({"loss": loss})
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/log_likelihood", self.layer(batch).mean(), prog_bar=True)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test/log_likelihood", self.layer(batch).mean(), prog_bar=True)

    @torch.no_grad()
    def _from_data(self, batch: Tensor) -> Samples:
        start = self.layer.from_visible(batch.to(self.layer.h))
        return self.layer.sampler.sample(self.layer.ising().detach(), len(batch), state=start)


def freeze(module: nn.Module, prefixes: Iterable[str]) -> None:
    r"""Freezes the parameters whose names begin with one of the given prefixes.

    Raises:
        ValueError: If a prefix fits no parameter.
    """
    names = dict(module.named_parameters())
    for prefix in prefixes:
        fitting = [name for name in names if name.startswith(prefix)]
        if not fitting:
            raise ValueError(
                f"no parameter begins with {prefix!r}; there are {', '.join(sorted(names))}"
            )
        for name in fitting:
            names[name].requires_grad_(False)
