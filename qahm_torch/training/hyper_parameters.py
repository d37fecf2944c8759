r"""The settings of a training in few numbers and words, by which boards compare runs."""

from __future__ import annotations

__all__ = ["HyperParameters", "hyper_parameters"]

import inspect
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from qahm_torch.device.credentials import refuse_credentials
from qahm_torch.nn import Prior
from qahm_torch.objectives import Objective
from qahm_torch.samplers import Sampler
from qahm_torch.training.machine_module import MachineModule
from qahm_torch.training.prior_module import PriorModule, boltzmann_of

Setting = bool | int | float | str


class HyperParameters(pl.Callback):
    r"""Gives the settings of a training to its loggers, as `hyper_parameters` has them.

    `qahm fit` always does. TensorBoard's tab HPARAMS then has a row for each run with the losses
    and likelihoods that it last logged. Other loggers have places of their own: `CSVLogger`, say,
    the file `hparams.yaml`. The whole configuration is in `config.yaml`.

    Example:
        >>> trainer = pl.Trainer(callbacks=[HyperParameters()], logger=False)
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(pl_module, PriorModule):
            return
        settings = hyper_parameters(trainer, pl_module)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                _to_tensorboard(logger, settings, _measured(pl_module))
            else:
                logger.log_hyperparams(settings)


def hyper_parameters(trainer: pl.Trainer, module: PriorModule) -> dict[str, Setting]:
    r"""Returns the settings of a training that has started, flat and by name.

    They are the optimizer and its learning rates, the widths of networks, and the kind of the
    prior, of its sampler, of the objective and of the data, with the numbers and words that these
    were made with, such as `sampler.num_sweeps`.

    Arguments:
        trainer: The trainer.
        module: What it trains.
    """
    return {
        **_rates(trainer, module),
        **_shape(module),
        **dict(_told("sampler", getattr(module.prior, "sampler", None))),
        **dict(_told("objective", getattr(module, "objective", None))),
        **dict(_told("data", trainer.datamodule)),  # type: ignore[attr-defined]
    }


def _rates(trainer: pl.Trainer, module: PriorModule) -> dict[str, Setting]:
    r"""Returns the learning rates that a training begins with, in one resumed as well."""
    found: dict[str, Setting] = {}
    of_prior = {id(parameter) for parameter in module.prior.parameters()}
    for optimizer in trainer.optimizers:
        found["optimizer"] = type(optimizer).__name__
        for group in optimizer.param_groups:
            is_prior = any(id(parameter) in of_prior for parameter in group["params"])
            name = "prior_lr" if is_prior else "lr"
            found[name] = float(group.get("initial_lr", group["lr"]))
    for config in trainer.lr_scheduler_configs:
        found["lr_scheduler"] = type(config.scheduler).__name__
    return found


def _shape(module: PriorModule) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    if isinstance(module, MachineModule):
        found["recognition.widths"] = _joined(module.machine.recognition.widths)
        found["generator.widths"] = _joined(module.machine.generator.widths)
    found["prior"] = type(module.prior).__name__
    boltzmann = boltzmann_of(module)
    if boltzmann is not None:
        found["prior.num_spins"] = boltzmann.graph.num_spins
        found["prior.num_couplings"] = boltzmann.graph.num_edges
    num_samples = getattr(module.prior, "num_samples", None)
    return {**found, **({} if num_samples is None else {"prior.num_samples": num_samples})}


def _told(name: str, thing: Any) -> Iterator[tuple[str, Setting]]:
    r"""Yields the class of a thing, and those of its arguments that it still holds, by name."""
    if thing is None:
        return
    yield name, type(thing).__name__
    held = vars(thing)
    for key in inspect.signature(type(thing)).parameters:
        value = held.get(key)
        values = value if isinstance(value, list) and value else [value]
        if isinstance(value, (bool, int, float, str)) and not _is_secret(key, value):
            yield f"{name}.{key}", value
        elif all(isinstance(part, (int, float)) for part in values):
            yield f"{name}.{key}", _joined(values)
        elif all(isinstance(part, (Objective, Prior, Sampler)) for part in values):
            for place, part in enumerate(values):
                yield from _told(f"{name}.{place}" if value is values else f"{name}.{key}", part)


def _is_secret(key: str, value: Setting) -> bool:
    # Boards may be public, and a sampler of somebody's own may hold what it likes.
    try:
        refuse_credentials({key: value})
    except ValueError:
        return True
    return False


def _joined(numbers: Any) -> str:
    return "-".join(f"{number:g}" for number in numbers)


def _measured(module: PriorModule) -> list[str]:
    r"""Returns the names of the curves by whose last values runs are compared."""
    names = ["val/log_likelihood", "train/loss"]
    return [*names, "val/accuracy"] if module.num_classes else names


def _to_tensorboard(
    logger: TensorBoardLogger, settings: dict[str, Setting], measured: list[str]
) -> None:
    r"""Writes settings beside the names of curves.

    Lightning would begin each of these with a value that nobody has measured, or have a curve
    `hp_metric` of -1 in their place.
    """
    from torch.utils.tensorboard.summary import hparams  # only now, because it takes time

    for summary in hparams(settings, dict.fromkeys(measured, 0.0)):
        logger.experiment._get_file_writer().add_summary(summary)
