r"""Writes the README's table of results from the reports in this folder.

    python benchmarks/table.py

Each number of the table comes from a JSON file beside this script, which the command in the last
column writes. The table stands between two marks in the README, and is replaced.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from belief_nets import is_belief_net, table_of_nets

from qahm_torch.evaluation import atomic_write

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"


def main() -> None:
    text = README.read_text()
    with atomic_write(README) as temporary:
        temporary.write_text(with_table(text))


def with_table(text: str) -> str:
    r"""Returns the README with the table of the reports as they are now."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + "\n".join(["## Measured", "", *_lines()]) + "\n" + END + tail


def _lines() -> list[str]:
    return [
        "On 2 cores of a virtual machine, without a GPU. Log-likelihoods are those of all 10 000",
        "test images, pixels and class together, in nats, by importance sampling; the interval",
        "holds the error of log Z and the bias of the estimate (its upper end is an estimate, not",
        "a bound), and the bits are per pixel of 256 gray levels. Distances are Euclidean, in",
        "pixels of [-1, 1], to the nearest training image. Training ran on one thread beside",
        "other work. The objective of `configs/mnist16.yaml` was chosen for the accuracy on the",
        "last 1000 training images, which are held out, and one seed was trained: reweighted",
        "wake-sleep gives the same net more likelihood, and a lower accuracy.",
        "",
        *_machines(),
        "",
        "![Dreams of the machine of configs/mnist16.yaml above their nearest training images]"
        "(benchmarks/mnist16_generated.png)",
        "",
        *_bits(),
        *table_of_nets(FOLDER / "likelihood"),
        *_ablation(),
        "",
        *_mixing(),
        "",
        *_speed(),
        "",
        *_gray_box(),
        "",
        *_annealer(),
        "",
        *_checks(),
        *_systems(),
    ]


def _systems() -> list[str]:
    r"""Returns a row for each system, which its report and its figure in `systems` stand for."""
    table = [
        "",
        "The systems of the paper, each composed of the parts and measured by one command. The",
        "notebook tells how, and has the figure; the report has every number.",
        "",
        "| system | measured | command | notebook |",
        "| --- " * 4 + "|",
    ]
    for notebook in sorted((FOLDER.parent / "notebooks").glob("*.ipynb")):
        name = notebook.stem.partition("_")[2]
        path = FOLDER / "systems" / f"{name}.json"
        if path.exists():
            report = json.loads(path.read_text())
            table.append(
                f"| {report['title']} | {report['headline']} | `qahm reproduce --config {name}`"
                f" | [{notebook.name}](notebooks/{notebook.name}), [report]"
                f"(benchmarks/systems/{path.name}) |"
            )
    return table if len(table) > 6 else []


def _read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def _machines() -> list[str]:
    reports = {name: _read(name) for name in ("mnist16_paper", "mnist16")}
    rows = {
        "log-likelihood": _nats,
        "bits per pixel": lambda r: f"{r['likelihood']['bits_per_pixel']['value']:.3f}",
        "reconstruction MSE by layer 1, 2, one draw": _error("one_draw"),
        "reconstruction MSE by layer 1, 2, mean of 16 draws": _error("mean_of_16_draws"),
        "accuracy, class read out of recognition": _percent("read_out"),
        "the same on validation images": _validation,
        "accuracy, importance-weighted": _percent("importance_weighted"),
        "distance of dreams (means)": _distance("generated_means"),
        "distance of dreams (samples)": _distance("generated_samples"),
        "distance of test images": _distance("test"),
        "updates": lambda r: f"{r['training']['updates']}",
        "seconds per update": lambda r: f"{r['training']['seconds_per_update']:.3f}",
        "minutes of training, updates x seconds per update": _minutes,
        "command": lambda r: _command(r),
    }
    names = " | ".join(f"`configs/{name}.yaml`" for name in reports)
    table = [f"| | {names} |", "| --- " * (1 + len(reports)) + "|"]
    for label, value in rows.items():
        table.append(f"| {label} | " + " | ".join(value(r) for r in reports.values()) + " |")
    return table


