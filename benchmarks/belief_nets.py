r"""The table of sigmoid belief nets on MNIST, from their reports in `likelihood`.

A report of the name `belief_net_LAYERS_TOP_RULE.json` is of `qahm fit --config belief_net` with
what its row says, and `qahm evaluate`; with `_long` after it, of three times as many epochs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PREFIX = "belief_net_"
TOPS = {"factorial": "factorial", "boltzmann": "Boltzmann"}
LONG = "_long"
RULES = {"reweighted": "reweighted wake-sleep", "wake_sleep": "wake-sleep"}

# Reweighted wake-sleep (Bornschein & Bengio, 2014), https://arxiv.org/abs/1406.2751, the table of
# nets P and recognition Q that are both sigmoid belief nets; of wake-sleep, the best epoch.
PUBLISHED = {
    ("1", "reweighted"): 103.1,
    ("2", "reweighted"): 93.4,
    ("3", "reweighted"): 90.1,
    ("1", "wake_sleep"): 116.3,
    ("2", "wake_sleep"): 106.9,
    ("3", "wake_sleep"): 101.3,
}


def is_belief_net(report: Path) -> bool:
    r"""Returns whether a report is of one of these nets."""
    return report.stem.startswith(PREFIX)


def table_of_nets(folder: Path) -> list[str]:
    r"""Returns a row for each net, and nothing without a report."""
    reports = {_key(path): json.loads(path.read_text()) for path in folder.glob(f"{PREFIX}*.json")}
    if not reports:
        return []
    return [
        "Sigmoid belief nets on MNIST at 28x28, static, of linear layers of 200 units, in nats",
        "per test image, one run each (seed 0). The top is factorial, or a Boltzmann machine of",
        "all 200 deepest units. Learning rates are the best on 1000 training images held out:",
        "of the networks, of three in up to three epochs of the factorial net of two layers; of",
        "the couplings, of three in two or three epochs of one layer (at 0.001 chains freeze and",
        "the likelihood falls). Neither was chosen for wake-sleep. All were trained for the",
        "configuration's 50 epochs, 29500 updates, and some for 150. The published nets, with",
        "factorial tops and on Larochelle's draw of the data, were trained until they no longer",
        "got better, and measured by up to 100000 draws, which lift the likelihood of factorial",
        "tops most ([Bornschein & Bengio 2014](https://arxiv.org/abs/1406.2751)). `qahm fit",
        "--config belief_net`, with `belief_net_2` or `_3`, `belief_net_boltzmann`,",
        "`belief_net_wake_sleep` and `belief_net_long` added. Minutes are of one thread beside",
        "other work, those of 150 epochs in single precision on a slower processor.",
        "",
        "| layers | top | rule | negative log-likelihood | draws | bound | published |"
        " parameters | updates | minutes |",
        "| --- " * 10 + "|",
        *(_row(key, reports[key]) for key in sorted(reports, key=_place)),
        "",
    ]


def _key(path: Path) -> tuple[str, str, str]:
    layers, top, rule = path.stem.removeprefix(PREFIX).split("_", 2)
    return layers, top, rule


def _place(key: tuple[str, str, str]) -> tuple[int, str, bool, bool]:
    layers, top, rule = key
    place = list(RULES).index(rule.removesuffix(LONG))
    return place, layers, top != "factorial", rule.endswith(LONG)


def _row(key: tuple[str, str, str], report: dict[str, Any]) -> str:
    layers, top, rule = key[0], key[1], key[2].removesuffix(LONG)
    nats, training = report["likelihood"]["nats"], report["training"]
    published = PUBLISHED[layers, rule] if top == "factorial" else ""
    minutes = training["updates"] * training["seconds_per_update"] / 60
    return (
        f"| {'-'.join(['200'] * int(layers))} | {TOPS[top]} | {RULES[rule]} |"
        f" {-nats['value']:.2f} [{-nats['upper']:.2f}, {-nats['lower']:.2f}] +-"
        f" {nats['stderr']:.2f} | {nats['num_particles']} | {-report['bound']['value']:.2f} |"
        f" {published} | {report['num_parameters']} | {training['updates']} | {minutes:.1f} |"
    )
