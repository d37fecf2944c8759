r"""What a training gives to the boards of its loggers besides curves: pictures and histograms.

Lightning's loggers share curves only. TensorBoard, Weights & Biases and MLflow take more, each by
calls of its own; another logger is left alone.
"""

from __future__ import annotations

__all__ = ["show_histograms", "show_picture", "takes_pictures"]

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor

from qahm_torch.evaluation import figure_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TAKE_PICTURES = (TensorBoardLogger, WandbLogger, MLFlowLogger)


def takes_pictures(trainer: pl.Trainer) -> bool:
    r"""Returns whether a logger of a trainer shows pictures."""
    return any(isinstance(logger, _TAKE_PICTURES) for logger in trainer.loggers)


def show_picture(trainer: pl.Trainer, name: str, figure: Figure) -> None:
    r"""Gives a figure to those loggers of a trainer that show pictures.

    To be called in the first process only, which alone has loggers.

    Arguments:
        trainer: The trainer, which knows the number of updates.
        name: What the picture is of; those of one name are shown in a row.
        figure: The figure.
    """
    if not takes_pictures(trainer):
        return
    pixels, step = figure_pixels(figure), trainer.global_step
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [pixels], step)
        elif isinstance(logger, MLFlowLogger):
            run = logger.run_id or ""
            logger.experiment.log_image(run, pixels, key=name, step=step)


def show_histograms(trainer: pl.Trainer, values: Mapping[str, Tensor]) -> None:
    r"""Gives histograms of values to those loggers of a trainer that show some; MLflow does not.

    Values that are not finite have no place in a histogram and are left out, so that a training
    that diverges can be watched. Of nothing there is no histogram. To be called in the first
    process only, which alone has loggers.

    Arguments:
        trainer: The trainer, which knows the number of updates.
        values: The values by name, of any shape.
    """
    finite = {name: tensor.detach().cpu().flatten() for name, tensor in values.items()}
    finite = {name: tensor[tensor.isfinite()] for name, tensor in finite.items()}
    arrays = {name: tensor.double().numpy() for name, tensor in finite.items() if len(tensor)}
    for logger in trainer.loggers if arrays else ():
        if isinstance(logger, TensorBoardLogger):
            for name, array in arrays.items():
                logger.experiment.add_histogram(name, array, trainer.global_step)
        elif isinstance(logger, WandbLogger):
            histogram = import_module("wandb").Histogram  # it is there if its logger is
            shown = {name: histogram(array) for name, array in arrays.items()}
            logger.log_metrics(shown, trainer.global_step)