def _validation(report: dict[str, Any]) -> str:
    told = report.get("validation") or {"classification_accuracy": None}
    accuracy = told["classification_accuracy"]
    return "none held out" if accuracy is None else f"{100 * accuracy['read_out']:.1f}%"


def _bits() -> list[str]:
    r"""Returns a row for each report in `likelihood`, of machines of bits on MNIST."""
    paths = sorted((FOLDER / "likelihood").glob("*.json"))
    reports = [path for path in paths if not is_belief_net(path)]
    table = [
        "Machines of bits on MNIST at 28x28 in black and white, in nats per test image, one run",
        "each. The interval is that of importance sampling with so many draws and of log Z.",
        "Pixels that see those before them do most of the work by themselves: the divergence (KL)",
        "tells how much the bits are used. The data are a static draw of our own, and not",
        "Larochelle's.",
        "",
        "| config | bits | negative log-likelihood | draws | bound | KL | minutes |",
        "| --- " * 7 + "|",
    ]
    for path in reports:
        report = json.loads(path.read_text())
        nats, bound = report["likelihood"]["nats"], report["bound"]
        table.append(
            f"| `configs/{path.stem}.yaml` | {report['prior']['num_visible']} |"
            f" {-nats['value']:.2f} [{-nats['upper']:.2f}, {-nats['lower']:.2f}] +-"
            f" {nats['stderr']:.2f} | {nats['num_particles']} | {-bound['value']:.2f} |"
            f" {bound['kl']:.1f} | {_minutes(report)} |"
        )
    return [*table, ""] if reports else []


def _command(report: dict[str, Any]) -> str:
    name = Path(report["checkpoint"]).parts[1]
    return f"`qahm fit --config configs/{name}.yaml`, `qahm evaluate runs/{name}`"


def _nats(report: dict[str, Any]) -> str:
    nats = report["likelihood"]["nats"]
    return f"{nats['value']:.1f} [{nats['lower']:.1f}, {nats['upper']:.1f}]"


def _minutes(report: dict[str, Any]) -> str:
    training = report["training"]
    return f"{training['updates'] * training['seconds_per_update'] / 60:.1f}"


def _error(which: str) -> Any:
    return lambda report: ", ".join(
        f"{e[which]:.4f}" for e in report["reconstruction_mse"].values()
    )


def _percent(rule: str) -> Any:
    return lambda report: f"{report['classification_accuracy'][rule]:.1%}"


def _distance(which: str) -> Any:
    return lambda report: f"{report['nearest_training_distance'][which]:.2f}"


def _ablation() -> list[str]:
    report = _read("prior_ablation")
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
        "![Likelihood over bits for each prior and decoder](benchmarks/prior_ablation.png)",
        "",
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
        "no better than 32; with all of them, the linear decoder catches up with the deep one.",
        "Which couplings there are counts, too: with the linear decoder, bipartite less complete",
        f"is {gain('linear', 'bipartite', 'complete')}, and native, of far fewer couplings,",
        f"{gain('linear', 'native', 'complete')}.",
        "",
        "Where it does not: with 8 bits the gain is within the spread of seeds, which is up to",
        f"{_spread(runs):.2f} nats from the least to the greatest of a cell, and there two hidden",
        "layers are worth more than any prior (deep less linear, both factorial:",
        f"{_gains(runs, bits, (deep, 'factorial'), ('linear', 'factorial'))}). Whether",
        "a transverse field or strands on a chip matter at 8 bits is not settled by these runs:",
        "quantum (whose gradient is exact, not sampled) less complete",
        f"is {gain('linear', 'quantum', 'complete')} with the linear decoder and",
        f"{gain(deep, 'quantum', 'complete')} with the other, embedded less complete",
        f"{gain('linear', 'embedded', 'complete')} and {gain(deep, 'embedded', 'complete')}; the",
        "likelihood of embedded is that of the explicit law of unbroken strands, a lower bound.",
        f"All trainings are short: {min(usage):.1f} to {max(usage):.1f} nats of the bits are used",
        "(KL), and one set of learning rates, chosen on validation data at 32 bits, serves all.",
    ]


