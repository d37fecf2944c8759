r"""How well the temperature of a device is found, with and without control noise.

    python benchmarks/temperature.py --output benchmarks/temperature.json

Three experiments on simulated devices whose inverse temperature is hidden. *Recovery*: devices
without noise at temperatures from 0.3 to 6, a random model on their whole chip; how far the
tracked value is off after four calls. *Coverage*: 100 devices at random temperatures; how often
the truth is within 1.96 standard errors of one answer, by pseudo-likelihood and by two programmed
scales, and of the filter. *Drift*: a noisy device whose temperature drifts; how far off the
moments of the samples are from the exact ones with the tracked temperature, with that of the first
call held constant, with none, and, for comparison, through a device with the same noise that does
not drift.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path
from typing import Any

import torch

import qahm_torch as qt
from qahm_torch.evaluation import write_json
from qahm_torch.ising import Moments, exact_moments, moments

RESCALED = qt.ProgramSettings(range_policy="rescale")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/temperature.json"))
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--devices", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40)
    settings = parser.parse_args()
    warnings.simplefilter("ignore", qt.AnnealerWarning)
    report = {
        "settings": {**vars(settings), "output": None},
        "recovery": recovery(),
        "coverage": coverage(settings.trials),
        "drift": drift(settings.devices, settings.calls),
    }
    write_json(settings.output, report)
    print(report)


def recovery() -> list[dict[str, float]]:
    r"""Returns the tracked temperature of noise-free devices after four calls."""
    rows = []
    for k, beta in enumerate(torch.logspace(math.log10(0.3), math.log10(6.0), 10).tolist()):
        device, ising = chip(beta, seed=k)
        sampler = qt.AnnealerSampler(device, programming=RESCALED)
        for call in range(4):
            sampler.sample(ising, 1000, generator=seeded(call))
        found = sampler.site(ising.graph).tracker.beta
        rows.append({"beta": beta, "found": found.value, "stderr": found.stderr})
    return rows


def coverage(trials: int) -> dict[str, Any]:
    r"""Returns how often the truth is within 1.96 standard errors."""
    hits = {"pseudo_likelihood": 0, "two_scales": 0, "filter": 0}
    generator = seeded(1)
    for trial in range(trials):
        beta = 0.3 * 20 ** float(torch.rand((), generator=generator))
        device, ising = chip(beta, seed=100 + trial)
        tracking = qt.TrackingSettings(drift=0.0)
        sampler = qt.AnnealerSampler(device, tracking=tracking, programming=RESCALED)
        info = sampler.sample(ising, 500, generator=seeded(trial)).info or {}
        answer = (info["beta_measured"], info["beta_measured_stderr"])
        two = sampler.measure_beta(ising, 500, generator=seeded(trial))
        tracked = sampler.site(ising.graph).tracker.beta
        for name, (value, stderr) in zip(hits, (answer, two, tracked), strict=True):
            hits[name] += abs(value - beta) < 1.96 * stderr
    return {"trials": trials, "hits": hits}


def drift(devices: int, calls: int) -> dict[str, Any]:
    r"""Returns the errors of moments through a noisy device whose temperature drifts."""
    beta = 3.0
    graph = qt.CouplingGraph.complete(12)
    generator = seeded(2)
    h = 0.3 * torch.randn(12, generator=generator, dtype=torch.float64)
    J = 0.3 * torch.randn(66, generator=generator, dtype=torch.float64)
    ising = qt.Ising(graph, h, J)
    exact = exact_moments(ising)
    choices: dict[str, tuple[Any, float]] = {
        "no drift": (beta, 0.0),
        "tracked": ("auto", 0.05),
        "constant": (beta, 0.05),
        "ignored": (1.0, 0.05),
    }
    rms = {}
    for name, (choice, step) in choices.items():
        total = 0.0
        for seed in range(devices):
            device = qt.SimulatedAnnealer(
                "zephyr", 3, beta=beta, beta_drift=step, h_noise=0.02, J_noise=0.01, seed=seed
            )
            sampler = qt.AnnealerSampler(
                device,
                beta=choice,
                tracking=qt.TrackingSettings(drift=0.05),
                programming=qt.ProgramSettings(range_policy="clip"),
            )
            for call in range(calls):
                samples = sampler.sample(ising, 1000, generator=seeded(call))
                total += _error(moments(graph, samples.spins), exact) ** 2
        rms[name] = math.sqrt(total / devices / calls)
    return {"rms_error_of_moments": rms}


def chip(beta: float, seed: int) -> tuple[qt.SimulatedAnnealer, qt.Ising]:
    r"""Returns a device at a hidden temperature, and a random model of its whole chip."""
    device = qt.SimulatedAnnealer("zephyr", 2, missing_qubits=5, beta=beta, seed=seed)
    graph = qt.CouplingGraph.from_networkx(device.to_networkx_graph())
    generator = seeded(seed)
    h = 0.2 * torch.randn(graph.num_spins, generator=generator)
    J = 0.2 * torch.randn(graph.num_edges, generator=generator)
    return device, qt.Ising(graph, h, J)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _error(found: Moments, exact: Moments) -> float:
    difference = torch.cat([a - b for a, b in zip(found, exact, strict=True)])
    return float(difference.square().mean().sqrt())


if __name__ == "__main__":
    main()
