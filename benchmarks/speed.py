r"""Speed of Gibbs sampling against the peers that are installed.

    pip install -e ".[bench]"
    python benchmarks/speed.py

Every sampler runs the same models with the same numbers of chains in this process. Runs of the
samplers alternate, so that all see the same machine load; what is reported is the median time per
update of one spin in one chain, the ratio to the peer, the effective samples per second on a
trained prior, and the time of the first call. It writes benchmarks/speed.json and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from peers import PEERS

import qahm_torch as qt
from qahm_torch.evaluation import autocorrelation_time, paper_style, save_figure, write_json

NANO = 1e9
# Peers run a fraction of the sweeps, which takes long enough as it is.
SLOWER = {"SimulatedAnnealingSampler": 10, "qahm_torch, plain torch": 20}
SLOWER |= {"BlockSampler": 40, "BipartiteGibbsSampler": 40, "thrml": 40}
# What is measured again by itself on request.
QUICK = ("first_call_seconds", "nanoseconds_per_multiply_add")
# The threads of one sampler go on waiting for work for a while, at the cost of the next.
PAUSE = 0.3


class Case(NamedTuple):
    r"""A model and a number of chains, with sweeps enough to forget what a call costs."""

    graph: qt.CouplingGraph
    num_chains: int
    num_sweeps: int
    peers: tuple[str, ...]


FAST = ("qahm_torch", "SimulatedAnnealingSampler")
ALL = tuple(name for name in PEERS if name != "BipartiteGibbsSampler")


def cases() -> dict[str, Case]:
    complete, zephyr = qt.CouplingGraph.complete, qt.CouplingGraph.zephyr
    result = {
        "K60, 1000 chains": Case(complete(60), 1000, 200, ALL),
        "K256, 1000 chains": Case(complete(256), 1000, 50, ALL),
        "bipartite 128x128, 128 chains": Case(
            qt.CouplingGraph.bipartite(128, 128), 128, 400, tuple(PEERS)
        ),
    }
    for chains in (64, 1024):
        sweeps = 80 if chains == 64 else 10
        # thrml takes minutes to compile a whole chip.
        some = tuple(p for p in ALL if p != "thrml")
        result[f"Zephyr-12, {chains} chains"] = Case(zephyr(12), chains, sweeps, some)
        result[f"Pegasus-16, {chains} chains"] = Case(
            qt.CouplingGraph.pegasus(16), chains, sweeps, some
        )
    for m in (4, 6, 8, 10):
        result[f"Zephyr-{m}, 256 chains"] = Case(zephyr(m), 256, 40, FAST)
    result["Zephyr-12, 256 chains"] = Case(zephyr(12), 256, 40, FAST)
    for n in (16, 32, 128):
        result[f"K{n}, 1000 chains"] = Case(complete(n), 1000, 200, FAST)
    for chains in (16, 100, 10_000):
        result[f"K60, {chains} chains"] = Case(
            complete(60), chains, 200 if chains < 1000 else 20, FAST
        )
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "speed.json")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Measure first calls and the product of matrices only, and keep the rest.",
    )
    parser.add_argument(
        "--only", default="", help="Measure cases that begin so only, and keep the rest."
    )
    settings = parser.parse_args(arguments)
    torch.manual_seed(0)
    if settings.only:
        report = json.loads(settings.output.read_text())
        for name, case in cases().items():
            if name.startswith(settings.only):
                report["cases"][name] = measure(case, settings.repeats)
                print(name, report["cases"][name]["nanoseconds_per_update"], flush=True)
        write_json(settings.output, report)
        return
    report = {
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "first_call_seconds": first_call(),
        "nanoseconds_per_multiply_add": matrix_product(),
        "cases": {},
    }
    if settings.quick:
        kept = json.loads(settings.output.read_text())
        write_json(settings.output, {**report, **{k: kept[k] for k in kept if k not in QUICK}})
        return
    for name, case in cases().items():
        report["cases"][name] = measure(case, settings.repeats)
        print(name, report["cases"][name]["nanoseconds_per_update"], flush=True)
        write_json(settings.output, report)
    report["effective_samples"] = effective_samples(settings.repeats)
    write_json(settings.output, report)
    save_figure(figure(report["cases"]), settings.output.with_suffix(".png"))
    print(report["effective_samples"])


def measure(case: Case, repeats: int) -> dict[str, Any]:
    r"""Returns medians of alternating runs, in nanoseconds per update of one spin."""
    n = case.graph.num_spins
    ising = model(case.graph)
    sweeps = {p: max(1, case.num_sweeps // SLOWER.get(p, 1)) for p in case.peers}
    calls = {p: PEERS[p](ising, case.num_chains, sweeps[p]) for p in case.peers}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            call()
            if repeat:  # the first one compiles
                times[name].append(time.perf_counter() - start)
    chains = n * case.num_chains
    nanoseconds = {p: NANO * median(t) / chains / sweeps[p] for p, t in times.items()}
    ours = nanoseconds["qahm_torch"]
    return {
        "num_spins": n,
        "num_chains": case.num_chains,
        "nanoseconds_per_update": nanoseconds,
        "milliseconds_per_sweep": ours * n * case.num_chains / 1e6,
        "times_faster_than": {k: v / ours for k, v in nanoseconds.items() if k != "qahm_torch"},
    }


def model(graph: qt.CouplingGraph) -> qt.Ising:
    r"""Returns a random model in which spins are free enough to move."""
    scale = 0.5 / (2 * graph.num_edges / graph.num_spins) ** 0.5
    h, J = 0.1 * torch.randn(graph.num_spins), scale * torch.randn(graph.num_edges)
    return qt.Ising(graph, h, J)


def effective_samples(repeats: int) -> dict[str, Any]:
    r"""Returns effective samples per second of the negative phase on a trained 60-unit prior.

    The samplers are all heat bath, one spin after the other on a complete graph, so that one
    autocorrelation time, the longest over the energy and the spins, is that of all of them.
    """
    ising = trained()
    state = qt.GibbsSampler(500).sample(ising, 500).state
    traces = []
    for _ in range(400):
        samples = qt.GibbsSampler(1).sample(ising, 500, state=state)
        state = samples.state
        energy = ising.energy(samples.spins).unsqueeze(-1)
        traces.append(torch.cat([energy, samples.spins], -1))
    times = autocorrelation_time(torch.stack(traces))
    sweeps = float(times[~times.isnan()].max())
    speed = measure(Case(ising.graph, 1000, 200, ALL), repeats)["nanoseconds_per_update"]
    per_second = {name: NANO / (ns * 60 * sweeps) for name, ns in speed.items()}
    best = max(v for k, v in per_second.items() if not k.startswith("qahm_torch"))
    return {
        "autocorrelation_time_in_sweeps": sweeps,
        "per_second": per_second,
        "times_the_best_peer": per_second["qahm_torch"] / best,
    }


def trained() -> qt.Ising:
    r"""Returns a Boltzmann machine of 60 pixels of the digits after 300 updates."""
    from annealer_training import pixels

    torch.manual_seed(0)
    data, _ = pixels()
    layer = qt.QuantumPriorLayer(60, num_samples=500)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        (-layer(data[torch.randint(len(data), (500,))]).mean()).backward()
        optimizer.step()
    return layer.ising().detach()


def first_call() -> dict[str, float]:
    r"""Returns the seconds of a first call in a new process, with a cold and a warm cache."""
    import tempfile

    code = (
        "import time, torch, qahm_torch as qt\n"
        "g = qt.CouplingGraph.complete(60)\n"
        "m = qt.Ising(g, torch.zeros(60), torch.zeros(1770))\n"
        "t = time.perf_counter()\n"
        "qt.GibbsSampler(2).sample(m, 1000)\n"
        "print(time.perf_counter() - t)"
    )
    imports = (
        "import time, torch\nt = time.perf_counter()\nimport qahm_torch{}\n"
        "print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}

        def seconds(script: str) -> float:
            command = [sys.executable, "-c", script]
            answer = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            return float(answer.stdout)

        return {
            "cold": seconds(code),
            "warm": seconds(code),
            "import_after_torch": seconds(imports.format("")),
            "import_and_samplers_after_torch": seconds(imports.format("\nqahm_torch.samplers")),
        }


def matrix_product() -> float:
    r"""Returns the time of a multiply-add in a product of matrices, the floor of dense models."""
    a, times = torch.randn(2048, 2048), []
    for _ in range(20):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return NANO * median(times) / len(a) ** 3


@paper_style()
def figure(results: dict[str, Any]) -> plt.Figure:
    r"""Returns the time per update over the number of spins, and over the number of chains."""
    result, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    families = {"complete, 1000 chains": ("K", 1000), "Zephyr, 256 chains": ("Zephyr", 256)}
    for label, (family, chains) in families.items():
        rows = [r for k, r in results.items() if k.startswith(family)]
        _curves(left, [r for r in rows if r["num_chains"] == chains], "num_spins", label)
    rows = [r for r in results.values() if r["num_spins"] == 60]
    _curves(right, rows, "num_chains", "K60")
    left.set(xscale="log", yscale="log", xlabel="spins", ylabel="nanoseconds per update")
    right.set(xscale="log", xlabel="chains")
    left.legend()
    right.legend()
    return result


def _curves(axes: plt.Axes, rows: list[dict[str, Any]], over: str, label: str) -> None:
    for name, style in zip(FAST, ("o-", "s--"), strict=True):
        points = sorted((r[over], r["nanoseconds_per_update"][name]) for r in rows)
        axes.plot(*zip(*points, strict=True), style, label=f"{name}, {label}", ms=4)


if __name__ == "__main__":
    main()
