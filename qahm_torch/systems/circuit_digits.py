r"""Priors of as many units each, in a Helmholtz machine of digits."""

from __future__ import annotations

__all__ = ["PRIORS", "fit_digits"]

from typing import Any

import torch
from torch import Tensor

from qahm_torch.data import OptDigits
from qahm_torch.evaluation import log_likelihood
from qahm_torch.ising import CouplingGraph
from qahm_torch.nn import BeliefNetwork, ContinuousSpins, HelmholtzMachine, Prior
from qahm_torch.objectives import ReweightedWakeSleep
from qahm_torch.priors import BoltzmannPrior, CircuitPrior, QuantumPriorLayer
from qahm_torch.samplers import ExactSampler
from qahm_torch.systems.circuit_patterns import layers_of

PRIORS = ("independent", "Boltzmann", "RY RZ CNOT, 4", "RX RZ XX, 2")
NUM_SAMPLES = 256  # of an update: dreams, and the negative phase of a Boltzmann machine


def prior_of(arm: str, num_units: int) -> Prior:
    r"""Returns an untrained prior."""
    if arm not in ("independent", "Boltzmann"):
        return CircuitPrior(num_units, layers_of(arm), NUM_SAMPLES)
    graph = CouplingGraph(num_units, []) if arm == "independent" else num_units
    return QuantumPriorLayer(graph, sampler=ExactSampler(), num_samples=NUM_SAMPLES)


def fit_digits(
    arm: str,
    num_units: int,
    num_hidden: int,
    num_epochs: int,
    lr: float,
    prior_lr: float,
    num_particles: int,
) -> dict[str, Any]:
    r"""Returns the test log-likelihood of a machine that has this prior, in nats of density."""
    data = OptDigits(classes=False)
    data.setup()
    widths = [data.num_visible, num_hidden, num_units]
    generator = BeliefNetwork(widths[::-1], output=ContinuousSpins(data.num_visible))
    machine = HelmholtzMachine(BeliefNetwork(widths), generator, prior_of(arm, num_units))
    objective = ReweightedWakeSleep(num_particles=5)
    networks = [*machine.recognition.parameters(), *machine.generator.parameters()]
    groups: list[dict[str, Any]] = [
        {"params": networks},
        {"params": list(machine.prior.parameters()), "lr": prior_lr},
    ]
    optimizer = torch.optim.Adam(groups, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_epochs)
    for _ in range(num_epochs):
        for batch in data.train_dataloader():
            loss = objective(machine, batch, machine.prior.draw())["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    if isinstance(machine.prior, BoltzmannPrior):
        machine.prior.estimate_log_z()  # by enumeration
    loaders = {"validation": data.val_dataloader(), "test": data.test_dataloader()}
    scores = {
        part: log_likelihood(machine, _rows(loader), log_z=None, num_particles=num_particles)
        for part, loader in loaders.items()
    }
    num_parameters = sum(p.numel() for p in machine.prior.parameters())
    return {"num_parameters": num_parameters, **{k: score.value for k, score in scores.items()}}


def _rows(loader: Any) -> Tensor:
    return torch.cat(list(loader))
