r"""Callbacks that watch the prior of a training."""

from __future__ import annotations

__all__ = [
    "ChainDiagnostics",
    "LogPartitionMonitor",
    "TemperatureMonitor",
    "chain_traces",
    "mixing_of",
    "record",
]

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from qahm_torch.evaluation import autocorrelation_time, split_r_hat
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.training.prior_module import PriorModule, boltzmann_of


class LogPartitionMonitor(pl.Callback):
    r"""Estimates log Z every so many updates, stores it in the prior and logs its interval.

    Logged as `prior/log_z` and `prior/log_z_width`. The random numbers of the training are not
    touched, and no sampler is called. For a prior that is no Boltzmann machine there is nothing to
    estimate.

    Arguments:
        every_n_steps: The number of updates between estimates.
    """

    def __init__(self, every_n_steps: int = 1000):
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if isinstance(pl_module, PriorModule) and trainer.global_step % self.every_n_steps == 0:
            record(trainer, pl_module.anchor_log_z())


class TemperatureMonitor(pl.Callback):
    r"""Estimates the inverse temperature of the negative phase, and warns when it is not 1.

    Logged as `prior/beta` and `prior/beta_stderr`. The estimate is by maximum pseudo-likelihood
    from the samples that the update used; it costs no further samples. For a layer with a
    transverse field, or a prior that is no Boltzmann machine, there is no such estimate, and
    nothing is logged.

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
        prior, negative = boltzmann_of(pl_module), pl_module.negative
        if prior is None or prior.gamma is not None or negative is None:
            return
        beta = prior.estimate_beta(negative)
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
    asked, and a prior without chains has nothing to measure.

    Arguments:
        num_draws: The number of calls of the sampler.
        every_n_epochs: How often to measure.

    Raises:
        ValueError: If there are fewer than 8 draws.
    """

    def __init__(self, num_draws: int = 64, every_n_epochs: int = 1):
        if num_draws < 8:
            raise ValueError(f"num_draws is {num_draws}, but at least 8 draws are needed")
        self.num_draws = num_draws
        self.every_n_epochs = every_n_epochs

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            record(trainer, mixing_of(boltzmann_of(pl_module), self.num_draws))


@torch.no_grad()
def mixing_of(prior: BoltzmannPrior | None, num_draws: int) -> dict[str, float]:
    r"""Returns how well the chains of a prior mix, by name; nothing where there are none to ask.

    A device that bills is not asked. Chains and torch's random numbers stay as they are.
    """
    if prior is None or prior.sampler.is_billed or prior.chains is None:
        return {}
    with torch.random.fork_rng():
        traces = chain_traces(prior, num_draws)
    return {
        "prior/r_hat": _worst(split_r_hat(traces)),
        "prior/autocorrelation_time": _worst(autocorrelation_time(traces)),
    }


@torch.no_grad()
def chain_traces(prior: BoltzmannPrior, num_draws: int) -> Tensor:
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


def record(trainer: pl.Trainer, values: Mapping[str, float]) -> None:
    r"""Writes values to the loggers of a trainer, once."""
    # Not by the module's `log`, which would repeat a value in later rows of the epoch as if it had
    # been measured there.
    for logger in trainer.loggers if values else ():
        logger.log_metrics(dict(values), step=trainer.global_step)


def _worst(values: Tensor) -> float:
    # A spin that never moves has no autocorrelation time; that is not what is asked for.
    known = values[~values.isnan()]
    return float(known.max()) if len(known) else math.nan
