r"""Training a 60-spin prior through a device of unknown, drifting temperature.

    python benchmarks/annealer_training.py --output benchmarks/annealer_training.json

A complete Boltzmann machine over the 60 liveliest pixels of scikit-learn's 8x8 digits, in black
and white, by maximum likelihood. Its negative phase is an embedded 60-clique on a simulated
Zephyr-12: with the temperature known and constant ("exact"), hidden and drifting but tracked
("tracked"), hidden and drifting with the first value held ("constant"), and not thought of
("ignored", the model programmed as it is). Same data, updates and seeds. Writes the test log-
likelihood of the explicit model with its bracket as soon as it is known; runs that are in the file
already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import qahm_torch as qt
from qahm_torch.evaluation import intervals, save_figure, write_json

BETA, DRIFT = 3.5, 0.02
RUNS: dict[str, tuple[float | str, float]] = {
    "exact": (BETA, 0.0),
    "tracked": ("auto", DRIFT),
    "constant": (BETA, DRIFT),
    "ignored": (1.0, DRIFT),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/annealer_training.json"))
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--reads", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    settings = parser.parse_args()
    warnings.simplefilter("ignore", qt.AnnealerWarning)
    report: dict[str, Any] = {"settings": {**vars(settings), "output": None}, "runs": []}
    if settings.output.exists():
        report["runs"] = json.loads(settings.output.read_text())["runs"]
    done = {(run["temperature"], run["seed"]) for run in report["runs"]}
    for seed in range(settings.seeds):
        for name in RUNS:
            if (name, seed) not in done:
                report["runs"].append(train(name, seed, settings))
                write_json(settings.output, report)
                print(json.dumps(report["runs"][-1]), flush=True)
    rows = [
        (f"{r['temperature']}, seed {r['seed']}", r["lower"], r["nats"], r["upper"])
        for r in sorted(report["runs"], key=lambda r: list(RUNS).index(r["temperature"]))
        if r["temperature"] != "ignored"
    ]
    save_figure(intervals(rows, "test log-likelihood (nats)"), settings.output.with_suffix(".png"))


def train(name: str, seed: int, settings: argparse.Namespace) -> dict[str, Any]:
    r"""Returns the test log-likelihood of one run."""
    torch.manual_seed(seed)
    data, test = pixels()
    choice, drift = RUNS[name]
    device = qt.SimulatedAnnealer(
        "zephyr", 12, missing_qubits=40, beta=BETA, beta_drift=drift, num_sweeps=100, seed=seed
    )
    sampler = qt.AnnealerSampler(
        device,
        beta=choice,  # type: ignore[arg-type]
        tracking=qt.TrackingSettings(drift=DRIFT),
        programming=qt.ProgramSettings(range_policy="clip"),
    )
    layer = qt.QuantumPriorLayer(60, sampler=sampler, num_samples=settings.reads)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.updates, 1e-4)
    start = time.perf_counter()
    for _ in range(settings.updates):
        batch = data[torch.randint(len(data), (500,))]
        optimizer.zero_grad()
        (-layer(batch).mean()).backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - start
    log_z = layer.estimate_log_z(num_chains=1024, num_temperatures=1000)
    with torch.no_grad():
        energy = float(layer.energy(test).mean())
    return {
        "temperature": name,
        "seed": seed,
        "nats": -energy - log_z.value,
        "lower": -energy - log_z.upper,
        "upper": -energy - log_z.lower,
        "beta_at_the_end": device.effective_beta,
        "beta_used_at_the_end": sampler.site(layer.graph).tracker.beta.value,
        "qpu_seconds": sampler.account.spent,
        "seconds": seconds,
    }


def pixels() -> tuple[Tensor, Tensor]:
    r"""Returns training and test spins, the 60 pixels of the greatest variance."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().data).float()
    spins = torch.where(images > 7.5, 1.0, -1.0)
    spins = spins[torch.randperm(len(spins), generator=torch.Generator().manual_seed(0))]
    lively = images.var(0).topk(60).indices.sort().values
    return spins[:1400, lively], spins[1400:, lively]


if __name__ == "__main__":
    main()
