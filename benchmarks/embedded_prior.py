r"""Parameters on every qubit against parameters on the model, under control errors.

    python benchmarks/embedded_prior.py --output benchmarks/embedded_prior.json

Eight pixels of scikit-learn's digits, whose 256 probabilities are known from the data, are learned
through a simulated Chimera-4 with missing qubits and couplers, an unknown drifting temperature and
errors of growing strength s: fields and couplings are off by s for good and by s/2 anew in each
programming. Three ways, with the same reads and updates: "embedded" is `EmbeddedPrior` (every
qubit and coupler learns); "logical" is `QuantumPriorLayer` through an embedding with a chain
strength, and "logical, gauges" the same averaged over a random gauge per programming. The measure
is the divergence KL(data || decoded samples of the device) after training; less is better. It
writes a figure beside the report.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import qahm_torch as qt
from qahm_torch.evaluation import paper_style, save_figure, write_json
from qahm_torch.nn import Prior

WAYS = ("embedded", "logical", "logical, gauges")
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.2)
NUM_SPINS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/embedded_prior.json"))
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--reads", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    settings = parser.parse_args()
    warnings.simplefilter("ignore", qt.AnnealerWarning)
    report: dict[str, Any] = {"settings": {**vars(settings), "output": None}, "runs": []}
    if settings.output.exists():
        report["runs"] = json.loads(settings.output.read_text())["runs"]
    done = {(run["way"], run["strength"], run["seed"]) for run in report["runs"]}
    for seed in range(settings.seeds):
        for strength in STRENGTHS:
            for way in WAYS:
                if (way, strength, seed) not in done:
                    report["runs"].append(train(way, strength, seed, settings))
                    write_json(settings.output, report)
                    print(json.dumps(report["runs"][-1]), flush=True)
    save_figure(figure(report["runs"]), settings.output.with_suffix(".png"))


def train(way: str, strength: float, seed: int, settings: argparse.Namespace) -> dict[str, Any]:
    r"""Returns the divergence of one run."""
    torch.manual_seed(seed)
    target, states = law_of_pixels()
    prior = build(way, strength, seed, settings.reads)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.updates, 1e-3)
    for _ in range(settings.updates):
        optimizer.zero_grad()
        (-target @ prior.log_prob(states)).backward()
        optimizer.step()
        schedule.step()
    return {
        "way": way,
        "strength": strength,
        "seed": seed,
        "divergence": divergence(prior, target),
    }


def build(way: str, strength: float, seed: int, reads: int) -> Prior:
    r"""Returns a prior on a device of its own; the chips of a seed are the same for all ways."""
    device = qt.SimulatedAnnealer(
        *("chimera", 4),
        missing_qubits=6,
        missing_couplers=10,
        chip_seed=seed,
        beta=3.0,
        beta_drift=0.01,
        **{"h_error": strength, "J_error": strength},
        **{"h_noise": strength / 2, "J_noise": strength / 2},
        seed=seed,
    )
    gauges = 1 if way == "logical, gauges" else 0
    programming = qt.ProgramSettings(range_policy="clip", num_gauges=gauges)
    sampler = qt.AnnealerSampler(device, programming=programming)
    if way == "embedded":
        return qt.EmbeddedPrior.on_device(NUM_SPINS, sampler, num_samples=reads)
    return qt.QuantumPriorLayer(NUM_SPINS, sampler=sampler, num_samples=reads)


@torch.no_grad()
def divergence(prior: Prior, target: Tensor, programmings: int = 20) -> float:
    r"""Returns KL(data || decoded samples) over many programmings, in nats."""
    rows = torch.cat([prior.to_visible(prior.sample(2000)) for _ in range(programmings)])
    counts = torch.bincount(_index(rows), minlength=len(target)) + 0.5
    found = counts / counts.sum()
    seen = target > 0
    return float((target[seen] * (target[seen] / found[seen]).log()).sum())


def law_of_pixels() -> tuple[Tensor, Tensor]:
    r"""Returns the probabilities of the states of the liveliest pixels, and the states."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().data).float()
    spins = torch.where(images > 7.5, 1.0, -1.0)[:, images.var(0).topk(NUM_SPINS).indices]
    states = 2.0 * ((torch.arange(2**NUM_SPINS)[:, None] >> torch.arange(NUM_SPINS)) & 1) - 1
    return torch.bincount(_index(spins), minlength=len(states)) / len(spins), states


@paper_style()
def figure(runs: list[dict[str, Any]]) -> plt.Figure:
    r"""Returns the divergences over the strength of the errors."""
    result, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for way in WAYS:
        rows = [
            [r["divergence"] for r in runs if r["way"] == way and r["strength"] == s]
            for s in STRENGTHS
        ]
        line = axes.plot(STRENGTHS, [sum(r) / len(r) for r in rows], "o-", label=way)[0]
        axes.fill_between(
            STRENGTHS,
            *zip(*((min(r), max(r)) for r in rows), strict=True),
            alpha=0.2,
            color=line.get_color(),
        )
    axes.set(xlabel="strength of control errors (programmed units)", yscale="log")
    axes.set(ylabel="KL(data || device) in nats")
    axes.legend()
    return result


def _index(spins: Tensor) -> Tensor:
    return ((spins > 0).long() << torch.arange(NUM_SPINS)).sum(-1)


if __name__ == "__main__":
    main()
