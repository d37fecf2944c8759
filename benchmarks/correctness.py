r"""How exact the parts are, against enumeration.

    python benchmarks/correctness.py --output benchmarks/correctness.json

Measures the largest error of the layer's gradient given exact samples, in each kind of layer; and
how often the interval of annealed importance sampling holds the exact log Z, over random models
from hot to deep in the glass.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

import qahm_torch as qt
from qahm_torch.evaluation import write_json
from qahm_torch.ising import all_states, exact_log_partition, exact_log_probs
from qahm_torch.samplers import annealed_log_z, exact_log_z

LAYERS: dict[str, tuple[qt.CouplingGraph, tuple[int, ...], float]] = {
    "visible only": (qt.CouplingGraph.complete(6), (), 0.0),
    "disconnected hidden": (qt.CouplingGraph.bipartite(4, 3), (4, 5, 6), 0.0),
    "connected hidden": (qt.CouplingGraph.complete(7), (1, 3, 6), 0.0),
    "gamma 0.8 (bound)": (qt.CouplingGraph.complete(6), (), 0.8),
}
COUPLINGS = (0.1, 0.3, 0.6, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/correctness.json"))
    parser.add_argument("--num_models", type=int, default=20)
    settings = parser.parse_args()
    report = {
        "largest_gradient_error": {name: gradient_error(*LAYERS[name]) for name in LAYERS},
        "annealed_importance_sampling": brackets(settings.num_models),
    }
    write_json(settings.output, report)
    print(report)


def random_ising(graph: qt.CouplingGraph, scale: float, seed: int, gamma: float = 0.0) -> qt.Ising:
    r"""Returns a model with normal fields and couplings in float64."""
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(graph.num_spins, generator=generator, dtype=torch.float64)
    J = scale * torch.randn(graph.num_edges, generator=generator, dtype=torch.float64)
    return qt.Ising(graph, h, J, gamma)


def gradient_error(graph: qt.CouplingGraph, hidden: tuple[int, ...], gamma: float) -> float:
    r"""Returns the largest error of the gradient of `-layer(spins).mean()`."""
    ising = random_ising(graph, 0.5, seed=0, gamma=gamma)
    layer = qt.QuantumPriorLayer(graph, hidden=hidden, gamma=gamma).double()
    with torch.no_grad():
        layer.h.copy_(ising.h)
        layer.J.copy_(ising.J)
    data = all_states(layer.num_visible)[::3]
    negative = qt.Samples(all_states(graph.num_spins), weights=exact_log_probs(ising).exp())
    (-layer.log_prob(data, negative).mean()).backward()
    h, J = ising.h.clone().requires_grad_(), ising.J.clone().requires_grad_()
    log_z = exact_log_partition(qt.Ising(graph, h, J, gamma))
    (log_z - summed_out(qt.Ising(graph, h, J), layer, data).mean()).backward()
    assert h.grad is not None and J.grad is not None
    assert layer.h.grad is not None and layer.J.grad is not None
    errors = [(layer.h.grad - h.grad).abs().max(), (layer.J.grad - J.grad).abs().max()]
    return float(torch.stack(errors).max())


def summed_out(ising: qt.Ising, layer: qt.QuantumPriorLayer, data: torch.Tensor) -> torch.Tensor:
    r"""Returns log sum_u exp(-E(v, u)) of each visible state by plain enumeration."""
    units = layer.hidden_units
    states = all_states(len(units.hidden))
    every = units.complete(
        data.unsqueeze(1).expand(-1, len(states), -1), states.expand(len(data), -1, -1)
    )
    return torch.logsumexp(-ising.energy(every), 1)


def brackets(num_models: int) -> dict[str, Any]:
    r"""Returns how often, and how tightly, the interval holds the exact log Z."""
    hits, widths = 0, []
    for k in range(num_models):
        graph = qt.CouplingGraph.complete(16 + k % 5)
        ising = random_ising(graph, COUPLINGS[k % len(COUPLINGS)], seed=k)
        bracket = annealed_log_z(ising, generator=torch.Generator().manual_seed(k))
        exact = exact_log_z(ising)
        assert exact is not None
        hits += bracket.lower <= exact <= bracket.upper
        widths.append(bracket.upper - bracket.lower)
    return {"models": num_models, "inside": hits, "widest_interval": max(widths)}


if __name__ == "__main__":
    main()
