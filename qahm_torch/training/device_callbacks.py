r"""Callbacks for training through an annealer: temperature, chains, and the bill."""

from __future__ import annotations

__all__ = ["ChainBreakMonitor", "DeviceTemperatureMonitor", "QPUBudget"]

from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from qahm_torch.annealer import AnnealerSampler, EmbeddedPrior, TimeAccount
from qahm_torch.ising import SampleInfo
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import Fallback, within
from qahm_torch.training.callbacks import record
from qahm_torch.training.prior_module import PriorModule, boltzmann_of
from qahm_torch.training.processes import run_folder

# Of `SampleInfo`, what is a number to be logged.
Told = Literal[
    "beta",
    "beta_stderr",
    "beta_measured",
    "beta_measured_stderr",
    "thermal_misfit",
    "chain_break_fraction",
    "chain_strength",
    "clipped",
    "scale",
]
_TEMPERATURE: tuple[Told, ...] = (
    "beta",
    "beta_stderr",
    "beta_measured",
    "beta_measured_stderr",
    "thermal_misfit",
)
_PROGRAM: tuple[Told, ...] = ("chain_break_fraction", "chain_strength", "clipped", "scale")


class DeviceTemperatureMonitor(pl.Callback):
    r"""Logs the inverse temperature of the device, as it is tracked and as each answer has it.

    Logged in the units of the device as `device/beta` and `device/beta_stderr` (used, from the
    filter), `device/beta_measured` and `device/beta_measured_stderr` (of the last answer alone),
    and `device/thermal_misfit`: how far fields are off, 0 for thermal samples.

    Arguments:
        every_n_steps: The number of updates between values.
    """

    def __init__(self, every_n_steps: int = 10):
        self.every_n_steps = every_n_steps

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        if trainer.global_step % self.every_n_steps == 0:
            record(trainer, _values(pl_module, _TEMPERATURE))


class ChainBreakMonitor(pl.Callback):
    r"""Logs how many strands of qubits break, and warns when they are many.

    Logged as `device/chain_break_fraction`, `device/chain_strength` (as programmed),
    `device/clipped` and `device/scale`. Majority votes over many broken strands bias the samples.
    The strands are those of the sampler, or those of an `EmbeddedPrior`, which learns its own.

    Arguments:
        every_n_steps: The number of updates between values.
        tolerance: The fraction of broken strands from which on there is a warning.
    """

    def __init__(self, every_n_steps: int = 10, tolerance: float = 0.1):
        self.every_n_steps = every_n_steps
        self.tolerance = tolerance
        self._has_warned = False

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        values = {**_values(pl_module, _PROGRAM), **_broken(pl_module)}
        if trainer.global_step % self.every_n_steps == 0:
            record(trainer, values)
        broken = values.get("device/chain_break_fraction", 0.0)
        if broken > self.tolerance and not self._has_warned:
            self._has_warned = True
            rank_zero_warn(
                f"{broken:.0%} of the strands of qubits are broken, and their majority votes bias "
                "the samples; a greater chain_strength or shorter strands break less"
            )


class QPUBudget(pl.Callback):
    r"""Keeps the account of QPU time in the log, and stops the run before the budget is exceeded.

    Logged as `device/qpu_seconds` (spent, including what may have been spent) and
    `device/qpu_seconds_left`. When the next update would cost more than is left, the run ends
    cleanly after the present one and leaves `checkpoints/out_of_budget.ckpt` in the run folder; a
    larger budget and `--ckpt_path` let it go on from there. With a fallback sampler the run goes
    on without the device, and without a budget here or in the sampler there is only the log.

    Arguments:
        budget: The QPU seconds that may be spent, the ones before a resume included; None for the
            sampler's own.
        every_n_steps: The number of updates between values in the log.
    """

    def __init__(self, budget: float | None = None, every_n_steps: int = 10):
        if budget is not None and not budget > 0:
            raise ValueError(f"budget is {budget}, but seconds of QPU time are positive")
        self.budget = budget
        self.every_n_steps = every_n_steps

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sampler = annealer_of(pl_module)
        if sampler is None:
            rank_zero_warn("QPUBudget has nothing to do: the sampler is no AnnealerSampler")
        elif self.budget is not None:
            sampler.account.budget = self.budget

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        sampler, prior = annealer_of(pl_module), boltzmann_of(pl_module)
        if sampler is None or prior is None:
            return
        if trainer.global_step % self.every_n_steps == 0:
            record(trainer, _account(sampler.account))
        if sampler.account.budget is None or within(prior.sampler, Fallback) is not None:
            return
        # The account is that of the first process, which asks the device for all.
        reason = _shortage(sampler, prior) if trainer.is_global_zero else None
        if trainer.strategy.reduce_boolean_decision(reason is not None, all=False):
            _stop(trainer, reason)


def annealer_of(module: pl.LightningModule) -> AnnealerSampler | None:
    r"""Returns the annealer that a module samples its prior with, if it does."""
    prior = boltzmann_of(module)
    return None if prior is None else within(prior.sampler, AnnealerSampler)


def _account(account: TimeAccount) -> dict[str, float]:
    values = {"device/qpu_seconds": account.spent}
    if account.budget is not None:
        values["device/qpu_seconds_left"] = account.left
    return values


def _shortage(sampler: AnnealerSampler, prior: BoltzmannPrior) -> str | None:
    r"""Returns why the budget does not last for another update, or None if it does."""
    cost = sampler.estimate_time(prior.graph, prior.num_samples)
    if cost is None or cost <= sampler.account.left:
        return None
    return f"{sampler.account.left:.3g} s are left and an update takes {cost:.3g} s"


def _stop(trainer: pl.Trainer, reason: str | None) -> None:
    # Here, as the checkpoints of a run may be of every tenth epoch only.
    folder, how = run_folder(trainer), ""
    if folder is not None:
        path = folder / "checkpoints" / "out_of_budget.ckpt"
        trainer.save_checkpoint(path)
        how = f"; it goes on with a larger budget and --ckpt_path {path}"
    rank_zero_info(f"the run stops at its budget of QPU time: {reason}{how}")
    trainer.should_stop = True


def _broken(module: pl.LightningModule) -> dict[str, float]:
    if not isinstance(module, PriorModule) or module.negative is None:
        return {}
    if not isinstance(module.prior, EmbeddedPrior):
        return {}
    broken = module.prior.is_broken(module.negative.spins.to(module.prior.h))
    return {"device/chain_break_fraction": float(broken.double().mean())}


def _values(module: pl.LightningModule, names: tuple[Told, ...]) -> dict[str, float]:
    negative = module.negative if isinstance(module, PriorModule) else None
    info: SampleInfo = (negative.info if negative is not None else None) or {}
    values = {f"device/{name}": info.get(name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
