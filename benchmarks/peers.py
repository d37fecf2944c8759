r"""Other people's Gibbs samplers behind one signature, those that are installed."""

from __future__ import annotations

__all__ = ["PEERS", "Peer"]

from collections.abc import Callable, Iterator
from typing import Any

import torch
from installed import is_installed

import qahm_torch as qt

# A peer takes a model, a number of chains and one of sweeps, and returns a call that runs them.
Peer = Callable[[qt.Ising, int, int], Callable[[], object]]


def simulated_annealing(ising: qt.Ising, num_chains: int, num_sweeps: int) -> Callable[[], object]:
    r"""D-Wave's C++ sampler at a fixed temperature with heat-bath acceptance, one thread."""
    from dwave.samplers import SimulatedAnnealingSampler

    sampler, bqm = SimulatedAnnealingSampler(), ising.to_bqm()
    settings = {
        "beta_range": [1.0, 1.0],
        "num_sweeps": num_sweeps,
        "num_reads": num_chains,
        "proposal_acceptance_criteria": "Gibbs",
    }
    return lambda: sampler.sample(bqm, **settings)


def block_sampler(ising: qt.Ising, num_chains: int, num_sweeps: int) -> Callable[[], object]:
    r"""The block Gibbs sampler of dwave-pytorch-plugin."""
    from dwave.plugins.torch.samplers.block_spin_sampler import BlockSampler

    colors = {int(i): c for c, spins in enumerate(ising.graph.color_classes) for i in spins}
    sampler = BlockSampler(_grbm(ising), colors.__getitem__, num_chains, [1.0] * num_sweeps)
    return sampler.sample


def bipartite_sampler(ising: qt.Ising, num_chains: int, num_sweeps: int) -> Callable[[], object]:
    r"""The sampler of dwave-pytorch-plugin for visible and hidden units without edges inside."""
    from dwave.plugins.torch.samplers.bipartite_sampler import BipartiteGibbsSampler

    _, second = ising.graph.color_classes
    model = _grbm(ising, hidden_nodes=second.tolist())
    return BipartiteGibbsSampler(model, num_chains, [1.0] * num_sweeps).sample


def _grbm(ising: qt.Ising, **settings: Any) -> Any:
    from dwave.plugins.torch.models.boltzmann_machine import GraphRestrictedBoltzmannMachine

    nodes, edges = list(range(ising.num_spins)), [tuple(e) for e in ising.graph.edges.tolist()]
    return GraphRestrictedBoltzmannMachine(
        nodes,
        edges,
        linear=dict(zip(nodes, ising.h.tolist(), strict=True)),
        quadratic=dict(zip(edges, ising.J.tolist(), strict=True)),
        **settings,
    )


def thrml(ising: qt.Ising, num_chains: int, num_sweeps: int) -> Callable[[], object]:
    r"""Extropic's block Gibbs sampler in JAX, compiled, all chains in one vmap."""
    import jax
    from thrml import Block, SamplingSchedule, SpinNode, sample_states
    from thrml.models.ising import IsingEBM, IsingSamplingProgram, hinton_init

    nodes = [SpinNode() for _ in range(ising.num_spins)]
    edges = [(nodes[i], nodes[j]) for i, j in ising.graph.edges.tolist()]
    h, J = (-values.numpy() for values in (ising.h, ising.J))  # its energy has the other sign
    model = IsingEBM(nodes, edges, jax.numpy.array(h), jax.numpy.array(J), jax.numpy.array(1.0))
    blocks = [Block([nodes[i] for i in spins.tolist()]) for spins in ising.graph.color_classes]
    program = IsingSamplingProgram(model, blocks, [])
    schedule = SamplingSchedule(num_sweeps, 1, 1)
    start = hinton_init(jax.random.key(0), model, blocks, (num_chains,))
    keys = jax.random.split(jax.random.key(1), num_chains)
    run = jax.jit(
        jax.vmap(lambda key, state: sample_states(key, program, schedule, state, [], blocks))
    )
    return lambda: jax.block_until_ready(run(keys, start))


def two_products(ising: qt.Ising, num_chains: int, num_sweeps: int) -> Callable[[], object]:
    r"""The plain-torch path of this package, which stays as the reference."""
    return _ours(ising, num_chains, num_sweeps, "torch")


def ours(ising: qt.Ising, num_chains: int, num_sweeps: int) -> Callable[[], object]:
    r"""`GibbsSampler` as it is by default, chains running on from call to call."""
    return _ours(ising, num_chains, num_sweeps, "auto")


def _ours(ising: qt.Ising, num_chains: int, num_sweeps: int, backend: str) -> Callable[[], object]:
    sampler = qt.GibbsSampler(num_sweeps, backend=backend)
    state = 2 * torch.randint(2, (num_chains, ising.num_spins), dtype=torch.int8) - 1
    return lambda: sampler.sample(ising, num_chains, state=state)


def _installed() -> Iterator[tuple[str, Peer]]:
    yield "qahm_torch", ours
    yield "qahm_torch, plain torch", two_products
    if is_installed("dwave.samplers"):
        yield "SimulatedAnnealingSampler", simulated_annealing
    if is_installed("dwave.plugins.torch"):
        yield "BlockSampler", block_sampler
        yield "BipartiteGibbsSampler", bipartite_sampler
    if is_installed("thrml"):
        yield "thrml", thrml


PEERS: dict[str, Peer] = dict(_installed())
