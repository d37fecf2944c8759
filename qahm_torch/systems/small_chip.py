r"""A simulated chip so small that the law of all its qubits is enumerated."""

from __future__ import annotations

__all__ = ["SmallChip"]

from collections.abc import Sequence
from typing import Any

import networkx as nx
import torch

from qahm_torch.annealer import (
    AnnealerSampler,
    EmbeddedPrior,
    PlacementSettings,
    ProgramSettings,
)
from qahm_torch.annealer.placement import Placement
from qahm_torch.ising import CouplingGraph, Ising
from qahm_torch.simulator import SimulatedAnnealer

NUM_SPINS, MAX_QUBITS = 16, 20
STRAND_COUPLING = 4.0  # times beta; it breaks in 3 of 10 000 places by thermal flips alone


class SmallChip:
    r"""A few qubits of a Zephyr chip, one for most of 16 spins and two for some of them.

    The spins are those of the cell in the middle of the chip. What there are more of qubits than
    of spins lengthens strands, which adds couplings. The law of a device with lasting errors is
    known, that of :math:`\beta (h + \delta h)` and :math:`\beta (J + \delta J)`.

    Arguments:
        num_qubits: The number of qubits, from 16 to 20.
        beta: The inverse temperature, which is told.
        strength: The standard deviation of the lasting errors of fields and couplings.
        seed: Chooses the errors and the random numbers.

    Raises:
        ValueError: If the number of qubits is not from 16 to 20.
    """

    def __init__(self, num_qubits: int, beta: float, strength: float = 0.0, seed: int = 0):
        if not NUM_SPINS <= num_qubits <= MAX_QUBITS:
            raise ValueError(
                f"num_qubits is {num_qubits}, but {NUM_SPINS} spins need as many, and more than"
                f" {MAX_QUBITS} are not enumerated"
            )
        self.beta = beta
        self.device = SimulatedAnnealer(
            *("zephyr", 1),
            beta=beta,
            h_error=strength,
            J_error=strength,
            chip_seed=seed,
            seed=seed,
        )
        qubits = self.device.to_networkx_graph()
        by_degree = sorted(sorted(qubits), key=lambda q: -qubits.degree(q))
        cell = [(q,) for q in sorted(by_degree[:NUM_SPINS])]
        chip = AnnealerSampler(self.device).chip
        placement = Placement((tuple(cell),)).grown(_coupled(cell, qubits), chip, num_qubits)
        self.strands = placement.strands[0]
        self.graph = _coupled(self.strands, qubits)

    def sampler(self, num_gauges: int = 0) -> AnnealerSampler:
        r"""Returns the sampler of machines on `graph`."""
        embedding = dict(enumerate(self.strands))
        return AnnealerSampler(
            self.device,
            beta=self.beta,
            placement=PlacementSettings(method="given", embedding=embedding),
            programming=ProgramSettings(
                range_policy="clip", chain_strength=STRAND_COUPLING, num_gauges=num_gauges
            ),
        )

    def embedded(self, num_samples: int) -> EmbeddedPrior:
        r"""Returns the prior with a parameter of each qubit and coupler, on the device."""
        sampler = AnnealerSampler(
            self.device,
            beta=self.beta,
            programming=ProgramSettings(range_policy="clip", num_gauges=0),
        )
        graph = sampler.chip.coupling_graph()
        return EmbeddedPrior(
            graph,
            self.strands,
            sampler=sampler,
            num_samples=num_samples,
            strand_coupling=STRAND_COUPLING,
        )

    @torch.no_grad()
    def programmed(self, machine: Ising) -> EmbeddedPrior:
        r"""Returns the prior on all qubits that a machine on `graph` is programmed as."""
        prior = self.embedded(num_samples=1)
        sizes = torch.tensor([len(strand) for strand in self.strands])
        prior.h.copy_((machine.h / sizes)[prior.strand_of])
        pairs = prior.strand_of[prior.graph.edges].sort(-1).values
        place = {tuple(edge): k for k, edge in enumerate(machine.graph.edges.tolist())}
        places = torch.tensor([place.get((int(i), int(j)), -1) for i, j in pairs])
        counts = torch.bincount(places[places >= 0], minlength=machine.graph.num_edges)
        prior.J.copy_((machine.J / counts)[places])
        prior.J[prior.inside_strands] = -STRAND_COUPLING
        return prior

    @torch.no_grad()
    def law(self, prior: EmbeddedPrior) -> EmbeddedPrior:
        r"""Returns the prior that the device follows when it is programmed with another one."""
        fields, couplings = self.device.control_errors
        labels = prior.graph.labels
        both: dict[Any, float] = {(v, u): error for (u, v), error in couplings.items()}
        both.update(couplings)
        errors = [both[labels[i], labels[j]] for i, j in prior.graph.edges.tolist()]
        law = self.embedded(num_samples=1)
        law.h.copy_(prior.h + self.beta * torch.tensor([fields[q] for q in labels]))
        law.J.copy_(prior.J + self.beta * torch.tensor(errors))
        return law


def _coupled(strands: Sequence[Sequence[int]], qubits: nx.Graph) -> CouplingGraph:
    r"""Returns the graph of the pairs of strands that a coupler joins."""
    owner = {q: k for k, strand in enumerate(strands) for q in strand}
    pairs = {
        (min(owner[u], owner[v]), max(owner[u], owner[v])) for u, v in qubits.subgraph(owner).edges
    }
    return CouplingGraph(len(strands), sorted(pair for pair in pairs if pair[0] != pair[1]))
