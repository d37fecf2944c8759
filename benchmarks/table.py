r"""Writes docs/measured.md, and the first numbers of the README, from the reports in this folder.

    python benchmarks/table.py

Each number comes from a JSON file beside this script, which the command that stands with it
writes. Those of the README stand between two marks, and are replaced.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from belief_nets import table_of_nets
from bits_table import table_of_bits
from prior_tables import late_divergence, worth_of_priors
from trust_tables import soak_and_kills, table_of_faults

from qahm_torch.evaluation import atomic_write

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
MEASURED = FOLDER.parent / "docs" / "measured.md"
BEGIN, END = "<!-- headlines -->\n", "<!-- /headlines -->\n"


def main() -> None:
    texts = {README: with_headlines(README.read_text()), MEASURED: measured()}
    for path, text in texts.items():
        with atomic_write(path) as temporary:
            temporary.write_text(text)


def with_headlines(text: str) -> str:
    r"""Returns the README with the first numbers of the reports as they are now."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + "\n".join(_headlines()) + "\n" + END + tail


def measured() -> str:
    r"""Returns the page of all that is measured, by the reports as they are now."""
    text = "\n".join(["# Measured", "", *_lines()]) + "\n"
    return re.sub(r"\]\((?=benchmarks/|notebooks/)", "](../", text)


def _headlines() -> list[str]:
    bits = _read("likelihood/mnist28_bits_256_residual_draws")
    speed, faults = _read("speed"), _read("faults")
    nats, totals = bits["likelihood"]["nats"], faults["totals"]
    case = speed["cases"]["K60, 1000 chains"]["times_faster_than"]
    peers = [ratio for name, ratio in case.items() if name != "qahm_torch, plain torch"]
    return [
        f"- **{-nats['value']:.1f} nats** per image of statically binarized MNIST, with"
        f" {bits['prior']['num_spins']} bits and pixels that are independent given them"
        f" ({bits['num_test']} test images, {nats['num_particles']} draws each, one seed).",
        f"- **{min(peers):.0f} to {max(peers):.0f} times** as fast as other samplers of a"
        " Boltzmann machine of 60 units, in the same process on a CPU.",
        f"- **{totals['wrong_samples']} wrong samples and {totals['lost_jobs']} lost answers** in"
        f" {totals['cases']} kinds of failure between D-Wave's client and its service.",
        "",
        "[docs/measured.md](docs/measured.md) has each number with its command, and tells",
        "where this package loses.",
    ]


def _lines() -> list[str]:
    return [
        "On 2 cores of a virtual machine, without a GPU. MNIST at 16x16, and the 8x8 digits that",
        "come with the package (OptDigits). Log-likelihoods are those of test images, pixels and",
        "class together, in nats, by importance sampling; the interval holds the error of log Z",
        "and the bias of the estimate (its upper end is an estimate, not a bound), and the bits",
        "are per pixel of so many gray levels as there are. Distances are Euclidean, in",
        "pixels of [-1, 1], to the nearest training image. Training ran on one thread beside",
        "other work. The objective of `configs/mnist16.yaml` was chosen for the accuracy on the",
        "last 1000 training images, which are held out, and one seed of each was trained:",
        "reweighted wake-sleep gives the same net more likelihood, and a lower accuracy.",
        "",
        *_machines(),
        "",
        "![Dreams of the machine of configs/mnist16.yaml above their nearest training images]"
        "(benchmarks/mnist16_generated.png)",
        "",
        *table_of_bits(FOLDER / "likelihood"),
        *table_of_nets(FOLDER / "likelihood"),
        *worth_of_priors(),
        "",
        *late_divergence(),
        "",
        *_speed(),
        "",
        *_gray_box(),
        "",
        *_annealer(),
        "",
        *table_of_faults(_read("faults")),
        *soak_and_kills(_read("soak"), _read("kills")),
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
    reports = {name: _read(name) for name in ("mnist16_paper", "mnist16", "digits")}
    rows = {
        "test images": lambda r: f"{r['num_test']}",
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
    shown = [report["cases"][name]["times_faster_than"] for name in SHOWN]
    peers = list(dict.fromkeys(peer for ratios in shown for peer in ratios))
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
        f"| step of `configs/mnist28_causal.yaml` in {causal['precision']} precision: time, and"
        f" share of the negative phase | {causal['milliseconds']['step']:.0f} ms,"
        f" {100 * causal['negative_share']:.1f} % | {command} |",
        *(
            f"| evaluation of its machine, {e['threads']} thread{'s' * (e['threads'] > 1)}: a draw"
            " of an image, and 10 000 images by 1000 draws |"
            f" {e['microseconds_per_particle']:.0f} microseconds,"
            f" {e['minutes_of_10000_images_by_1000_draws']:.1f} minutes | {command} |"
            for e in causal["evaluation"]
        ),
    ]


def _device_checks() -> list[str]:
    heat, overhead = _read("temperature"), _read("client_overhead")
    worst = max(abs(r["found"] / r["beta"] - 1) for r in heat["recovery"])
    hits, trials = heat["coverage"]["hits"], heat["coverage"]["trials"]
    rms = heat["drift"]["rms_error_of_moments"]
    extra = overhead["overhead_milliseconds"]
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
