r"""What the prior is worth: factorial against Boltzmann machines, everything else the same.

    python benchmarks/prior_wake_sleep.py --output benchmarks/prior_wake_sleep.json

Trains the 266-120-60 machine on 16x16 MNIST by wake-sleep with three priors over the 60 deepest
spins, factorial (no couplings), bipartite (30 + 30) and complete, from several seeds each, with
the same networks, data, updates and learning rates. Writes the test log-likelihood of each run
with its bracket as soon as it is known (runs that are in the file already are not repeated), and a
figure beside the report.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

import qahm_torch as qt
from qahm_torch.data import MNIST16
from qahm_torch.evaluation import (
    bits_per_dimension,
    intervals,
    log_likelihood,
    save_figure,
    write_json,
)
from qahm_torch.samplers import estimate_log_z
from qahm_torch.training import MachineModule

PRIORS = {
    "factorial": lambda: qt.CouplingGraph(60, []),
    "bipartite 30 + 30": lambda: qt.CouplingGraph.bipartite(30, 30),
    "complete": lambda: qt.CouplingGraph.complete(60),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/prior_wake_sleep.json"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num_test", type=int, default=10_000)
    parser.add_argument("--num_particles", type=int, default=100)
    settings = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    report = {"settings": {**vars(settings), "output": settings.output.name}, "runs": []}
    if settings.output.exists():
        report["runs"] = json.loads(settings.output.read_text())["runs"]
    done = {(run["prior"], run["seed"]) for run in report["runs"]}
    data = MNIST16(batch_size=200)
    data.prepare_data()
    data.setup()
    for seed in range(settings.seeds):
        for name in PRIORS:
            if (name, seed) not in done:
                report["runs"].append(train_and_measure(name, seed, data, settings))
                write_json(settings.output, report)
                print(json.dumps(report["runs"][-1]), flush=True)
    rows = [
        (f"{run['prior']}, seed {run['seed']}", run["lower"], run["nats"], run["upper"])
        for run in sorted(report["runs"], key=lambda run: (run["prior"], run["seed"]))
    ]
    save_figure(intervals(rows, "test log-likelihood (nats)"), settings.output.with_suffix(".png"))


def train_and_measure(
    name: str, seed: int, data: MNIST16, settings: argparse.Namespace
) -> dict[str, Any]:
    r"""Returns the log-likelihood and the cost of one run."""
    pl.seed_everything(seed)
    module = build(name, settings.epochs)
    data.seed = seed
    trainer = pl.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    start = time.perf_counter()
    trainer.fit(module, data)
    seconds = time.perf_counter() - start
    machine = module.machine.eval()
    log_z = estimate_log_z(machine.prior.ising().detach(), num_chains=1024, num_temperatures=1000)
    test = torch.cat(list(data.test_dataloader()))[: settings.num_test]
    result = log_likelihood(machine, test, log_z=log_z, num_particles=settings.num_particles)
    return {
        "prior": name,
        "seed": seed,
        "nats": result.value,
        "lower": result.lower,
        "upper": result.upper,
        "bits_per_pixel": bits_per_dimension(result.value, machine.num_pixels, 256),
        "log_z": log_z._asdict(),
        "seconds_of_training": seconds,
        "milliseconds_per_update": 1000 * seconds / trainer.global_step,
    }


def build(name: str, epochs: int) -> MachineModule:
    r"""Returns the training module of the machine with a prior of the given name."""
    output = qt.Concatenated([qt.ContinuousSpins(256), qt.OneHot(10)])
    machine = qt.HelmholtzMachine(
        qt.BeliefNetwork([266, 120, 60]),
        qt.BeliefNetwork([60, 120, 266], output=output),
        qt.QuantumPriorLayer(
            PRIORS[name](), num_samples=256, sampler=qt.GibbsSampler(num_sweeps=10)
        ),
    )
    return MachineModule(
        machine,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        lr_scheduler=partial(
            torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs, eta_min=1e-5
        ),
        prior_lr=1e-3,  # lower than the rest, so that the chains keep up with the prior
    )


if __name__ == "__main__":
    main()
