r"""What an update costs: the Boltzmann prior's share of it, and an epoch of MNIST.

    python benchmarks/step_cost.py

- The wake-sleep step of the 266-120-60 machine at batch 1000, with 1024 samples of the prior by
  two Gibbs sweeps, against the same step with a factorial prior. The steps of the two machines
  alternate, so that both see the same machine load; what is reported is the median time of each
  and the ratio of the medians.
- The step of a discrete variational autoencoder and that of dwave-pytorch-plugin, the same work
  in turns (see autoencoders.py).
- The step of configs/mnist28_causal.yaml in the precision that the command takes here, the share
  of its negative phase, and what a particle costs in evaluation, on one thread and on all cores.
- Epochs of configs/mnist16.yaml by wake-sleep at batch 100, as `qahm fit` runs them, with the
  number of dreams of the config and with one per datum, and with losses compiled by torch or not.
  They need MNIST, in the folder of QAHM_DATA, and are left out where it is not.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from autoencoders import steps

import qahm_torch as qt
from qahm_torch.cli.fit import QahmCLI
from qahm_torch.cli.precision_here import has_bfloat16
from qahm_torch.data import one_hot_spins
from qahm_torch.evaluation import write_json
from qahm_torch.training import keep_memory

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG, CAUSAL = CONFIGS / "mnist16.yaml", CONFIGS / "mnist28_causal.yaml"
NUM_PARTICLES = 200
EPOCHS = 4  # the first of which also compiles
# That of the configuration's warm-up, alone.
OBJECTIVE = json.dumps(
    {"class_path": "qahm_torch.WakeSleep", "init_args": {"class_weight": 100, "hide_classes": 0.9}}
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "step_cost.json")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=1000)
    settings = parser.parse_args(arguments)
    keep_memory()  # as the command does
    report = {
        "threads": torch.get_num_threads(),
        "repeats": settings.repeats,
        **prior_share(settings.repeats, settings.batch_size),
        "autoencoders": autoencoders(settings.repeats),
        "convolutional": convolutional(settings.repeats),
        "epochs": epochs(),
    }
    write_json(settings.output, report)
    print(report)


def prior_share(repeats: int, batch_size: int) -> dict[str, Any]:
    r"""Returns the median times of the step with each prior, and their ratio."""
    torch.manual_seed(0)
    times = medians(
        {
            "factorial": step_of(qt.CouplingGraph(60, []), batch_size),
            "complete": step_of(qt.CouplingGraph.complete(60), batch_size),
        },
        repeats,
    )
    return {"milliseconds": times, "ratio": times["complete"] / times["factorial"]}


def medians(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    r"""Returns median times in milliseconds of steps that alternate, and so share the load."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat >= 5:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: median(values) for name, values in times.items()}


def autoencoders(repeats: int) -> dict[str, Any]:
    r"""Returns the median times of a step of each autoencoder that is installed, and the ratio."""
    torch.manual_seed(0)
    times = medians(steps(), repeats)
    ours = times["ours"]
    return {"milliseconds": times, "ratios": {name: t / ours for name, t in times.items()}}


def convolutional(repeats: int) -> dict[str, Any]:
    r"""Returns what a step of configs/mnist28_causal.yaml takes, and a particle in evaluation."""
    torch.manual_seed(0)
    module = _command_line(CAUSAL, {}).model
    module.machine.generator.output.context.gain = 1.0
    optimizer = torch.optim.Adam(module.machine.parameters(), lr=1e-3, fused=True)
    batch = (torch.rand(100, 784) < 0.2).float() * 2 - 1

    def step() -> None:
        negative = module.prior.draw()
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            loss = module.objective(module.machine, batch, negative)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def evaluate() -> None:
        with torch.no_grad():
            module.machine.log_prob(batch, NUM_PARTICLES)

    times = medians({"step": step, "negative": lambda: module.prior.draw()}, repeats)
    module.eval()
    all_cores = os.cpu_count() or 1
    return {
        "precision": "bfloat16" if has_bfloat16() else "single",
        "milliseconds": times,
        "negative_share": times["negative"] / times["step"],
        "evaluation": [_evaluation(evaluate, len(batch), n) for n in sorted({1, all_cores})],
    }


def _evaluation(evaluate: Callable[[], None], num_images: int, threads: int) -> dict[str, Any]:
    r"""Returns what a draw of an image costs on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    particle = medians({"evaluation": evaluate}, 5)["evaluation"] / (num_images * NUM_PARTICLES)
    torch.set_num_threads(before)
    return {
        "threads": threads,
        "microseconds_per_particle": 1000 * particle,
        "minutes_of_10000_images_by_1000_draws": particle * 1e7 / 60_000,
    }


def step_of(graph: qt.CouplingGraph, batch_size: int) -> Callable[[], None]:
    r"""Returns a training step of a machine with a prior on the given graph."""
    output = qt.Concatenated([qt.ContinuousSpins(256), qt.OneHot(10)])
    machine = qt.HelmholtzMachine(
        qt.BeliefNetwork([266, 120, 60]),
        qt.BeliefNetwork([60, 120, 266], output=output),
        qt.QuantumPriorLayer(graph, num_samples=1024, sampler=qt.GibbsSampler(num_sweeps=2)),
    )
    optimizer = torch.optim.Adam(machine.parameters(), lr=1e-3, fused=True)
    labels = one_hot_spins(torch.randint(10, (batch_size,)), 10)
    batch = torch.cat([2 * torch.rand(batch_size, 256) - 1, labels], -1)

    def step() -> None:
        negative = machine.prior.draw()
        wake = qt.wake_loss(machine, batch, negative)
        loss = wake + qt.sleep_loss(machine, negative.spins)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def epochs() -> list[dict[str, Any]]:
    r"""Returns the seconds of an epoch, the median of all but the first, in each setting."""
    if not (Path(os.environ.get("QAHM_DATA", "data")) / "MNIST").is_dir():
        return []
    result = []
    for compiled in (False, True):
        for dreams in (256, 100):
            clock = _Clock()
            _trainer_run(clock, compiled, dreams)
            seconds = median(clock.seconds[1:])
            result.append(
                {
                    "compile_losses": compiled,
                    "dreams": dreams,
                    "updates": clock.updates,
                    "seconds": seconds,
                    "milliseconds_per_update": 1000 * seconds / clock.updates,
                }
            )
    return result


def _trainer_run(clock: pl.Callback, compiled: bool, dreams: int) -> None:
    settings = {
        "model.objective": OBJECTIVE,
        "model.compile_losses": str(compiled).lower(),
        "model.machine.init_args.prior.init_args.num_samples": dreams,
        "data.batch_size": 100,
        "data.num_val": 0,
        "trainer.max_epochs": EPOCHS,
        "trainer.callbacks": "null",
        "trainer.logger": "false",
        "trainer.enable_checkpointing": "false",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    with tempfile.TemporaryDirectory() as folder:
        settings["trainer.default_root_dir"] = folder
        cli = _command_line(CONFIG, settings)
        cli.trainer.callbacks.append(clock)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)


def _command_line(config: Path, settings: dict[str, Any]) -> QahmCLI:
    return QahmCLI(
        pl.LightningModule,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=["--config", str(config), *(f"--{name}={value}" for name, value in settings.items())],
        run=False,
    )


class _Clock(pl.Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.updates = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        self.updates = int(trainer.num_training_batches)


if __name__ == "__main__":
    main()
