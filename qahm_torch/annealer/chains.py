r"""Where a model is on a chip: which chain of qubits stands for which spin."""

from __future__ import annotations

__all__ = ["Placement", "listed"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qahm_torch.annealer.layout import Layout, lay_out
from qahm_torch.annealer.search import Chains
from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import PlacementError
from qahm_torch.ising import CouplingGraph


@dataclass(frozen=True)
class Placement:
    r"""A chain of qubits for each spin of each copy of a model, an immutable value.

    In a minor embedding, spin :math:`i` of the model is a connected set of qubits, its chain, and
    each coupling :math:`J_{ij}` is on the couplers between two chains.

    Arguments:
        chains: The qubits of each spin of each copy: copies of spins, in the model's order, of
            qubits.

    Raises:
        ValueError: If a chain is empty, a qubit comes twice or copies differ in their spins.

    References:
        Minor-Embedding in Adiabatic Quantum Computation: I. The Parameter Setting Problem (Choi,
        2008, https://arxiv.org/abs/0804.4884)

    Example:
        >>> placement = Placement((((0, 4), (1,)),))
        >>> placement.num_copies, placement.num_spins, placement.qubits
        (1, 2, (0, 1, 4))
    """

    chains: tuple[Chains, ...]

    def __post_init__(self) -> None:
        chains = tuple(tuple(tuple(map(int, c)) for c in copy) for copy in self.chains)
        object.__setattr__(self, "chains", chains)
        _check_chains(chains)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Placement:
        r"""Returns the placement that `state` was called on."""
        return cls(tuple(state["chains"]))

    def state(self) -> dict[str, Any]:
        r"""Returns plain containers, which load with `weights_only`."""
        return {"chains": [[list(chain) for chain in copy] for copy in self.chains]}

    @property
    def num_copies(self) -> int:
        return len(self.chains)

    @property
    def num_spins(self) -> int:
        return len(self.chains[0])

    @property
    def qubits(self) -> tuple[int, ...]:
        r"""All used qubits in increasing order."""
        return tuple(sorted(q for copy in self.chains for chain in copy for q in chain))

    @property
    def chain_lengths(self) -> tuple[tuple[int, ...], ...]:
        r"""The number of qubits of each spin, for each copy."""
        return tuple(tuple(map(len, copy)) for copy in self.chains)

    def faults(self, graph: CouplingGraph, chip: Chip) -> list[str]:
        r"""Returns in words what does not hold for a model on a chip; nothing if it is valid."""
        from dwave.embedding import diagnose_embedding

        if graph.num_spins != self.num_spins:
            return [f"the placement is of {self.num_spins} spins, the model has {graph.num_spins}"]
        source, target = graph.to_networkx(labeled=False), chip.graph()
        return [
            _in_words(error.__name__, details) + (f" in copy {k}" if self.num_copies > 1 else "")
            for k, copy in enumerate(self.chains)
            for error, *details in diagnose_embedding(dict(enumerate(copy)), source, target)
        ]

    def arrays(self, graph: CouplingGraph, chip: Chip) -> Layout:
        r"""Returns the qubits and couplers that are used, with the spins and edges they are of.

        Couplers between chains whose spins are not coupled, or of different copies, are left out.

        Raises:
            PlacementError: If the placement is not valid for the model on the chip.
        """
        layout = lay_out(self.chains, graph, chip)
        missing = not set(self.qubits) <= set(chip.qubits.tolist())
        coupled = graph.num_spins == self.num_spins and bool((layout.multiplicity > 0).all())
        if missing or not coupled:
            raise PlacementError(listed(self.faults(graph, chip)))
        return layout


def listed(faults: list[str]) -> str:
    r"""Returns the first faults of a placement in a sentence."""
    more = f" and {len(faults) - 3} more faults" if len(faults) > 3 else ""
    return f"the placement is not valid: {'; '.join(faults[:3])}{more}"


def _in_words(error: str, details: list[int]) -> str:
    if error == "InvalidNodeError":
        return f"qubit {details[1]} of spin {details[0]} is missing"
    if error == "DisconnectedChainError":
        return f"the chain of spin {details[0]} is broken apart"
    i, j = sorted(details[-2:])
    return f"there is no coupler between the chains of spins {i} and {j}"


def _check_chains(chains: tuple[Chains, ...]) -> None:
    if not chains or not chains[0] or any(len(copy) != len(chains[0]) for copy in chains):
        raise ValueError("a placement is of one or more copies of the same number of spins")
    seen: set[int] = set()
    for copy in chains:
        for spin, chain in enumerate(copy):
            if not chain:
                raise ValueError(f"spin {spin} has no qubit")
            twice = seen.intersection(chain) or len(set(chain)) < len(chain)
            if twice:
                raise ValueError(f"chain {chain} of spin {spin} has a qubit that is taken")
            seen.update(chain)
