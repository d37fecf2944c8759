r"""A step of a discrete variational autoencoder, ours and that of dwave-pytorch-plugin."""

from __future__ import annotations

__all__ = ["steps"]

from collections.abc import Callable, Iterable

import torch
from installed import is_installed
from torch import nn

import qahm_torch as qt

NUM_VISIBLE, NUM_SPINS, WIDTH = 784, 128, 500
BATCH_SIZE, NUM_CHAINS, NUM_SWEEPS = 100, 256, 10

Step = Callable[[], None]


def steps() -> dict[str, Step]:
    r"""Returns a training step by name: the same networks, prior, chains, sweeps and optimizer.

    That of the plugin is left out where it is not installed. Both draw spins straight through at
    temperature 1/7, and run their chains on from step to step.
    """
    batch = (torch.rand(BATCH_SIZE, NUM_VISIBLE) < 0.2).float()
    found = {"ours": _ours(batch)}
    if is_installed("dwave.plugins.torch"):
        found["dwave-pytorch-plugin"] = _plugin(batch)
    return found


def _ours(batch: torch.Tensor) -> Step:
    prior = qt.QuantumPriorLayer(
        qt.CouplingGraph.bipartite(NUM_SPINS // 2, NUM_SPINS // 2),
        num_samples=NUM_CHAINS,
        sampler=qt.GibbsSampler(num_sweeps=NUM_SWEEPS),
    )
    machine = qt.DiscreteVAE(*_networks(), prior, num_visible=NUM_VISIBLE, hard=True)
    objective, optimizer = qt.RelaxedELBO(), _optimizer(machine.parameters())
    spins = 2 * batch - 1

    def step() -> None:
        loss = objective(machine, spins, prior.draw())["loss"]
        _update(optimizer, loss)

    return step


def _plugin(batch: torch.Tensor) -> Step:
    from dwave.plugins.torch.models.boltzmann_machine import GraphRestrictedBoltzmannMachine
    from dwave.plugins.torch.models.discrete_variational_autoencoder import (
        DiscreteVariationalAutoencoder,
    )
    from dwave.plugins.torch.models.losses.kl_divergence import pseudo_kl_divergence_loss
    from dwave.plugins.torch.samplers.block_spin_sampler import BlockSampler

    graph = qt.CouplingGraph.bipartite(NUM_SPINS // 2, NUM_SPINS // 2)
    edges = [tuple(edge) for edge in graph.edges.tolist()]
    prior = GraphRestrictedBoltzmannMachine(list(range(NUM_SPINS)), edges)
    schedule = [1.0] * NUM_SWEEPS
    sampler = BlockSampler(prior, lambda spin: spin >= NUM_SPINS // 2, NUM_CHAINS, schedule)
    model = DiscreteVariationalAutoencoder(*_networks())
    optimizer = _optimizer([*model.parameters(), *prior.parameters()])
    entropy = nn.functional.binary_cross_entropy_with_logits

    def step() -> None:
        logits, spins, decoded = model(batch, n_samples=1)
        reconstruction = entropy(decoded.squeeze(1), batch, reduction="sum") / len(batch)
        divergence = pseudo_kl_divergence_loss(spins, logits, sampler.sample(), prior)
        _update(optimizer, reconstruction + divergence)

    return step


def _networks() -> tuple[nn.Module, nn.Module]:
    def network(num_inputs: int, num_outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(num_inputs, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, num_outputs),
        )

    return network(NUM_VISIBLE, NUM_SPINS), network(NUM_SPINS, NUM_VISIBLE)


def _optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


def _update(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
