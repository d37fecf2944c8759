r"""Late divergence, and what `MixingControl` does about it.

    python benchmarks/mixing_control.py --output benchmarks/mixing_control.json

A restricted Boltzmann machine of 9 + 9 spins learns the 14 bars and stripes of 3x3 pixels by
maximum likelihood, with persistent chains and a constant learning rate. Its exact log-likelihood,
by enumeration, is measured after each epoch of 100 updates, in three ways: with one sweep per
update; with `MixingControl`, which begins with one; and with a constant number of sweeps, the mean
of that of `MixingControl`, so that both take as many in all. Each run is written as soon as it is
known, and runs that are in the file are not repeated. A figure goes beside the report.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytorch_lightning as pl
import torch
from torch import Tensor

import qahm_torch as qt
from qahm_torch.data import BarsAndStripes
from qahm_torch.evaluation import save_figure, write_json
from qahm_torch.evaluation.style import DPI, PALETTE, paper_style
from qahm_torch.ising import all_states
from qahm_torch.training import MaximumLikelihood, MixingControl

SIDE, HIDDEN, CHAINS, LR = 3, 9, 100, 0.02
WAYS = ("one sweep", "MixingControl", "mean of MixingControl")
STYLES = {
    "MixingControl": (PALETTE[0], "-"),
    "one sweep": (PALETTE[1], "--"),
    WAYS[2]: (PALETTE[2], ":"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/mixing_control.json"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    settings = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    runs = json.loads(settings.output.read_text())["runs"] if settings.output.exists() else []
    report = {
        "settings": {**vars(settings), "output": settings.output.name},
        "best_possible": -math.log(2 ** (SIDE + 1) - 2),
        "runs": runs,
    }
    done = {(run["way"], run["seed"]) for run in runs}
    for seed in range(settings.seeds):
        for way in WAYS:
            if (way, seed) not in done:
                runs.append(train(way, seed, settings.epochs, sweeps_at_first(way, seed, runs)))
                write_json(settings.output, report)
                print(way, seed, runs[-1]["log_likelihood"][-1], flush=True)
    save_figure(figure(report), settings.output.with_suffix(".png"))


def sweeps_at_first(way: str, seed: int, runs: list[dict[str, Any]]) -> int:
    r"""Returns one, or the mean number of sweeps of the controlled run of this seed."""
    if way != WAYS[2]:
        return 1
    (numbers,) = (r["num_sweeps"] for r in runs if (r["way"], r["seed"]) == (WAYS[1], seed))
    return round(sum(numbers) / len(numbers))


def train(way: str, seed: int, epochs: int, num_sweeps: int) -> dict[str, Any]:
    r"""Returns the likelihood and the number of sweeps of each epoch of one run."""
    pl.seed_everything(seed)
    num_pixels = SIDE**2
    layer = qt.QuantumPriorLayer(
        qt.CouplingGraph.bipartite(num_pixels, HIDDEN),
        hidden=range(num_pixels, num_pixels + HIDDEN),
        sampler=qt.GibbsSampler(num_sweeps),
        num_samples=CHAINS,
    )
    record = Record()
    control = [MixingControl(max_sweeps=1000, num_draws=32)] if way == "MixingControl" else []
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[record, *control],
    )
    start = time.process_time()
    module = MaximumLikelihood(layer, optimizer=partial(torch.optim.SGD, lr=LR))
    trainer.fit(module, BarsAndStripes(SIDE, batch_size=2 ** (SIDE + 1) - 2, seed=seed))
    return {
        **{"way": way, "seed": seed},
        **{"log_likelihood": record.log_likelihood, "num_sweeps": record.num_sweeps},
        "seconds_of_cpu": time.process_time() - start,
    }


class Record(pl.Callback):
    r"""Keeps the exact likelihood after each epoch, and the number of sweeps within it."""

    def __init__(self) -> None:
        self.log_likelihood: list[float] = []
        self.num_sweeps: list[int] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.num_sweeps.append(pl_module.prior.sampler.num_sweeps)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        rows = trainer.datamodule.train  # type: ignore[attr-defined]
        self.log_likelihood.append(log_likelihood(pl_module.prior, rows))


@torch.no_grad()
def log_likelihood(layer: qt.QuantumPriorLayer, rows: Tensor) -> float:
    r"""Returns the mean log-likelihood of rows in nats, by enumeration."""
    states = all_states(layer.num_visible).to(layer.h)
    log_z = torch.logsumexp(-layer.free_energy(states), 0)
    return float(-layer.free_energy(rows).mean() - log_z)


@paper_style()
def figure(report: dict[str, Any]) -> plt.Figure:
    r"""Returns likelihoods and numbers of sweeps over updates: means, and the range of seeds."""
    result, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), dpi=DPI, layout="constrained")
    for way in WAYS:
        for axes, key in ((left, "log_likelihood"), (right, "num_sweeps")):
            draw(axes, way, [r[key] for r in report["runs"] if r["way"] == way])
    left.axhline(report["best_possible"], color="0.8", linewidth=0.8, zorder=0)
    left.annotate("best possible", (0, report["best_possible"]), (0, 3), fontsize=7, color="0.4",
                  textcoords="offset points")  # fmt: skip
    left.set(xlabel="updates", ylabel="exact log-likelihood (nats)")
    right.set(xlabel="updates", ylabel="sweeps per update", yscale="log")
    left.legend(loc="lower left")
    return result


def draw(axes: plt.Axes, way: str, curves: list[list[float]]) -> None:
    values = torch.tensor(curves, dtype=torch.float64)
    updates = 100 * torch.arange(1, values.shape[1] + 1)
    color, style = STYLES[way]
    axes.plot(updates, values.mean(0), style, color=color, label=way)
    axes.fill_between(updates, values.amin(0), values.amax(0), color=color, alpha=0.15, lw=0)


if __name__ == "__main__":
    main()
