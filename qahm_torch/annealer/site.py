r"""What is known of one model on one chip: where it is, and at what temperature."""

from __future__ import annotations

__all__ = ["Site", "SiteSettings"]

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from qahm_torch.annealer.placement import Layout, Method, Placement, place
from qahm_torch.annealer.temperature import BetaTracker
from qahm_torch.device.chip import Chip
from qahm_torch.ising import CouplingGraph


class SiteSettings(NamedTuple):
    r"""How models are placed, and what is assumed of the temperature before it is measured."""

    placement: Method = "auto"
    embedding: Mapping[Any, Sequence[int]] | None = None
    copies: int | Literal["auto"] = 1
    seed: int = 0
    initial_beta: float = 1.0
    drift: float = 0.02


class Site:
    r"""The placement of a graph on a chip, with the temperature at which the chip samples it.

    Arguments:
        graph: The graph of the model.
        chip: The chip.
        settings: How to place it, where it has not been placed before.
        learned: The `state_dict` of an earlier site of the same graph. Its placement is kept where
            it is still possible; otherwise `moved` says why it is not.
    """

    def __init__(
        self,
        graph: CouplingGraph,
        chip: Chip,
        settings: SiteSettings,
        learned: dict[str, Any] | None = None,
    ):
        self.graph = graph
        self.chip = chip
        self.tracker = BetaTracker(settings.initial_beta, settings.drift)
        self.moved: str | None = None
        placement = None
        if learned is not None:
            self.tracker.load_state_dict(learned["tracker"])
            placement = Placement.from_state(learned["placement"])
            faults = placement.faults(graph, chip)
            if faults:
                self.moved, placement = faults[0], None
        if placement is None:
            placement = place(
                graph,
                chip,
                settings.placement,
                embedding=settings.embedding,
                copies=settings.copies,
                seed=settings.seed,
            )
        self.placement = placement
        self._layouts: dict[tuple[int, ...], tuple[CouplingGraph, Tensor, Layout]] = {}

    @property
    def num_copies(self) -> int:
        return self.placement.num_copies

    def part(self, free: Sequence[int]) -> tuple[CouplingGraph, Tensor, Layout]:
        r"""Returns the graph of some spins, the positions of its edges, and where it is."""
        key = tuple(free)
        if key not in self._layouts:
            graph, edges = self.graph.subgraph(key)
            if len(key) == self.graph.num_spins:
                graph, edges = self.graph, torch.arange(self.graph.num_edges)
            chains = tuple(tuple(copy[i] for i in key) for copy in self.placement.chains)
            self._layouts = {} if len(self._layouts) > 64 else self._layouts
            self._layouts[key] = (graph, edges, Placement(chains).arrays(graph, self.chip))
        return self._layouts[key]

    @staticmethod
    def is_of(state: dict[str, Any], graph: CouplingGraph) -> bool:
        r"""Whether a state is of this graph."""
        return CouplingGraph(state["num_spins"], state["edges"], state["labels"]) == graph

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_spins": self.graph.num_spins,
            "edges": self.graph.edges,
            "labels": list(self.graph.labels),
            "placement": self.placement.state(),
            "tracker": self.tracker.state_dict(),
        }
