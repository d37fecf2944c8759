r"""What Lightning modules with a prior share: its samples, its log Z, and one optimizer."""

from __future__ import annotations

__all__ = ["Interval", "PriorModule", "boltzmann_of", "freeze"]

import io
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import GradClipAlgorithmType, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from qahm_torch.data import TensorDataModule
from qahm_torch.ising import Chains, Samples
from qahm_torch.nn import Prior, Units
from qahm_torch.nn.loading import AtomicLoading
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import LogZ
from qahm_torch.training.batches import as_rows
from qahm_torch.training.checkpoints import read_checkpoint, refuse_older, secure
from qahm_torch.training.data_check import PartsLookedAt, check_data
from qahm_torch.training.processes import (
    gathered,
    random_state,
    seed_process,
    set_random_state,
)

Interval = Literal["epoch", "step"]


class PriorModule(AtomicLoading, pl.LightningModule, ABC):
    r"""What all modules with a prior share: its samples, its log Z and one optimizer.

    Checkpoints hold the chains of the prior and the state of torch's random numbers, on the CPU
    and on CUDA, so that a run that was killed and resumed ends with the same weights, bit for bit,
    on the same machine. Before each validation and test, log Z of a Boltzmann machine is estimated
    anew by a generator of its own, which neither calls the prior's sampler nor moves the random
    numbers of the training; after a validation of averaged weights, also that of the others. A
    validation as a whole leaves the random numbers as they were. Losses logged in training have
    the log Z of the validation before, so that they are shifted by what it has moved since: by
    tens of nats in the first epochs.

    *Several processes.* Each has random numbers of its own by rank, and so its own negative phase,
    unless a device bills for it: then the first one asks, for all. A checkpoint holds chains and
    random states of all. Resumed with another number of processes, a run goes on with the chains
    that there are, dealt out by rank, and with new random numbers, and says so.

    Arguments:
        optimizer: Returns the optimizer of parameter groups.
        lr_scheduler: Returns the learning-rate schedule of the optimizer; None for a constant
            rate.
        prior_lr: The learning rate of the prior; None for that of the rest.
        overlap: Whether the samples of the next update are asked for before this one is computed,
            so that a device works in the meantime. They are then of the model one update ago.
        lr_scheduler_interval: When the schedule is stepped, after each "epoch" or each "step",
            which is an update.

    Raises:
        ValueError: If the interval is another word, or a learning rate negative or not finite; in
            training and testing also if the data hold values that the visible units do not take,
            which each data set is looked through for once.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        prior_lr: float | None,
        overlap: bool = False,
        lr_scheduler_interval: Interval = "epoch",
    ):
        super().__init__()
        if lr_scheduler_interval not in ("epoch", "step"):
            raise ValueError(
                f"lr_scheduler_interval is {lr_scheduler_interval!r}, but a schedule is stepped "
                "per 'epoch' or per 'step'"
            )
        if prior_lr is not None:
            _check_rate("prior_lr", prior_lr)
        self.overlap = overlap
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_interval = lr_scheduler_interval
        self.prior_lr = prior_lr
        self.negative: Samples | None = None
        self._looked_at = PartsLookedAt()
        self._num_asked = 0  # how often the optimizer has asked for the loss of this update
        self.validated_log_z: LogZ | None = None  # by which the last validation was measured
        self._resumed: dict[str, list[Any]] | None = None
        self._before_validation: dict[str, Tensor] = {}
        self._validated = torch.empty(0)  # the fields of what is validated

    @property
    @abstractmethod
    def prior(self) -> Prior:
        r"""The prior that is trained."""

    def draw_negative(self) -> Samples:
        r"""Returns the samples of this update, and asks for the next ones if they overlap."""
        negative = self.prior.draw()
        prior = boltzmann_of(self)
        if prior is not None and self.overlap and not self._is_last_update():
            prior.prefetch()
        return negative

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
        for group in optimizer.param_groups:
            _check_rate("a learning rate", group["lr"])
        if self.lr_scheduler is None:
            return optimizer
        schedule = {
            "scheduler": self.lr_scheduler(optimizer),
            "interval": self.lr_scheduler_interval,
        }
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def why_not_again(self) -> str:
        r"""Returns why an optimizer may ask for the loss of an update once only, if so.

        What it asks for several times has to be one function, along which it searches.
        """
        return "it is drawn anew each time"

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        def closure() -> Any:
            why = self.why_not_again() if self._num_asked > 0 else ""
            if why:
                raise RuntimeError(
                    f"the optimizer asks for the loss of an update again, as LBFGS does, but {why}"
                    ": use one that asks once, such as Adam"
                )
            loss = None if optimizer_closure is None else optimizer_closure()
            self._num_asked += 1
            return loss

        self._num_asked = 0
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
        finally:
            self._num_asked = 0

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        plugin = self.trainer.precision_plugin
        if not (isinstance(plugin, MixedPrecision) and plugin.scaler is None):
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
            return
        # Lightning refuses fused optimizers here, which take scaled gradients back to their size
        # only in their step. In bfloat16 nothing is scaled.
        norm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
        Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0.0, norm)

    def anchor_log_z(self) -> dict[str, float]:
        r"""Estimates log Z of a Boltzmann machine, and returns what is to be logged of it.

        The random numbers of torch are not touched, and no sampler is called. Another prior has
        its log-probability as it is, and there is nothing to log.
        """
        return _logged(self._estimated_log_z())

    def _estimated_log_z(self) -> LogZ | None:
        prior = boltzmann_of(self)
        if prior is None:
            return None
        generator = torch.Generator(prior.h.device).manual_seed(self.global_step)
        return prior.estimate_log_z(num_temperatures=200, generator=generator)

    def setup(self, stage: str) -> None:
        # Before Lightning reads the checkpoint that it was given.
        secure(self.trainer)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        r"""Returns a module with the weights of a checkpoint, of which nothing is run.

        Arguments:
            checkpoint_path: A file of this machine.
            args: As Lightning has them.
            kwargs: As Lightning has them, and the arguments of the module.

        Raises:
            ValueError: If the file is elsewhere, cannot be read or names a class to be built.
        """
        checkpoint = read_checkpoint(checkpoint_path)
        if "_instantiator" in checkpoint.get("hyper_parameters", {}):
            raise ValueError(
                f"{checkpoint_path} names classes to be built: give the arguments of "
                f"{cls.__name__} yourself, and load its weights by `load_weights`"
            )
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        buffer.seek(0)
        return super().load_from_checkpoint(buffer, *args, **{**kwargs, "weights_only": True})

    @property
    def visible_units(self) -> Units | None:
        r"""The visible units, for data to be looked at once; None if none are known."""
        return None

    @property
    def num_classes(self) -> int:
        r"""The number of class units, which come last among the visible ones."""
        return 0

    def states_of(self, batch: Any) -> Tensor:
        r"""Returns the visible states (B, N_visible) that a batch of any loader means."""
        units, dtype = self.visible_units, next(self.parameters()).dtype
        states: Tensor = batch
        if units is not None:
            states = as_rows(batch, units.supports, self.num_classes, dtype)
            self._looked_at.look_at_batch(states, units, self._trainer)
        return states

    def on_fit_start(self) -> None:
        seed_process(self.trainer)
        self._look_at("train", "val")

    def on_validation_start(self) -> None:
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._look_at("val")

    def on_test_start(self) -> None:
        self._look_at("test")

    def on_validation_epoch_start(self) -> None:
        self._before_validation = random_state(self.device)
        self.validated_log_z = self._estimated_log_z()
        self.log_dict(_logged(self.validated_log_z), sync_dist=True)
        prior = boltzmann_of(self)
        self._validated = torch.empty(0) if prior is None else prior.h.detach().clone()

    def on_validation_epoch_end(self) -> None:
        prior, fitting = boltzmann_of(self), self.trainer.state.fn == TrainerFn.FITTING
        if fitting and prior is not None and not torch.equal(prior.h, self._validated):
            self.anchor_log_z()
        # Lightning leaves the validation out when it resumes from a checkpoint that was written
        # at the last batch of an epoch, so a validation may not move the random numbers.
        set_random_state(self._before_validation, self.device)

        if not self.trainer.sanity_checking:
            self._looked_at.add("val")

    def on_train_epoch_end(self) -> None:
        self._looked_at.add("train")

    def on_test_epoch_start(self) -> None:
        self.log_dict(self.anchor_log_z(), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        prior = boltzmann_of(self)
        chains = None if prior is None or prior.chains is None else prior.chains.to("cpu")
        checkpoint["prior_chains"] = gathered(None if chains is None else chains.state_dict())
        checkpoint["prior_sampler"] = {} if prior is None else prior.sampler.state_dict()
        checkpoint["rng_states"] = gathered(random_state(self.device))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        refuse_older(checkpoint)
        prior = boltzmann_of(self)
        if prior is not None:
            prior.sampler.load_state_dict(checkpoint.get("prior_sampler", {}))
        self._resumed = {key: checkpoint.get(key) or [] for key in ("prior_chains", "rng_states")}

    def on_train_start(self) -> None:
        # Here and not on loading: Lightning loads the weights after that, at which the prior
        # forgets its chains, and draws random numbers in between.
        if self.visible_units is not None:
            loader, dtype = self.trainer.train_dataloader, next(self.parameters()).dtype
            self._looked_at.look_at_loader(loader, self.visible_units, self.num_classes, dtype)
        if self._resumed is None:
            return
        resumed, self._resumed = self._resumed, None
        rank, number = self.trainer.global_rank, self.trainer.world_size
        self.take_chains(resumed["prior_chains"], rank)
        states = resumed["rng_states"]
        if len(states) == number:
            set_random_state(states[rank], self.device)
        elif states:
            rank_zero_warn(
                f"the checkpoint is of {len(states)} processes, but this run has {number}: it "
                "goes on with new random numbers, and not as the other would have"
            )

    def take_chains(self, stored: list[dict[str, Any] | None], rank: int) -> None:
        r"""Gives a Boltzmann machine the chains of a process, as a checkpoint holds them.

        Where there are fewer than processes, some begin with the same ones and part from there.
        """
        prior = boltzmann_of(self)
        if prior is not None and stored:
            chains = stored[rank % len(stored)]
            prior.chains = None if chains is None else Chains.from_state_dict(chains)

    def _look_at(self, *parts: str) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self._looked_at.forget()
        if isinstance(data, TensorDataModule) and self.visible_units is not None:
            check_data(data, self.visible_units, parts)
            self._looked_at.add(*parts)

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
                self.log(f"train/{name}", value.detach(), prog_bar=name == "loss", sync_dist=True)


def _check_rate(name: str, rate: float | Tensor) -> None:
    # Optimizers look at their own rate only, and not at those of groups.
    if not 0 <= float(rate) < math.inf:
        raise ValueError(f"{name} is {float(rate):g}, but a finite number of at least 0 is needed")


def boltzmann_of(module: pl.LightningModule) -> BoltzmannPrior | None:
    r"""Returns the prior of a module if there is one and it is a Boltzmann machine."""
    prior = module.prior if isinstance(module, PriorModule) else None
    return prior if isinstance(prior, BoltzmannPrior) else None


def _logged(estimate: LogZ | None) -> dict[str, float]:
    if estimate is None:
        return {}
    width = estimate.upper - estimate.lower
    return {"prior/log_z": estimate.value, "prior/log_z_width": width}


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
