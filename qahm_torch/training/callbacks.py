r"""Callbacks that watch the prior, and draw what the machine dreams."""

from __future__ import annotations

__all__ = [
    "ChainDiagnostics",
    "CheckpointOnException",
    "LogPartitionMonitor",
    "SampleGrid",
    "TemperatureMonitor",
]

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from qahm_torch.evaluation import autocorrelation_time, image_grid, save_figure, split_r_hat
from qahm_torch.priors import BoltzmannPrior as Prior
from qahm_torch.training.prior_module import PriorModule
from qahm_torch.training.wake_sleep import WakeSleep


class SampleGrid(pl.Callback):
    r"""Draws dreams of the machine into the run folder after each validation or training epoch.

    The pictures are the means of the pixels given the first hidden layer, and lie in
    `pictures/` of the logger's folder.

    Arguments:
        num_images: The number of dreams.
        every_n_epochs: How often to draw.
    """

    def __init__(self, num_images: int = 64, every_n_epochs: int = 1):
        self.num_images = num_images
        self.every_n_epochs = every_n_epochs

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs or not trainer.is_global_zero:
            return
        folder = trainer.log_dir
        if folder is None or not isinstance(pl_module, WakeSleep):
            return
        with torch.random.fork_rng():
            images = dream_images(pl_module, self.num_images)
        figure = image_grid(_as_pictures(trainer, images))
        name = f"epoch={trainer.current_epoch:03d}-step={trainer.global_step}.png"
        save_figure(figure, Path(folder) / "pictures" / name)


class LogPartitionMonitor(pl.Callback):
    r"""Estimates log Z every so many updates, stores it in the prior and logs its interval.

    Logged as `prior/log_z` and `prior/log_z_width`. The random numbers of the training are not
    touched, and no sampler is called.

    Arguments:
        every_n_steps: The number of updates between estimates.
    """

    def __init__(self, every_n_steps: int = 1000):
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        if isinstance(pl_module, PriorModule) and trainer.global_step % self.every_n_steps == 0:
            record(trainer, pl_module.anchor_log_z())


class TemperatureMonitor(pl.Callback):
    r"""Estimates the inverse temperature of the negative phase, and warns when it is not 1.

    Logged as `prior/beta` and `prior/beta_stderr`. The estimate is by maximum pseudo-likelihood
    from the samples that the update used; it costs no further samples. For a layer with a
    transverse field there is no such estimate, and nothing is logged.

    Arguments:
        every_n_steps: The number of updates between estimates.
        tolerance: By how much beta may differ from 1, beyond 5 standard errors, before a warning.
    """

    def __init__(self, every_n_steps: int = 100, tolerance: float = 0.1):
        self.every_n_steps = every_n_steps
        self.tolerance = tolerance

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        # Before the step, the parameters are still those that the samples were drawn for.
        if not isinstance(pl_module, PriorModule) or trainer.global_step % self.every_n_steps:
            return
        if pl_module.negative is None or pl_module.prior.gamma is not None:
            return
        beta = pl_module.prior.estimate_beta(pl_module.negative)
        record(trainer, {"prior/beta": beta.value, "prior/beta_stderr": beta.stderr})
        if abs(beta.value - 1) > self.tolerance + 5 * beta.stderr:
            rank_zero_warn(
                f"the negative phase is at inverse temperature {beta.value:.3f} +- "
                f"{beta.stderr:.3f} instead of 1: the sampler is at another temperature than it "
                "is said to be, or its chains are far from equilibrium"
            )


class ChainDiagnostics(pl.Callback):
    r"""Measures how well the chains of the prior mix, with the parameters held still.

    Copies of the layer's chains run on for some calls of its sampler. Logged are the worst values
    over the energy and all spins of `prior/r_hat` (split R-hat, near 1 when the chains agree) and
    `prior/autocorrelation_time` (in calls of the sampler). A high one means that the negative
    phase lags behind the model, the usual cause of late divergence. The chains themselves and the
    random numbers of the training are left as they are. A device that bills for samples is not
    asked.

    Arguments:
        num_draws: The number of calls of the sampler.
        every_n_epochs: How often to measure.
    """

    def __init__(self, num_draws: int = 64, every_n_epochs: int = 1):
        if num_draws < 8:
            raise ValueError(f"num_draws is {num_draws}, but at least 8 draws are needed")
        self.num_draws = num_draws
        self.every_n_epochs = every_n_epochs

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        if not isinstance(pl_module, PriorModule) or pl_module.prior.sampler.is_billed:
            return
        if pl_module.prior.chains is None:
            return
        with torch.random.fork_rng():
            traces = chain_traces(pl_module.prior, self.num_draws)
        values = {
            "prior/r_hat": _worst(split_r_hat(traces)),
            "prior/autocorrelation_time": _worst(autocorrelation_time(traces)),
        }
        record(trainer, values)


class CheckpointOnException(pl.Callback):
    r"""Saves `checkpoints/on_exception.ckpt` in the run folder when training stops by an error.

    An interrupt from the keyboard counts as one, so that nothing trained is lost.
    """

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if trainer.log_dir is not None and trainer.training:
            path = Path(trainer.log_dir) / "checkpoints" / "on_exception.ckpt"
            trainer.save_checkpoint(path)
            rank_zero_info(f"saved {path}; resume with --ckpt_path {path}")


@torch.no_grad()
def chain_traces(prior: Prior, num_draws: int) -> Tensor:
    r"""Returns traces of the prior's chains, run on for some draws, of shape (T, S, N + 1).

    The first is the energy and the others are the spins. The chains of the layer stay as they are.
    """
    model = prior.ising().detach()
    state = prior.chains
    traces = []
    for _ in range(num_draws):
        samples = prior.sampler.sample(model, prior.num_samples, state=state)
        state = samples.state
        energy = model.energy(samples.spins).unsqueeze(-1)
        traces.append(torch.cat([energy, samples.spins], -1))
    return torch.stack(traces)


def record(trainer: pl.Trainer, values: dict[str, float]) -> None:
    r"""Writes values to the loggers of a trainer, once."""
    # Not by the module's `log`, which would repeat a value in later rows of the epoch as if it had
    # been measured there.
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)


def _worst(values: Tensor) -> float:
    # A spin that never moves has no autocorrelation time; that is not what is asked for.
    known = values[~values.isnan()]
    return float(known.max()) if len(known) else math.nan


@torch.no_grad()
def dream_images(module: WakeSleep, num_images: int) -> Tensor:
    r"""Returns the mean pixels of dreams, of shape (n, num_pixels)."""
    first = _first_layer(module, num_images)
    return module.machine.generator.mean(first)[:, : module.machine.num_pixels]


def _first_layer(module: WakeSleep, num_images: int) -> Tensor:
    r"""Returns states of the layer next to the pixels, without asking a device that bills."""
    machine, negative = module.machine, module.negative
    if negative is None or not machine.prior.sampler.is_billed:
        return machine.dream(num_images)[-2]
    seeds = machine.prior.to_visible(negative.spins.to(machine.prior.h)[:num_images])
    return [seeds, *machine.generator.sample(seeds)][-2]


def _as_pictures(trainer: pl.Trainer, images: Tensor) -> Tensor:
    shape = getattr(trainer.datamodule, "image_shape", None)  # type: ignore[attr-defined]
    if shape is None:
        side = math.isqrt(images.shape[-1])
        if side * side != images.shape[-1]:
            raise ValueError(
                f"{images.shape[-1]} pixels are no square, and the data module has no image_shape"
            )
        shape = (side, side)
    return images.view(-1, *shape)
