r"""What the prior is worth: one machine with several priors, everything else the same.

    python benchmarks/prior_ablation.py
    python benchmarks/prior_ablation.py --data mnist28 --bits 128 --updates 3000
    python benchmarks/prior_ablation.py --again_if_wider 0.2

Bits of black and white digits, of 8x8 pixels or of MNIST, are inferred by a recognition in two
groups, and decoded by a linear map or by two hidden layers. The prior over the bits is factorial
(no couplings), bipartite, complete, native (as many qubits of a Pegasus graph as there are bits,
each one bit), embedded (all bits coupled, on strands of qubits of a simulated annealer with
faults, every qubit and coupler of which learns), or quantum (complete, with a transverse field
that learns, by the density matrix). Recognition, decoder, objective, data, updates, learning rates
and seeds are the same. The learning rate of the 8x8 digits was chosen by hand, on validation data.
On MNIST, that of the prior is chosen first, by the validation likelihood that factorial and
complete priors reach on a seed of its own; what each reached is in the report, and what the other
priors do by the same rates. That of the networks there was not chosen.
Each case writes its test log-likelihood with its bracket as soon as it is known, and cases that
are in the file are not run again, unless their bracket is too wide; log Z is annealed more and
more slowly until it is known well. With several numbers of bits, a figure goes beside the report.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import qahm_torch as qt
from qahm_torch.data import MNIST28, OptDigits, TensorDataModule
from qahm_torch.evaluation import evidence_bound, log_likelihood, save_figure, write_json
from qahm_torch.evaluation.style import DPI, PALETTE, paper_style
from qahm_torch.ising import exact_log_probs
from qahm_torch.samplers import LogZ, estimate_log_z

BITS = (8, 16, 32, 64, 128, 256)
DECODERS = ("linear", "two hidden layers")
PRIORS = ("factorial", "bipartite", "complete", "native", "embedded", "quantum")
CASE = ("seed", "bits", "decoder", "prior")
STYLES = {
    "factorial": (PALETTE[2], "o", ":"),
    "bipartite": (PALETTE[1], "s", "--"),
    "complete": (PALETTE[0], "D", "-"),
    "native": (PALETTE[4], "^", "-."),
    "embedded": (PALETTE[3], "x", ""),
    "quantum": (PALETTE[5], "*", ""),
}
# Larger ones take too long: a simulated chip for its many qubits, a density matrix for its size.
LARGEST = {"embedded": 32, "quantum": 8}
# Networks that fit the data, the priors that are not too slow for it, and pairs of learning rates,
# of the networks and of the prior, to choose from.
DATA: dict[str, dict[str, Any]] = {
    "digits": {"rates": [(6e-3, 6e-3)], "width": 128, "priors": PRIORS},
    "mnist28": {
        "rates": [(3e-3, 3e-3), (3e-3, 1e-3), (3e-3, 3e-4)],
        **{"width": 300, "priors": PRIORS[:4]},
    },
}
# The rates are chosen by some priors; those of the others are tried to know what they would take.
CHOOSERS, OTHERS, SEED_OF_CHOICE = ("factorial", "complete"), ("bipartite", "native"), 100
CLIP, WARM_UP = 50.0, 0.5
# The bracket of log Z is wide with few temperatures; more are taken until it is this narrow.
NARROW, TEMPERATURES = 0.1, (400, 1600, 6400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--output", type=Path, help="default: benchmarks/prior_ablation_DATA.json")
    parser.add_argument("--bits", type=int, nargs="+", default=BITS)
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num_particles", type=int, default=200)
    parser.add_argument("--again_if_wider", type=float, default=math.inf)
    settings = parser.parse_args()
    warnings.simplefilter("ignore", qt.AnnealerWarning)
    torch.distributions.Distribution.set_default_validate_args(False)
    path = settings.output or Path(f"benchmarks/prior_ablation_{settings.data}.json")
    kept = ("data", "updates", "batch_size", "seeds", "num_particles")
    report: dict[str, Any] = {"settings": {name: getattr(settings, name) for name in kept}}
    old = json.loads(path.read_text()) if path.exists() else {}
    report.update(rates=old.get("rates", []), runs=old.get("runs", []))
    done = {case_of(run): place for place, run in enumerate(report["runs"])}
    data = black_and_white(settings.data)
    rates = chosen_rates(report, data, settings, path)
    for case in cases(settings):
        place = done.get(case_of(case))
        if place is not None and width_of(report["runs"][place]) <= settings.again_if_wider:
            continue
        run = {**case, **train_and_measure(case, data, settings, rates)}
        if place is None:
            report["runs"].append(run)
        else:
            report["runs"][place] = run
        write_json(path, report)
        print(json.dumps(run), flush=True)
    if len({run["bits"] for run in report["runs"]}) > 1:
        save_figure(figure(report["runs"]), path.with_suffix(".png"))


def case_of(run: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(run[name] for name in CASE)


def width_of(run: dict[str, Any]) -> float:
    r"""Returns the width of the bracket of a likelihood."""
    return float(run["upper"] - run["lower"])


def cases(settings: argparse.Namespace) -> list[dict[str, Any]]:
    r"""Returns what is to be run: the quick cases first, seed after seed, and then the others."""
    priors = DATA[settings.data]["priors"]
    grid = [
        dict(zip(CASE, case, strict=True))
        for case in itertools.product(range(settings.seeds), settings.bits, DECODERS, priors)
    ]
    wanted = [case for case in grid if case["bits"] <= LARGEST.get(case["prior"], math.inf)]
    return sorted(
        wanted, key=lambda case: 2 * (case["bits"] in (16, 64)) + (case["prior"] in LARGEST)
    )


def black_and_white(name: str) -> dict[str, Tensor]:
    r"""Returns the parts of a data set, with pixels +1 where there is more ink than not."""
    module: TensorDataModule = (
        OptDigits(classes=False, dequantize=False) if name == "digits" else MNIST28(num_val=1000)
    )
    module.setup()
    parts = {"train": module.train, "val": module.val, "test": module.test}
    return {part: torch.where(rows > 0, 1.0, -1.0) for part, rows in parts.items()}


def chosen_rates(
    report: dict[str, Any], data: dict[str, Tensor], settings: argparse.Namespace, path: Path
) -> tuple[float, float]:
    r"""Returns the learning rates of most validation likelihood, on average over the choosers."""
    candidates = DATA[settings.data]["rates"]
    grid = itertools.product([SEED_OF_CHOICE], [max(settings.bits)], DECODERS, CHOOSERS + OTHERS)
    trials = [
        {**dict(zip(CASE, case, strict=True)), "lr": rates[0], "prior_lr": rates[1]}
        for case, rates in itertools.product(grid, candidates)
    ]
    done = [trial_of(run) for run in report["rates"]]
    for trial in trials if len(candidates) > 1 else []:
        if trial not in done:
            machine, _ = trained(trial, data, settings, (trial["lr"], trial["prior_lr"]))
            run = {**trial, "val": validation(machine, data, exact_or_bracketed(machine.prior))}
            report["rates"].append(run)
            write_json(path, report)
            print(json.dumps(run), flush=True)
    total = dict.fromkeys(candidates, 0.0)
    for run in report["rates"]:  # which may have candidates of before
        if trial_of(run) in trials and run["prior"] in CHOOSERS:
            total[run["lr"], run["prior_lr"]] += run["val"]
    return max(candidates, key=total.__getitem__)


def trial_of(run: dict[str, Any]) -> dict[str, Any]:
    r"""Returns what was tried, without what it reached."""
    return {name: value for name, value in run.items() if name != "val"}


def trained(
    case: dict[str, Any],
    data: dict[str, Tensor],
    settings: argparse.Namespace,
    rates: tuple[float, float],
) -> tuple[qt.HelmholtzMachine, float]:
    r"""Returns the machine of a case, ready to be measured, and the seconds of its training."""
    torch.manual_seed(case["seed"])
    machine = build(case, data["train"].shape[-1], DATA[settings.data]["width"])
    start = time.process_time()
    train(machine, data["train"], settings, rates)
    return machine.eval(), time.process_time() - start


def validation(machine: qt.HelmholtzMachine, data: dict[str, Tensor], log_z: LogZ) -> float:
    return log_likelihood(machine, data["val"], log_z=log_z, num_particles=50).value


def train_and_measure(
    case: dict[str, Any],
    data: dict[str, Tensor],
    settings: argparse.Namespace,
    rates: tuple[float, float],
) -> dict[str, Any]:
    r"""Returns the likelihoods and the cost of one run."""
    machine, seconds = trained(case, data, settings, rates)
    prior = machine.prior
    log_z = exact_or_bracketed(prior)
    prior.log_z.fill_(log_z.value)
    value, lower, upper, stderr, _ = log_likelihood(
        machine, data["test"], log_z=log_z, num_particles=settings.num_particles
    )
    val = validation(machine, data, log_z)
    bound = evidence_bound(machine, data["test"])
    return {
        **{"nats": value, "lower": lower, "upper": upper, "stderr": stderr, "val": val},
        **{"bound": bound.value, "kl": bound.kl, "log_z": log_z._asdict()},
        **{"num_couplings": prior.graph.num_edges, "num_spins": prior.graph.num_spins},
        **{"seconds_of_cpu": seconds},
    }


def train(
    machine: qt.HelmholtzMachine,
    rows: Tensor,
    settings: argparse.Namespace,
    rates: tuple[float, float],
) -> None:
    r"""Trains by the bound, whose divergence counts less at the start, at falling rates."""
    prior = list(machine.prior.parameters())
    networks = [*machine.recognition.parameters(), *machine.generator.parameters()]
    groups = [{"params": networks, "lr": rates[0]}, {"params": prior, "lr": rates[1]}]
    optimizer = torch.optim.Adam(groups, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.updates)
    objective = qt.RelaxedELBO()
    for update in range(settings.updates):
        objective.kl_weight = min(1.0, update / (WARM_UP * settings.updates))
        batch = rows[torch.randint(len(rows), (settings.batch_size,))]
        optimizer.zero_grad()
        objective(machine, batch, machine.prior.draw())["loss"].backward()
        torch.nn.utils.clip_grad_norm_(machine.parameters(), CLIP)
        optimizer.step()
        schedule.step()


def build(case: dict[str, Any], num_visible: int, width: int) -> qt.HelmholtzMachine:
    r"""Returns the machine of a case, of layers so wide."""
    bits, h = case["bits"], width
    recognition = qt.GroupedRecognition(
        *(num_visible, bits),
        trunk=qt.NormalizedMLP(num_visible, [h]),
        **{"num_features": h, "num_groups": 2, "num_hidden": h, "temperature": 1 / 7},
    )
    # The bits are normalized as hidden units are, which leaves a linear map of them linear:
    # without it, few bits are used.
    linear = torch.nn.Sequential(torch.nn.BatchNorm1d(bits), torch.nn.Linear(bits, num_visible))
    deep = qt.NormalizedMLP(bits, [h, h], num_visible)
    layers = [linear if case["decoder"] == "linear" else deep]
    generator = qt.BeliefNetwork([bits, num_visible], layers=layers)
    return qt.HelmholtzMachine(recognition, generator, build_prior(case))


def build_prior(case: dict[str, Any]) -> Any:
    r"""Returns the prior of a case."""
    bits, name = case["bits"], case["prior"]
    if name == "quantum":
        return RelaxedQuantumPrior(bits, gamma=0.5, num_samples=256)
    if name == "embedded":
        device = qt.SimulatedAnnealer(
            *("pegasus", 6),
            **{"missing_qubits": 10, "missing_couplers": 20, "beta": 4.0},
            **{"h_noise": 0.01, "J_noise": 0.005, "h_error": 0.01, "J_error": 0.005},
            **{"bits": 9, "readout_error": 0.001, "num_sweeps": 50, "seed": case["seed"]},
        )
        programming = qt.ProgramSettings(range_policy="clip", num_gauges=0)
        annealer = qt.AnnealerSampler(device, beta=4.0, programming=programming)
        return qt.EmbeddedPrior.on_device(bits, annealer, num_samples=256)
    graph = {
        "factorial": lambda: qt.CouplingGraph(bits, []),
        "bipartite": lambda: qt.CouplingGraph.bipartite(bits // 2, bits // 2),
        "complete": lambda: qt.CouplingGraph.complete(bits),
        "native": lambda: native(bits),
    }[name]()
    return qt.QuantumPriorLayer(graph, num_samples=256, sampler=qt.GibbsSampler(num_sweeps=10))


def native(num_spins: int) -> qt.CouplingGraph:
    r"""Returns a dense part of a Pegasus graph, grown by the qubit with most couplers to it."""
    chip = qt.CouplingGraph.pegasus(4)
    near = {q: set(others) for q, others in chip.to_networkx(labeled=False).adjacency()}
    chosen = [max(near, key=lambda q: len(near[q]))]
    inside = dict.fromkeys(near, 0)  # the couplers of each qubit to the chosen ones
    while len(chosen) <= num_spins:
        for other in near[chosen[-1]]:
            inside[other] += 1
        # Of two equal ones, the one whose neighbors are nearer, which leads to whole cells.
        rest = near.keys() - chosen
        chosen.append(max(sorted(rest), key=lambda q: (inside[q], sum(map(inside.get, near[q])))))
    return chip.subgraph(chosen[:num_spins])[0]


class RelaxedQuantumPrior(qt.QuantumGibbsPrior):
    r"""A quantum Boltzmann machine of few spins whose log-probability goes on between +-1.

    It is multilinear in each spin, as that of a classical one is.
    """

    def log_prob(self, spins: Tensor, negative: Any = None) -> Tensor:
        table = exact_log_probs(self.ising())
        weights = spins.new_ones(*spins.shape[:-1], 1)
        for spin in spins.unbind(-1):  # the first spin is the fastest in the table
            both = torch.stack([1 - spin, 1 + spin], -1) / 2
            weights = (both.unsqueeze(-1) * weights.unsqueeze(-2)).flatten(-2)
        return weights @ table


@torch.no_grad()
def exact_or_bracketed(prior: Any) -> LogZ:
    r"""Returns log Z, with its bracket where it is not exact, by as much annealing as it takes."""
    if isinstance(prior, RelaxedQuantumPrior):  # which has its log-probability as it is
        return LogZ(*(float(prior.log_z),) * 3, 0.0)
    for num_temperatures in TEMPERATURES:
        log_z = estimate_log_z(
            prior.ising().detach(), num_chains=512, num_temperatures=num_temperatures
        )
        if log_z.upper - log_z.lower <= NARROW:
            break
    return log_z


@paper_style()
def figure(runs: list[dict[str, Any]]) -> plt.Figure:
    r"""Returns likelihoods over the number of bits, and below them what couplings add."""
    result, grid = plt.subplots(
        *(2, 2), figsize=(7.4, 5.2), dpi=DPI, sharex=True, sharey="row", layout="constrained"
    )
    for decoder, (above, below) in zip(DECODERS, grid.T, strict=True):
        above.set_title(f"decoder: {decoder}")
        for place, prior in enumerate(PRIORS):
            points = [
                (bits * 1.06 ** (place - 2.5), values_of(runs, bits, decoder, prior))
                for bits in BITS
            ]
            draw(above, prior, [(x, list(v.values())) for x, v in points])
            base = {b: values_of(runs, b, decoder, "factorial") for b in BITS}
            paired = [
                (x, [v[s] - base[bits][s] for s in v if s in base[bits]])
                for bits, (x, v) in zip(BITS, points, strict=True)
            ]
            draw(below, prior, paired if prior != "factorial" else [])
        below.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        below.set_xscale("log", base=2)
        below.set_xticks(BITS, [str(bits) for bits in BITS])
        below.set_xlabel("bits")
    grid[0, 0].set_ylabel("test log-likelihood (nats)")
    grid[1, 0].set_ylabel("more than factorial (nats)")
    grid[0, 1].legend(loc="lower right")
    return result


def values_of(runs: list[dict[str, Any]], bits: int, decoder: str, prior: str) -> dict[int, float]:
    r"""Returns the test log-likelihood of each seed."""
    wanted = (bits, decoder, prior)
    return {r["seed"]: r["nats"] for r in runs if (r["bits"], r["decoder"], r["prior"]) == wanted}


def draw(axes: plt.Axes, prior: str, points: list[tuple[float, list[float]]]) -> None:
    r"""Draws means over seeds, with a bar from the least to the greatest."""
    known = [(x, values) for x, values in points if values]
    if known:
        means = [sum(v) / len(v) for _, v in known]
        low = [m - min(v) for m, (_, v) in zip(means, known, strict=True)]
        high = [max(v) - m for m, (_, v) in zip(means, known, strict=True)]
        style = dict(zip(("color", "marker", "linestyle"), STYLES[prior], strict=True))
        xs = [x for x, _ in known]
        axes.errorbar(xs, means, (low, high), label=prior, markersize=5, capsize=2, **style)


if __name__ == "__main__":
    main()
