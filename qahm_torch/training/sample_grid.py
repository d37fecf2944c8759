r"""Pictures of what a machine dreams and of what it makes of data, in training and after it."""

from __future__ import annotations

__all__ = ["SampleGrid", "as_pictures"]

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from qahm_torch.evaluation import data_and_reconstructed, image_grid, save_figure
from qahm_torch.training.boards import show_picture, takes_pictures
from qahm_torch.training.machine_module import MachineModule
from qahm_torch.training.prior_module import boltzmann_of
from qahm_torch.training.processes import run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SampleGrid(pl.Callback):
    r"""Draws dreams of the machine, and validation images that it has reconstructed.

    They are drawn after training epochs, into `pictures/` and `pictures/reconstructed/` of the
    first logger's folder, and shown as `dreams` and `reconstructed` on the boards of TensorBoard,
    W&B and MLflow. Dreams are the means of the pixels given the first hidden layer, and
    reconstructions those after a trip to the deepest layer and back. Where the data are no images,
    or nothing is validated, nothing is reconstructed.

    Arguments:
        num_images: The number of dreams.
        every_n_epochs: How often to draw.
        num_reconstructed: The number of validation images that are reconstructed; the first ones
            of the first batch.

    Raises:
        ValueError: If there is no image to draw, or `every_n_epochs` is not positive.

    Example:
        >>> trainer = pl.Trainer(callbacks=[SampleGrid(every_n_epochs=10)], logger=False)
    """

    def __init__(self, num_images: int = 64, every_n_epochs: int = 1, num_reconstructed: int = 10):
        if num_images < 1:
            raise ValueError(f"num_images is {num_images}, but at least 1 image is needed")
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs is {every_n_epochs}, but at least 1 is needed")
        if num_reconstructed < 0:
            raise ValueError(f"num_reconstructed is {num_reconstructed}, but 0 is the least")
        self.num_images = num_images
        self.every_n_epochs = every_n_epochs
        self.num_reconstructed = num_reconstructed
        self._rows: Tensor | None = None  # of the validation data

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        is_first = batch_idx == 0 and dataloader_idx == 0 and trainer.is_global_zero
        if is_first and self.num_reconstructed > 0 and isinstance(pl_module, MachineModule):
            # A copy, which does not keep the rest of the batch.
            self._rows = pl_module.states_of(batch)[: self.num_reconstructed].clone()

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs or not trainer.is_global_zero:
            return
        folder = run_folder(trainer)
        is_seen = folder is not None or takes_pictures(trainer)
        if not is_seen or not isinstance(pl_module, MachineModule):
            return
        data: pl.LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
        with torch.random.fork_rng():
            dreams = _dream_images(pl_module, self.num_images)
            pairs = self._reconstructed(pl_module, data)
        name = f"epoch={trainer.current_epoch:03d}-step={trainer.global_step}.png"
        _draw(trainer, "dreams", image_grid(_on_gray(dreams, data)), folder, name)
        if pairs is not None:
            above, below = (_on_gray(rows, data) for rows in pairs)
            figure = data_and_reconstructed(above, below)
            _draw(trainer, "reconstructed", figure, folder, f"reconstructed/{name}")

    def _reconstructed(
        self, module: MachineModule, data: pl.LightningDataModule | None
    ) -> tuple[Tensor, Tensor] | None:
        r"""Returns pixels of the data and of their reconstructions, if there are images."""
        rows, machine = self._rows, module.machine
        if rows is None or getattr(data, "image_shape", None) is None:
            return None
        rows = rows.to(module.device)
        found = machine.reconstruct(rows)
        return rows[:, : machine.num_pixels], found[:, : machine.num_pixels]


def as_pictures(pixels: Tensor, data: pl.LightningDataModule | None) -> Tensor:
    r"""Returns rows of pixels (n, num_pixels) as pictures (n, rows, columns).

    Their shape is `data.image_shape`; without one they are squares where they can be, and lines of
    pixels where they cannot.
    """
    shape = getattr(data, "image_shape", None)
    if shape is None:
        side = math.isqrt(pixels.shape[-1])
        shape = (side, side) if side * side == pixels.shape[-1] else (1, pixels.shape[-1])
    return pixels.reshape(-1, *shape)


def _draw(trainer: pl.Trainer, title: str, figure: Figure, folder: Path | None, name: str) -> None:
    r"""Saves a figure among the pictures of a run, and shows it on boards."""
    if folder is not None:
        save_figure(figure, folder / "pictures" / name)
    show_picture(trainer, title, figure)


def _on_gray(pixels: Tensor, data: pl.LightningDataModule | None) -> Tensor:
    r"""Returns pictures from black to white, with missing pixels between the two."""
    return as_pictures(pixels, data).nan_to_num(0.0).clamp(-1, 1)


def _dream_images(module: MachineModule, num_images: int) -> Tensor:
    r"""Returns the mean pixels of dreams, of shape (n, num_pixels)."""
    first = _first_layer(module, num_images)
    return module.machine.generator.mean(first)[:, : module.machine.num_pixels]


def _first_layer(module: MachineModule, num_images: int) -> Tensor:
    r"""Returns states of the layer next to the pixels, without asking a device that bills."""
    machine, negative, prior = module.machine, module.negative, boltzmann_of(module)
    if negative is None or prior is None or not prior.sampler.is_billed:
        return machine.dream(num_images)[-2]
    seeds = prior.to_visible(negative.spins.to(prior.h)[:num_images])
    return [seeds, *machine.generator.sample(seeds)][-2]
