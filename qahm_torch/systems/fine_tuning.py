r"""A machine of one kind of digits as the start of a machine of another kind."""

from __future__ import annotations

__all__ = ["ALL", "NETWORKS", "SCRATCH", "STARTS", "FineTuning"]

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qahm_torch.data import TensorDataModule
from qahm_torch.nn import HelmholtzMachine, load_fitting
from qahm_torch.systems.digit_machine import DigitMachine, look_at, some

SCRATCH, NETWORKS, ALL = "from scratch", "networks taken", "networks and prior taken"
STARTS = (SCRATCH, NETWORKS, ALL)


@dataclass(frozen=True)
class FineTuning:
    r"""How a machine is trained on its source, and then on targets.

    Arguments:
        targets: The digits that it is fine-tuned to: optdigits, or rotated ones of the source.
        num_train: The number of training images of a target, at most.
        num_source_updates: The number of updates on the source.
        num_updates: The number of updates on a target.
        num_looks: How often the likelihood is looked at on the way, beside the start.
        num_val: The number of validation images of a target.
        num_test: The number of test images.
        num_particles: The number of particles of a likelihood.
    """

    targets: tuple[str, ...] = ("optdigits", "rotated")
    num_train: int = 1000
    num_source_updates: int = 2000
    num_updates: int = 600
    num_looks: int = 8
    num_val: int = 200
    num_test: int = 400
    num_particles: int = 50

    def source(self, data: TensorDataModule, kind: DigitMachine) -> HelmholtzMachine:
        r"""Returns a machine that has learned the source."""
        _set_up(data)
        machine = kind.new()
        kind.train(
            machine,
            lambda: data.transform(some(data.train, kind.batch_size)),
            self.num_source_updates,
            num_looks=1,
            look=lambda: None,
        )
        return machine

    def run(
        self, source: HelmholtzMachine, start: str, data: TensorDataModule, kind: DigitMachine
    ) -> dict[str, Any]:
        r"""Returns likelihoods of validation images from the start on, and that of test images.

        The test is of the state that is best in validation.
        """
        _set_up(data)
        machine = kind.new()
        state = _kept(source.state_dict(), start)
        num_taken = len(load_fitting(machine, state).taken) if state else 0
        val, test = (
            torch.cat(list(loader))[:number]
            for loader, number in (
                (data.val_dataloader(), self.num_val),
                (data.test_dataloader(), self.num_test),
            )
        )
        nats: list[float] = []
        best = {"state": machine.state_dict()}

        def look() -> None:
            nats.append(self._nats(machine, val))
            if nats[-1] == max(nats):
                best["state"] = copy.deepcopy(machine.state_dict())

        look_at(machine, look)
        train = data.train[: self.num_train]
        kind.train(
            machine,
            lambda: data.transform(some(train, kind.batch_size)),
            self.num_updates,
            num_looks=self.num_looks,
            look=look,
            falls=False,
        )
        machine.load_state_dict(best["state"])
        tested: list[float] = []
        look_at(machine, lambda: tested.append(self._nats(machine, test)))
        return {"nats": nats, "test_nats": tested[0], "num_taken": num_taken}

    def updates(self) -> list[int]:
        r"""Returns the numbers of updates after which the likelihood is looked at."""
        return [-(-self.num_updates * k // self.num_looks) for k in range(self.num_looks + 1)]

    def _nats(self, machine: HelmholtzMachine, rows: Tensor) -> float:
        with torch.no_grad():
            return float(machine.log_prob(rows, self.num_particles).double().mean())


def _set_up(data: TensorDataModule) -> None:
    data.prepare_data()
    data.setup()


def _kept(state: Mapping[str, Any], start: str) -> dict[str, Any]:
    r"""Returns what a start takes of the state of the source."""
    if start == SCRATCH:
        return {}
    return {n: x for n, x in state.items() if start == ALL or not n.startswith("prior.")}
