r"""Pictures of what a machine dreams, in training and after it."""

from __future__ import annotations

__all__ = ["SampleGrid", "as_pictures"]

import math

import pytorch_lightning as pl
import torch
from torch import Tensor

from qahm_torch.evaluation import image_grid, save_figure
from qahm_torch.training.machine_module import MachineModule
from qahm_torch.training.prior_module import boltzmann_of
from qahm_torch.training.processes import run_folder


class SampleGrid(pl.Callback):
    r"""Draws dreams of the machine into the run folder after each validation or training epoch.

    The pictures are the means of the pixels given the first hidden layer, gray or in color, and
    lie in `pictures/` of the logger's folder.

    Arguments:
        num_images: The number of dreams, which stand in whole rows where the number has such near
            its square root; of others, such as 11, the last row lacks as few as may be.
        every_n_epochs: How often to draw.
    """

    def __init__(self, num_images: int = 64, every_n_epochs: int = 1):
        self.num_images = num_images
        self.every_n_epochs = every_n_epochs

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs or not trainer.is_global_zero:
            return
        folder = run_folder(trainer)
        if folder is None or not isinstance(pl_module, MachineModule):
            return
        with torch.random.fork_rng():
            images = _dream_images(pl_module, self.num_images)
        data: pl.LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
        name = f"epoch={trainer.current_epoch:03d}-step={trainer.global_step}.png"
        save_figure(image_grid(as_pictures(images, data)), folder / "pictures" / name)


def as_pictures(pixels: Tensor, data: pl.LightningDataModule | None) -> Tensor:
    r"""Returns rows of pixels (n, num_pixels) as pictures (n, rows, columns), or with 3 colors.

    Their shape is `data.image_shape`, and values beyond [-1, 1], which some units have, are drawn
    as its ends. Without a shape they are squares where they can be, and lines of pixels where they
    cannot.
    """
    shape = getattr(data, "image_shape", None)
    if shape is not None:
        return pixels.reshape(len(pixels), *shape).clamp(-1, 1)
    side = math.isqrt(pixels.shape[-1])
    shape = (side, side) if side * side == pixels.shape[-1] else (1, pixels.shape[-1])
    return pixels.reshape(len(pixels), *shape)


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
