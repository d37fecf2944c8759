r"""The interface of all objectives: settings in the object, losses out of the call."""

from __future__ import annotations

__all__ = ["Objective", "check_weight"]

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine


class Objective(ABC):
    r"""What training minimizes.

    An objective holds its settings, and is called once per update: with the machine, a batch of
    data, and samples of the machine's prior. The same samples are its negative phase and the
    seeds of its dreams, so that a device is programmed once per update.

    Example:
        >>> class Likelihood(Objective):
        ...     r"Maximizes an importance-sampled likelihood of K particles."
        ...
        ...     def __init__(self, num_particles=5):
        ...         self.num_particles = num_particles
        ...
        ...     def __call__(self, machine, batch, negative, *, generator=None):
        ...         states, log_q = machine.infer(batch, self.num_particles)
        ...         rows = batch.expand(self.num_particles, *batch.shape)
        ...         log_p = machine.log_joint([rows, *states], negative)
        ...         return {"loss": -(log_p - log_q).logsumexp(0).mean()}
        >>> from qahm_torch import BeliefNetwork, QuantumPriorLayer
        >>> networks = BeliefNetwork([6, 3]), BeliefNetwork([3, 6])
        >>> machine = HelmholtzMachine(*networks, QuantumPriorLayer(3))
        >>> losses = Likelihood()(machine, torch.ones(4, 6), machine.prior.draw())
        >>> losses["loss"].backward()
    """

    @abstractmethod
    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        r"""Returns the losses of one update by name, scalars in nats per datum.

        The first is named "loss" and is what backward minimizes; the others are its parts.

        Arguments:
            machine: The machine.
            batch: Data of shape (B, N_visible).
            negative: Samples of the machine's prior, of shape (S, N).
            generator: The source of random numbers; None for torch's own.
        """

    def at(self, epoch: int) -> Objective:
        r"""Returns the objective of an epoch of the training, counted from 0."""
        return self

    def check(self, machine: HelmholtzMachine) -> None:  # noqa: B027
        r"""Raises ValueError if the settings do not fit a machine."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k[:1] != "_")
        return f"{type(self).__name__}({settings})"


def check_weight(name: str, value: float) -> float:
    r"""Returns a weight in a sum of losses; raises ValueError if it is negative or NaN."""
    if not value >= 0:
        raise ValueError(f"{name} is {value}, but a weight is not negative")
    return value
