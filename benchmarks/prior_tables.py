r"""The tables of what the prior is worth, and of mixing, from their reports."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def worth_of_priors() -> list[str]:
    report = json.loads((FOLDER / "prior_ablation_digits.json").read_text())
    settings, runs = report["settings"], report["runs"]
    bits = sorted({run["bits"] for run in runs})
    table = [
        "What the prior is worth: one machine for the 8x8 digits in black and white, with a prior",
        "and a decoder to choose, everything else the same, trained by the relaxed bound for",
        f"{settings['updates']} updates (`python benchmarks/prior_ablation.py`). Test",
        "log-likelihood in nats: mean over seeds, +- half of the range where there are several,",
        "and their number. Native is a dense part of a Pegasus graph, one qubit a bit; embedded",
        "is on strands of a simulated chip with faults, as if its temperature were known; quantum",
        "has a transverse field that learns. The bracket of importance sampling with",
        f"{settings['num_particles']} draws and of log Z is at most"
        f" {max(r['upper'] - r['lower'] for r in runs):.2f} wide. Cases that are not there",
        "took more time than there was.",
        "",
        "| decoder | prior | " + " | ".join(f"{b} bits" for b in bits) + " |",
        "| --- " * (2 + len(bits)) + "|",
    ]
    for decoder in dict.fromkeys(run["decoder"] for run in runs):
        for prior in dict.fromkeys(run["prior"] for run in runs):
            found = [_nats_of(runs, b, decoder, prior) for b in bits]
            if any(found):
                cells = " | ".join(_with_range(list(values.values())) for values in found)
                table.append(f"| {decoder} | {prior} | {cells} |")
    return [
        *table,
        "",
        *_what_it_is_worth(runs, bits),
        "",
        "![Likelihood over bits for each prior and decoder](benchmarks/prior_ablation_digits.png)",
        "",
        *_on_mnist(),
        *_wake_sleep(),
    ]


def _what_it_is_worth(runs: list[dict[str, Any]], bits: list[int]) -> list[str]:
    r"""Returns what is to be said of the ablation, its figures from the report."""
    deep, usage = "two hidden layers", [run["kl"] for run in runs]

    def gain(decoder: str, one: str, other: str) -> str:
        return _gains(runs, bits, (decoder, one), (decoder, other))

    return [
        "Where the prior matters: with many bits, and most where the decoder is linear. Complete",
        f"less factorial, in nats on the same seeds, is {gain('linear', 'complete', 'factorial')}",
        f"with the linear decoder, and {gain(deep, 'complete', 'factorial')} with two hidden",
        "layers, which make correlations of pixels by themselves. Without couplings, 128 bits are",
        "no better than 32; with all of them, the linear decoder catches up with the deep one. In",
        "as many updates, 256 bits do no better than 128 with any prior that was tried.",
        "Which couplings there are counts, too: with the linear decoder, bipartite less complete",
        f"is {gain('linear', 'bipartite', 'complete')}, and native, of far fewer couplings,",
        f"{gain('linear', 'native', 'complete')}.",
        "",
        "Where it does not: with 8 bits the gain is within the spread of seeds, which is up to",
        f"{_spread(runs, 8):.2f} nats from the least to the greatest of a cell, and there two",
        "hidden layers are worth more than any prior (deep less linear, both factorial:",
        f"{_gains(runs, bits, (deep, 'factorial'), ('linear', 'factorial'))}). Whether",
        "a transverse field or strands on a chip matter at 8 bits is not settled by these runs:",
        "quantum (whose gradient is exact, not sampled) less complete",
        f"is {gain('linear', 'quantum', 'complete')} with the linear decoder and",
        f"{gain(deep, 'quantum', 'complete')} with the other, embedded less complete",
        f"{gain('linear', 'embedded', 'complete')} and {gain(deep, 'embedded', 'complete')}; the",
        "likelihood of embedded is that of the explicit law of unbroken strands, a lower bound,",
        "which lies below the factorial prior from 16 bits on.",
        f"All trainings are short: {min(usage):.1f} to {max(usage):.1f} nats of the bits are used",
        "(KL), and one set of learning rates, chosen on validation data at 32 bits, serves all.",
    ]


def _spread(runs: list[dict[str, Any]], bits: int) -> float:
    r"""Returns the largest range of the seeds of a case with so many bits."""
    cells: dict[Any, list[float]] = {}
    for run in runs:
        if run["bits"] != bits:
            continue
        key = run["decoder"], run["prior"]
        cells.setdefault(key, []).append(run["nats"])
    return max(max(values) - min(values) for values in cells.values())


def _gains(
    runs: list[dict[str, Any]], bits: list[int], one: tuple[str, str], other: tuple[str, str]
) -> str:
    r"""Returns the mean difference of two cases over the seeds of both, at each size."""
    cells = []
    for b in bits:
        left, right = (_nats_of(runs, b, *case) for case in (one, other))
        both = [left[s] - right[s] for s in left if s in right]
        cells += [f"{sum(both) / len(both):+.2f} at {b} bits"] if both else []
    return ", ".join(cells) or "not measured"


def _nats_of(runs: list[dict[str, Any]], bits: int, decoder: str, prior: str) -> dict[int, float]:
    r"""Returns the log-likelihood of each seed of a case."""
    wanted = (bits, decoder, prior)
    return {r["seed"]: r["nats"] for r in runs if (r["bits"], r["decoder"], r["prior"]) == wanted}


def _with_range(values: list[float]) -> str:
    if not values:
        return ""
    half = (max(values) - min(values)) / 2
    return f"{sum(values) / len(values):.2f}" + (
        f" +- {half:.2f} ({len(values)})" if len(values) > 1 else " (1)"
    )


def _on_mnist() -> list[str]:
    r"""Returns the same on MNIST, where it has been run."""
    path = FOLDER / "prior_ablation_mnist28.json"
    if not path.is_file():
        return []
    report = json.loads(path.read_text())
    settings, runs = report["settings"], report["runs"]
    columns = sorted({(run["bits"], run["decoder"]) for run in runs})
    sizes = " ".join(str(bits) for bits in sorted({bits for bits, _ in columns}))
    table = [
        f"The same on static MNIST at 28x28, after {settings['updates']} updates, by layers of",
        f"300 units; 10 000 test images, {settings['num_particles']} draws, brackets of at most"
        f" {max(r['upper'] - r['lower'] for r in runs):.2f}, seed by seed (`python",
        f"benchmarks/prior_ablation.py --data mnist28 --bits {sizes} --updates"
        f" {settings['updates']} --seeds {settings['seeds']}`).",
        "",
        "| prior | " + " | ".join(f"{bits} bits, {d}" for bits, d in columns) + " |",
        "| --- " * (1 + len(columns)) + "|",
    ]
    for prior in dict.fromkeys(run["prior"] for run in runs):
        found = [sorted(_nats_of(runs, b, d, prior).items()) for b, d in columns]
        cells = [", ".join(f"{nats:.2f}" for _, nats in values) for values in found]
        table.append(f"| {prior} | " + " | ".join(cells) + " |")
    return [
        *table,
        "",
        *_choice_of_rates(report["rates"]),
        f"Seeds of one cell differ by up to {max(_spread(runs, bits) for bits, _ in columns):.1f}"
        " nats. Seed by seed, and less factorial:",
        "",
        *(
            f"- {decoder}, {bits} bits: "
            + "; ".join(f"{p} {_paired(runs, bits, decoder, p)}" for p in _coupled(runs))
            for bits, decoder in columns
        ),
        "",
    ]


def _coupled(runs: list[dict[str, Any]]) -> list[str]:
    return [prior for prior in dict.fromkeys(run["prior"] for run in runs) if prior != "factorial"]


def _choice_of_rates(trials: list[dict[str, Any]]) -> list[str]:
    r"""Returns how the learning rates were chosen, and what each reached on validation images."""
    reached: dict[tuple[float, float], list[float]] = {}
    for trial in trials:
        if trial["prior"] in ("factorial", "complete"):
            reached.setdefault((trial["lr"], trial["prior_lr"]), []).append(trial["val"])
    means = {rates: sum(values) / len(values) for rates, values in reached.items()}
    lr, prior_lr = max(means, key=means.__getitem__)
    others = ", ".join(f"{nats:.1f} at {rates[1]:g}" for rates, nats in means.items())
    return [
        f"The learning rate of the networks, {lr:g}, was not chosen. That of the prior,",
        f"{prior_lr:g}, was, of {len(reached)} by the mean validation likelihood of factorial and",
        f"complete priors with both decoders, on a seed of its own: {others}.",
        "None outside these was tried.",
        "Not every cell is best there, so that what a prior loses in the table may be its rate.",
        "By the best rate of each cell, likelihoods of validation images, estimated by 50 draws,",
        "with that one seed, less factorial:",
        "",
        *_best_gains(trials),
        "",
    ]


def _best_gains(trials: list[dict[str, Any]]) -> list[str]:
    r"""Returns what couplings gain where every cell has the rate of the prior that suits it."""
    best: dict[str, dict[str, dict[str, Any]]] = {}
    for trial in sorted(trials, key=operator.itemgetter("val")):
        best.setdefault(trial["decoder"], {})[trial["prior"]] = trial
    lines = []
    for decoder, cells in best.items():
        without = cells["factorial"]
        gains = [
            f"{name} {cells[name]['val'] - without['val']:+.1f} (at {cells[name]['prior_lr']:g})"
            for name in ("bipartite", "complete", "native")
            if name in cells
        ]
        lines.append(f"- {decoder}, factorial at {without['prior_lr']:g}: " + ", ".join(gains))
    return lines


def _paired(runs: list[dict[str, Any]], bits: int, decoder: str, prior: str) -> str:
    one, other = (_nats_of(runs, bits, decoder, name) for name in (prior, "factorial"))
    return ", ".join(f"{one[seed] - other[seed]:+.2f}" for seed in sorted(one) if seed in other)


def _wake_sleep() -> list[str]:
    report = json.loads((FOLDER / "prior_wake_sleep.json").read_text())
    epochs = report["settings"]["epochs"]
    table = [
        "The same by wake-sleep, on gray digits of 16x16 with networks of 266-120-60, trained for",
        f"{epochs} epochs with three priors over the 60 deepest spins; log-likelihood and",
        "interval of each seed (`python benchmarks/prior_wake_sleep.py`). There every layer is",
        "linear in the spins above it.",
        "",
        "| prior | " + " | ".join(f"seed {s}" for s in range(report["settings"]["seeds"])) + " |",
        "| --- " * (1 + report["settings"]["seeds"]) + "|",
    ]
    for prior in dict.fromkeys(run["prior"] for run in report["runs"]):
        runs = sorted((r for r in report["runs"] if r["prior"] == prior), key=lambda r: r["seed"])
        cells = [f"{r['nats']:.1f} [{r['lower']:.1f}, {r['upper']:.1f}]" for r in runs]
        table.append(f"| {prior} | " + " | ".join(cells) + " |")
    return table


def late_divergence() -> list[str]:
    report = json.loads((FOLDER / "mixing_control.json").read_text())
    runs, epochs = report["runs"], report["settings"]["epochs"]
    table = [
        "Late divergence (`python benchmarks/mixing_control.py`): exact log-likelihood in nats of",
        "bars and stripes under a restricted machine of 9 + 9 spins, trained with persistent",
        f"chains for {100 * epochs} updates; best possible is {report['best_possible']:.2f}.",
        "`MixingControl` begins with one sweep. The last row has the mean of its number of sweeps",
        "all the time: what saves the training are the sweeps, and the control finds how many.",
        "",
        "| sweeps per update | best, seed by seed | after how many updates | at the end"
        " | sweeps at the end |",
        "| --- " * 5 + "|",
    ]
    for way in dict.fromkeys(run["way"] for run in runs):
        found = sorted((r for r in runs if r["way"] == way), key=lambda r: r["seed"])
        curves = [r["log_likelihood"] for r in found]
        cells = [
            ", ".join(f"{max(c):.2f}" for c in curves),
            ", ".join(str(100 * (c.index(max(c)) + 1)) for c in curves),
            ", ".join(f"{c[-1]:.2f}" for c in curves),
            ", ".join(str(r["num_sweeps"][-1]) for r in found),
        ]
        table.append(f"| {way} | " + " | ".join(cells) + " |")
    figure = "![Likelihood and sweeps over updates](benchmarks/mixing_control.png)"
    return [*table, "", figure]
