r"""Dreams of a trained model, whether a machine or a prior alone."""

from __future__ import annotations

__all__ = ["Dreams", "draw"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.cli.arguments import Trained, TrainedPrior
from qahm_torch.cli.mistakes import UsageError
from qahm_torch.nn import class_dreams
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import AnnealedSampler


class Dreams(NamedTuple):
    r"""Visible states (n, num_visible), and pixels (n, num_pixels) as pictures show them.

    The pixels of a machine are means, given its first hidden layer; those of a prior alone are
    spins.
    """

    visible: Tensor
    pixels: Tensor


@torch.no_grad()
def draw(
    trained: Trained | TrainedPrior, num: int, num_temperatures: int, label: int | None = None
) -> Dreams:
    r"""Returns dreams whose prior is annealed, so that they are independent.

    Raises:
        UsageError: If there is a label, and the model has no such class.
    """
    if label is not None:
        _check_class(trained, label)
    prior = trained.prior if isinstance(trained, TrainedPrior) else trained.machine.prior
    if isinstance(prior, BoltzmannPrior):
        prior.sampler = AnnealedSampler(num_temperatures)
    if isinstance(trained, TrainedPrior):
        visible = prior.to_visible(prior.sample(num))
        return Dreams(visible, visible[:, : trained.data.num_features])
    machine = trained.machine
    if label is None:
        dream = machine.dream(num)
    else:
        dream = class_dreams(machine, torch.full((num,), label))
    return Dreams(dream[-1], machine.generator.mean(dream[-2])[:, : machine.num_pixels])


def _check_class(trained: Trained | TrainedPrior, label: int) -> None:
    if isinstance(trained, TrainedPrior):
        raise UsageError(f"--class is {label}, but a prior alone has no class units")
    num_classes = trained.machine.num_classes
    if num_classes == 0:
        raise UsageError(f"--class is {label}, but the machine has no class units")
    if label >= num_classes:
        raise UsageError(f"--class is {label}, but the classes are 0 to {num_classes - 1}")
