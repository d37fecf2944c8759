r"""What a Boltzmann prior costs in a training step, against the same step with a factorial one.

    python benchmarks/step_cost.py --output benchmarks/step_cost.json

The wake-sleep step of the 266-120-60 machine at batch 1000, with 1024 samples of the prior by two
Gibbs sweeps. The steps of the two machines alternate, so that both see the same machine load; what
is reported is the median time of each and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

import qahm_torch as qt
from qahm_torch.evaluation import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/step_cost.json"))
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=1000)
    settings = parser.parse_args()
    torch.manual_seed(0)
    steps = {
        "factorial": step_of(qt.CouplingGraph(60, []), settings.batch_size),
        "complete": step_of(qt.CouplingGraph.complete(60), settings.batch_size),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(settings.repeats + 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat >= 5:
                times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: median(values) for name, values in times.items()}
    report = {
        "milliseconds": medians,
        "ratio": medians["complete"] / medians["factorial"],
        "threads": torch.get_num_threads(),
        "repeats": settings.repeats,
    }
    write_json(settings.output, report)
    print(report)


def step_of(graph: qt.CouplingGraph, batch_size: int) -> Callable[[], None]:
    r"""Returns a training step of a machine with a prior on the given graph."""
    output = qt.Concatenated([qt.ContinuousSpins(256), qt.OneHot(10)])
    machine = qt.HelmholtzMachine(
        qt.BeliefNetwork([266, 120, 60]),
        qt.BeliefNetwork([60, 120, 266], output=output),
        qt.QuantumPriorLayer(graph, num_samples=1024, sampler=qt.GibbsSampler(num_sweeps=2)),
    )
    optimizer = torch.optim.Adam(machine.parameters(), lr=1e-3)
    batch = 2 * torch.rand(batch_size, 266) - 1

    def step() -> None:
        negative = machine.prior.draw()
        wake = qt.wake_loss(machine, batch, negative)
        loss = wake + qt.sleep_loss(machine, negative.spins)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
