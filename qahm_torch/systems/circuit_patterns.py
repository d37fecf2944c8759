r"""Bars and stripes, learned by circuits: from the likelihood, or from readings alone."""

from __future__ import annotations

__all__ = ["CIRCUITS", "READINGS", "fit_by_likelihood", "fit_by_mmd", "milliseconds"]

import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qahm_torch.data import BarsAndStripes
from qahm_torch.ising import all_states
from qahm_torch.nn import Prior
from qahm_torch.priors import (
    CircuitPrior,
    PennyLanePrior,
    SampledMMD,
    SemiQuantumPrior,
    gaussian_kernel,
    hardware_efficient,
    trapped_ion,
)

FAMILIES: dict[str, Callable[[int], Sequence[str]]] = {
    "RX RZ CZ": hardware_efficient,
    "RY RZ CNOT": lambda n: hardware_efficient(n, ("RY", "RZ"), "CNOT"),
    "RX RZ XX": trapped_ion,
}
CIRCUITS = ("RX RZ CZ, 4", "RX RZ CZ, 8", "RY RZ CNOT, 4", "RY RZ CNOT, 8", "RX RZ XX, 2")
READINGS, EXACT_MMD = "MMD, readings", "MMD, exact"
REPEATS = 7


def layers_of(circuit: str) -> Sequence[str]:
    r"""Returns the layers of a circuit, told by its gates and its number of layers."""
    gates, _, num_layers = circuit.partition(", ")
    return FAMILIES[gates](int(num_layers))


def fit_by_likelihood(arm: str, side: int, num_updates: int, lr: float) -> dict[str, Any]:
    r"""Returns the exact log-likelihood of a circuit, or of a machine of so many hidden units."""
    patterns = _patterns(side)
    prior: CircuitPrior | SemiQuantumPrior
    if arm.startswith("RBM"):
        prior = SemiQuantumPrior(side**2, int(arm.split(", ")[1]), num_operators=1)
    else:
        prior = CircuitPrior(side**2, layers_of(arm))
    curve = _descend(prior, patterns, lambda: -prior(patterns).mean(), num_updates, lr)
    return {"num_parameters": prior.num_parameters, **curve}


def fit_by_mmd(
    arm: str,
    circuit: str,
    side: int,
    num_updates: int,
    lr: float,
    num_samples: int,
    bandwidths: Sequence[float],
) -> dict[str, Any]:
    r"""Returns the exact log-likelihood of a circuit that descends another loss, or that one."""
    patterns = _patterns(side)
    prior = CircuitPrior(side**2, layers_of(circuit))
    states = all_states(side**2, patterns.dtype)
    kernel = gaussian_kernel(states, states, bandwidths)
    law = (patterns[:, None] == states).all(-1).to(patterns).mean(0)

    def exact() -> Tensor:
        gap = prior.probabilities() - law
        return gap @ kernel @ gap

    sampled = SampledMMD(bandwidths, num_samples)
    losses: dict[str, Callable[[], Tensor]] = {
        READINGS: lambda: sampled(prior, patterns),
        EXACT_MMD: exact,
    }
    loss = losses.get(arm, lambda: -prior(patterns).mean())
    curve = _descend(prior, patterns, loss, num_updates, lr)
    num_circuits = 2 * prior.num_parameters + 1
    return {**curve, "mmd": exact().item(), "circuits_per_update": num_circuits}


def milliseconds(circuit: str, num_qubits: int) -> dict[str, Any]:
    r"""Returns the median time of a likelihood and its gradient, here and by PennyLane."""
    layers = layers_of(circuit)
    priors: dict[str, CircuitPrior] = {"torch": CircuitPrior(num_qubits, layers)}
    if importlib.util.find_spec("pennylane") is not None:
        priors["pennylane"] = PennyLanePrior(num_qubits, layers)
    spins = torch.randint(2, (100, num_qubits)) * 2.0 - 1
    taken: dict[str, list[float]] = {name: [] for name in priors}
    for _ in range(REPEATS):
        for name, prior in priors.items():
            begin = time.perf_counter()
            (-prior(spins).mean()).backward()
            taken[name].append(1000 * (time.perf_counter() - begin))
    return {name: round(statistics.median(times), 2) for name, times in taken.items()}


def _patterns(side: int) -> Tensor:
    data = BarsAndStripes(side)
    data.setup()
    return data.train


def _descend(
    prior: Prior, patterns: Tensor, loss: Callable[[], Tensor], num_updates: int, lr: float
) -> dict[str, Any]:
    r"""Descends a loss; returns the exact log-likelihood on the way, and the mass of patterns."""
    optimizer = torch.optim.Adam(prior.parameters(), lr=lr)
    curve, every = [], max(1, num_updates // 20)
    for update in range(num_updates + 1):
        if update % every == 0:
            with torch.no_grad():
                values = prior(patterns)
            curve.append(values.mean().item())
        if update < num_updates:
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    return {"nats": curve[-1], "curve": curve, "mass": values.exp().sum().item()}
