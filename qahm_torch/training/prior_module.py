r"""What Lightning modules with a prior share: its samples, its log Z, and one optimizer."""

from __future__ import annotations

__all__ = ["PriorModule", "freeze"]

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from qahm_torch.ising import Chains, Samples
from qahm_torch.priors import BoltzmannPrior as Prior


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
        chains = self.prior.chains
        checkpoint["prior_chains"] = None if chains is None else chains.state_dict()
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
        chains, rng_state = self._resumed
        self.prior.chains = None if chains is None else Chains.from_state_dict(chains)
        if rng_state is not None:
            torch.set_rng_state(rng_state.cpu())
        self._resumed = None


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