def _spread(runs: list[dict[str, Any]]) -> float:
    r"""Returns the largest range of the seeds of a case."""
    cells: dict[Any, list[float]] = {}
    for run in runs:
        key = run["bits"], run["decoder"], run["prior"]
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


def _wake_sleep() -> list[str]:
    report = _read("prior_wake_sleep")
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


def _mixing() -> list[str]:
    report = _read("mixing_control")
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


SHOWN = (
    "K60, 1000 chains",
    "K256, 1000 chains",
    "bipartite 128x128, 128 chains",
    "Zephyr-12, 64 chains",
    "Zephyr-12, 1024 chains",
    "Pegasus-16, 64 chains",
    "Pegasus-16, 1024 chains",
)


def _speed() -> list[str]:
    report = _read("speed")
    first, best = report["first_call_seconds"], report["effective_samples"]
    peers = list(report["cases"][SHOWN[0]]["times_faster_than"])
    table = [
        "Speed of `GibbsSampler`: nanoseconds per update of one spin in one chain, and how many",
        "times as long others take in the same process on the same models; medians of whole",
        "calls of tens of sweeps, of which the slower ones run fewer",
        f"(`python -m benchmarks`, {report['threads']} threads; the C++ sampler has one). In a",
        "product of large matrices, the 256 multiply-adds of an update of K256 take",
        f"{256 * report['nanoseconds_per_multiply_add']:.1f} ns here.",
        "",
        "| model | ns | " + " | ".join(peers) + " |",
        "| --- " * (2 + len(peers)) + "|",
    ]
    for name in SHOWN:
        case = report["cases"][name]
        ratios = [case["times_faster_than"].get(p) for p in peers]
        cells = ["" if r is None else f"{r:.0f}x" for r in ratios]
        ns = case["nanoseconds_per_update"]["qahm_torch"]
        table.append(f"| {name} | {ns:.1f} | " + " | ".join(cells) + " |")
    return [
        *table,
        "",
        "Effective samples per second of the negative phase on a trained 60-spin prior:",
        f"{best['per_second']['qahm_torch']:.0f}, {best['times_the_best_peer']:.0f} times the best"
        f" peer. First call: {first['cold']:.1f} s with a cold cache of compiled kernels,"
        f" {first['warm']:.1f} s with a warm one; `import qahm_torch` after torch:"
        f" {1000 * first['import_after_torch']:.0f} ms.",
        "",
        "![Time per update over the number of spins and of chains](benchmarks/speed.png)",
    ]


def _gray_box() -> list[str]:
    names = ("mnist16_annealer", "mnist16_pegasus", "mnist16_zephyr")
    reports = {name: _read(name) for name in names}
    rows = {
        "qubits": lambda r: f"{r['prior']['num_spins']}",
        "log-likelihood": _nats,
        "bits per pixel": lambda r: f"{r['likelihood']['bits_per_pixel']['value']:.3f}",
        "accuracy, class read out of recognition": _percent("read_out"),
        "distance of dreams (means)": _distance("generated_means"),
        "updates": lambda r: f"{r['training']['updates']}",
        "seconds per update": lambda r: f"{r['training']['seconds_per_update']:.2f}",
    }
    table = [
        "The gray box of the paper: parameters on every qubit and coupler of 60 strands, on",
        "simulated chips with faults (`qahm fit --config configs/mnist16_annealer.yaml`; the",
        "others with `--config configs/chip_pegasus16.yaml` or `chip_zephyr15.yaml` added). Reads",
        "are taken as they are; likelihoods and distances are those of the explicit model, as if",
        "the device had drawn at the inverse temperature that was set. Beside other work.",
        "",
        "| | Chimera-16, long strands | Pegasus-16, short strands | Zephyr-15, short strands |",
        "| --- " * (1 + len(reports)) + "|",
    ]
    for label, value in rows.items():
        table.append(f"| {label} | " + " | ".join(value(r) for r in reports.values()) + " |")
    return [
        *table,
        "",
        "![Dreams grown from reads of the simulated Chimera-16](benchmarks/mnist16_annealer.png)",
    ]


