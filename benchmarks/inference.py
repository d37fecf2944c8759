r"""log Z, separate modes and transverse fields: error against time.

    python benchmarks/inference.py

- The bracket of log Z of 60-unit models by annealed importance sampling: its width, and the time.
- A ferromagnet with two modes: the weight that samplers give to the one in which their chains did
  not start, against enumeration.
- Thermal states of 12 spins in a transverse field: the processor time that path integrals take
  until the error of the moments is that of independent samples within a fifth, against D-Wave's
  `PathIntegralAnnealingSampler`. Reference: the density matrix.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import qahm_torch as qt
from qahm_torch.evaluation import write_json
from qahm_torch.ising import all_states, exact_moments, moments

NUM_SAMPLES = 4000
SWEEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# How far the error of the moments may be above that of as many independent samples.
TOLERANCE = 1.2


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "inference.json")
    parser.add_argument("--repeats", type=int, default=10)
    settings = parser.parse_args(arguments)
    torch.manual_seed(0)
    report = {
        "threads": torch.get_num_threads(),
        "log_z": {name: bracket(ising, settings.repeats) for name, ising in models().items()},
        "modes": modes(),
        "transverse_field": {
            str(g): path_integrals(g, settings.repeats) for g in (0.1, 0.3, 1.0, 3.0)
        },
    }
    write_json(settings.output, report)
    print(report)


def models() -> dict[str, qt.Ising]:
    r"""Returns models of 60 spins: a trained one, and random ones on both sides of freezing."""
    from speed import trained

    graph = qt.CouplingGraph.complete(60)
    h, J = 0.3 * torch.randn(60), torch.randn(graph.num_edges) / 60**0.5
    return {
        "trained": trained(),
        "random, beta 0.5": qt.Ising(graph, h, 0.5 * J),
        "random, beta 1": qt.Ising(graph, h, J),
    }


def bracket(ising: qt.Ising, repeats: int) -> dict[str, Any]:
    r"""Returns the cheapest of some settings whose bracket is narrower than 0.05 nat."""
    qt.samplers.annealed_log_z(ising, num_chains=64, num_temperatures=2)  # compiles
    for num_temperatures in (50, 100, 200, 500, 1000, 2000, 5000, 10_000):
        widths, seconds = [], []
        for _ in range(repeats):
            start = time.perf_counter()
            answer = qt.samplers.annealed_log_z(ising, num_temperatures=num_temperatures)
            seconds.append(time.perf_counter() - start)
            widths.append(answer.upper - answer.lower)
        if max(widths) < 0.05:
            break
    return {
        "num_temperatures": num_temperatures,
        "widest": max(widths),
        "seconds": median(seconds),
    }


def modes() -> dict[str, Any]:
    r"""Returns the weight of the mode with more spins up, chains having started in the other."""
    graph = qt.CouplingGraph.complete(18)
    ising = qt.Ising(graph, torch.full((18,), -0.03), torch.full((graph.num_edges,), -0.25))
    states = all_states(18)
    law = torch.softmax(-ising.energy(states).double(), 0)
    truth = float(law[states.sum(-1) > 0].sum())
    sampler = qt.TemperingSampler(200)
    state = sampler.sample(ising, NUM_SAMPLES).state
    down = replace(state, rungs=-torch.ones_like(state.rungs))
    # As many updates of spins, without swaps.
    gibbs = qt.GibbsSampler(200 * len(state.betas))
    runs: dict[str, Callable[[], Tensor]] = {
        "TemperingSampler": lambda: sampler.sample(ising, NUM_SAMPLES, state=down).spins,
        "GibbsSampler": lambda: gibbs.sample(ising, NUM_SAMPLES, state=down.rungs[:, 0]).spins,
    }
    found = {name: float((run().sum(-1) > 0).double().mean()) for name, run in runs.items()}
    stderr = (truth * (1 - truth) / NUM_SAMPLES) ** 0.5
    return {"enumeration": truth, "stderr_of_independent_samples": stderr, **found}


def path_integrals(gamma: float, repeats: int) -> dict[str, Any]:
    r"""Returns the fewest sweeps that are enough, and the processor time that they take."""
    graph = qt.CouplingGraph.complete(12)
    h, J = 0.3 * torch.randn(12), 0.3 * torch.randn(graph.num_edges)
    ising = qt.Ising(graph, h, J, gamma)
    truth = torch.cat(exact_moments(qt.Ising(graph, h.double(), J.double(), gamma)))
    expected = float(((1 - truth**2) / NUM_SAMPLES).mean().sqrt())
    result: dict[str, Any] = {"error_of_independent_samples": expected}
    for name, run in {"PathIntegralSampler": _ours, **_peers()}.items():
        run(ising, 1)  # compiles
        for sweeps in SWEEPS:
            errors, seconds = [], []
            for _ in range(repeats):
                start = time.process_time()
                spins = run(ising, sweeps)
                seconds.append(time.process_time() - start)
                found = torch.cat(moments(graph, spins.double()))
                errors.append(float((found - truth).square().mean()))
            error = (sum(errors) / repeats) ** 0.5
            if error < TOLERANCE * expected:
                break
        result[name] = {"sweeps": sweeps, "error": error, "seconds": median(seconds)}
    return result


def _ours(ising: qt.Ising, num_sweeps: int) -> Tensor:
    return qt.PathIntegralSampler(num_sweeps).sample(ising, NUM_SAMPLES).spins


def _peers() -> dict[str, Callable[[qt.Ising, int], Tensor]]:
    try:
        from dwave.samplers import PathIntegralAnnealingSampler
    except ImportError:
        return {}

    def run(ising: qt.Ising, num_sweeps: int) -> Tensor:
        bqm = qt.Ising(ising.graph, ising.h, ising.J).to_bqm()
        answer = PathIntegralAnnealingSampler().sample(
            bqm,
            num_reads=NUM_SAMPLES,
            num_sweeps=num_sweeps,
            num_sweeps_per_beta=num_sweeps,
            beta_schedule_type="custom",
            Hp_field=[1.0],
            Hd_field=[float(ising.gamma[0])],
            seed=int(torch.randint(2**31, ())),
        )
        columns = [answer.variables.index(i) for i in range(ising.num_spins)]
        return torch.from_numpy(answer.record.sample[:, columns]).float()

    return {"PathIntegralAnnealingSampler": run}


if __name__ == "__main__":
    main()