def _annealer() -> list[str]:
    report = _read("annealer_training")
    names = list(dict.fromkeys(run["temperature"] for run in report["runs"]))
    table = [
        "Through a simulated annealer: test log-likelihood in nats, with its bracket, of a",
        "complete Boltzmann machine over 60 pixels of the digits, trained through an embedded",
        "60-clique (`python benchmarks/annealer_training.py`). The temperature of the device is",
        "known and constant (exact), or hidden and drifting: tracked, held at its first value, or",
        "ignored.",
        "",
        "| temperature | " + " | ".join(f"seed {s}" for s in range(report["settings"]["seeds"])),
        "| --- " * (1 + report["settings"]["seeds"]) + "|",
    ]
    table[-2] += " |"
    for name in names:
        runs = sorted(
            (r for r in report["runs"] if r["temperature"] == name), key=lambda r: r["seed"]
        )
        cells = [f"{r['nats']:.2f} [{r['lower']:.2f}, {r['upper']:.2f}]" for r in runs]
        table.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *table,
        "",
        "Parameters on every qubit (`EmbeddedPrior`) against parameters on the model, under",
        "control errors on a chip with missing qubits and couplers",
        "(`python benchmarks/embedded_prior.py`): divergence of the decoded samples from the data",
        "in nats, mean over seeds, less is better.",
        "",
        *_embedded(),
        "",
        "![Divergence over the strength of control errors](benchmarks/embedded_prior.png)",
    ]


def _embedded() -> list[str]:
    runs = _read("embedded_prior")["runs"]
    strengths = sorted({run["strength"] for run in runs})
    table = [
        "| error of fields and couplings | " + " | ".join(f"{s:g}" for s in strengths) + " |",
        "| --- " * (1 + len(strengths)) + "|",
    ]
    for way in dict.fromkeys(run["way"] for run in runs):
        cells = []
        for strength in strengths:
            found = [r["divergence"] for r in runs if (r["way"], r["strength"]) == (way, strength)]
            cells.append(f"{sum(found) / len(found):.3f}")
        table.append(f"| {way} | " + " | ".join(cells) + " |")
    return table


def _inference_checks() -> list[str]:
    report, command = _read("inference"), "`python benchmarks/inference.py`"
    brackets = report["log_z"]
    widths = ", ".join(f"{b['widest']:.3f} in {b['seconds']:.2f} s" for b in brackets.values())
    weights = report["modes"]
    fields = report["transverse_field"]
    ours, peer = "PathIntegralSampler", "PathIntegralAnnealingSampler"
    ratios = ", ".join(f"{r[peer]['seconds'] / r[ours]['seconds']:.1f}" for r in fields.values())
    return [
        f"| log Z of 60 units, {'; '.join(brackets)}: widest bracket in nats, and its time"
        f" | {widths} | {command} |",
        "| weight of a mode in which no chain starts: enumeration, `TemperingSampler`,"
        f" `GibbsSampler` | {weights['enumeration']:.3f}, {weights['TemperingSampler']:.3f},"
        f" {weights['GibbsSampler']:.3f} | {command} |",
        f"| transverse fields {', '.join(fields)}, 12 spins: time of `{peer}` over that of"
        f" `{ours}` at equal error | {ratios} | {command} |",
    ]


def _step_checks() -> list[str]:
    cost, command = _read("step_cost"), "`python benchmarks/step_cost.py`"
    cells = [
        f"{'compiled, ' if e['compile_losses'] else ''}{e['dreams']} dreams: {e['seconds']:.1f} s"
        for e in cost["epochs"]
    ]
    both, causal = cost["autoencoders"], cost["convolutional"]
    rivals = {name: ratio for name, ratio in both["ratios"].items() if name != "ours"}
    return [
        "| epoch of 600 updates of `configs/mnist16.yaml` by wake-sleep at batch 100 |"
        f" {'; '.join(cells)} | {command} |",
        *(
            f"| step of a discrete variational autoencoder (784-500-500-128, 256 chains of 10"
            f" sweeps, batch 100): time of `{name}` over ours | {ratio:.1f}"
            f" ({both['milliseconds'][name]:.0f} ms over {both['milliseconds']['ours']:.0f} ms)"
            f" | {command} |"
            for name, ratio in rivals.items()
        ),
        "| step of `configs/mnist28_causal.yaml`: time, and share of the negative phase |"
        f" {causal['milliseconds']['step']:.0f} ms, {100 * causal['negative_share']:.1f} % |"
        f" {command} |",
        "| evaluation of its machine: a draw of an image, and 10 000 images by 1000 draws |"
        f" {causal['microseconds_per_particle']:.0f} microseconds,"
        f" {causal['minutes_of_10000_images_by_1000_draws']:.0f} minutes | {command} |",
    ]


def _device_checks() -> list[str]:
    heat, overhead, faults = _read("temperature"), _read("client_overhead"), _read("faults")
    worst = max(abs(r["found"] / r["beta"] - 1) for r in heat["recovery"])
    hits, trials = heat["coverage"]["hits"], heat["coverage"]["trials"]
    rms = heat["drift"]["rms_error_of_moments"]
    extra, totals = overhead["overhead_milliseconds"], faults["totals"]
    return [
        f"| hidden beta of a noise-free device, 0.3 to 6, four calls: largest error | {worst:.1%}"
        " | `python benchmarks/temperature.py` |",
        "| error bars (1.96 standard errors) that hold the truth: one answer, filter, two scales |"
        f" {hits['pseudo_likelihood']}, {hits['filter']}, {hits['two_scales']} of {trials}"
        " | `python benchmarks/temperature.py` |",
        "| error of moments through a noisy, drifting device: tracked, first value held, ignored;"
        f" without drift | {rms['tracked']:.3f}, {rms['constant']:.3f}, {rms['ignored']:.3f};"
        f" {rms['no drift']:.3f} | `python benchmarks/temperature.py` |",
        "| client overhead of an embedded 60-clique, 1000 reads: `AnnealerSampler`, stock client"
        f" | {extra['annealer_sampler']:.0f} ms, {extra['stock_client']:.0f} ms"
        " | `python benchmarks/client_overhead.py` |",
        "| simulated annealer, 1000 reads of an embedded 60-clique on Pegasus-16 |"
        f" {overhead['simulated_annealer_milliseconds']:.0f} ms"
        " | `python benchmarks/client_overhead.py` |",
        f"| faults of the service survived: cases, hangs, wrong samples | {totals['cases']},"
        f" {totals['hangs']}, {totals['wrong_samples']} | `python benchmarks/faults.py` |",
    ]


def _checks() -> list[str]:
    correctness, cost = _read("correctness"), _read("step_cost")
    errors = correctness["largest_gradient_error"].values()
    ais = correctness["annealed_importance_sampling"]
    times = cost["milliseconds"]
    return [
        "| check | measured | command |",
        "| --- | --- | --- |",
        "| gradient with exact samples against autograd through the enumerated log Z, largest"
        f" error | {max(errors):.1e} | `python benchmarks/correctness.py` |",
        f"| annealed intervals that hold the exact log Z | {ais['inside']} of {ais['models']}"
        " | `python benchmarks/correctness.py` |",
        "| samplers against the oracle by chi-square, with twins 20 % off in temperature that fail"
        " | all pass | `pytest tests/test_samplers.py` |",
        "| training step with the Boltzmann prior over that with a factorial one (batch 1000, 1024"
        f" samples, 2 sweeps) | {cost['ratio']:.2f} ({times['complete']:.0f} ms over"
        f" {times['factorial']:.0f} ms) | `python benchmarks/step_cost.py` |",
        *_step_checks(),
        *_inference_checks(),
        *_device_checks(),
    ]


if __name__ == "__main__":
    main()
