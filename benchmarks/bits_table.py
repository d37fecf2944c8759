r"""The table of machines of bits on MNIST, from their reports in `likelihood`."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from belief_nets import is_belief_net

_CONFIGS = Path(__file__).parent.parent / "configs"


def table_of_bits(folder: Path) -> list[str]:
    r"""Returns a row for each report in `likelihood`, of machines of bits on MNIST."""
    paths = sorted(folder.glob("*.json"))
    reports = [path for path in paths if not is_belief_net(path)]
    table = [
        "Machines of bits on MNIST at 28x28 in black and white, in nats per test image, one run",
        "each. The interval is that of importance sampling with so many draws and of log Z.",
        "Pixels that see those before them do most of the work by themselves: the divergence (KL)",
        "tells how much the bits are used, and the control with 8 bits what is left without them.",
        "Training data are a static draw of our own, and not that of Larochelle, or dynamic,",
        "drawn anew for each batch; test data are a draw of our own. Hours are of one core,",
        "beside other work, in bfloat16, or for residual convolutions in single precision on a",
        "slower processor; where a run goes on from others, those of all. The second half of",
        "the run of `mnist28_causal_maps` was on two cores. The first 80 epochs of",
        "`mnist28_bits` had a schedule of 400, the others that of the configuration; those",
        "that `mnist28_bits_256_residual_dynamic` goes on from saw the static draw.",
        "Residual blocks of contexts began at random in `mnist28_causal_deep` and",
        "`mnist28_causal_residual`, and begin at nothing now. `qahm fit` with `--config` before",
        "each file of a row trains it, after the row that it goes on from, if there is one;",
        "`qahm evaluate runs/NAME --num_particles DRAWS` measures it.",
        *_of_networks(folder),
        "",
        "| config | pixels | training data | bits | parameters | negative log-likelihood | draws |"
        " bound | KL | hours |",
        "| --- " * 10 + "|",
        *(_row_of_bits(path) for path in reports),
        "",
    ]
    curves = "![Validation likelihood over hours](benchmarks/likelihood/curves.png)"
    return [*table, curves, ""] if reports else []


def _of_networks(folder: Path) -> list[str]:
    r"""Returns what convolutions are worth on static data, where both kinds are reported."""
    paths = [folder / f"mnist28_bits_256_{kind}.json" for kind in ("static", "residual")]
    if not all(path.is_file() for path in paths):
        return []
    layers, convolutions = (
        json.loads(path.read_text())["likelihood"]["nats"]["value"] for path in paths
    )
    return [
        "Layers of all pixels learn static data by heart; with residual convolutions to both",
        f"sides of the same 256 bits the likelihood is {convolutions - layers:.2f} nats higher.",
    ]


def _row_of_bits(path: Path) -> str:
    report = json.loads(path.read_text())
    nats, bound = report["likelihood"]["nats"], report["bound"]
    config = " + ".join(f"`configs/{name}.yaml`" for name in _configs_of(path.stem))
    return (
        f"| {config} | {'causal' if 'causal' in path.stem else 'independent'} |"
        f" {report['data']['binarize']} | {report['prior']['num_visible']} |"
        f" {report['num_parameters']} |"
        f" {-nats['value']:.2f} [{-nats['upper']:.2f}, {-nats['lower']:.2f}] +-"
        f" {nats['stderr']:.2f} | {nats['num_particles']} | {-bound['value']:.2f} |"
        f" {bound['kl']:.1f} | {' + '.join(_hours_of(path))} |"
    )


def _hours_of(path: Path) -> list[str]:
    r"""Returns the hours of a training, behind those of the one that it goes on from."""
    training = json.loads(path.read_text())["training"]
    hours = training["updates"] * training["seconds_per_update"] / 3600
    before = goes_on_from(path.stem)
    return [*(_hours_of(path.with_stem(before)) if before else []), f"{hours:.2f}"]


def _configs_of(name: str) -> list[str]:
    r"""Returns the configuration of a run, behind those that it is added to, if it is so."""
    before = goes_on_from(name)
    if before:
        return [*_configs_of(before), name]
    known = ("mnist28_bits", "mnist28_bits_256", "mnist28_causal")
    return [*(whole for whole in known if name.startswith(f"{whole}_")), name]


def goes_on_from(name: str) -> str | None:
    r"""Returns the name of the run whose weights that of a configuration starts from, if any."""
    config = yaml.safe_load((_CONFIGS / f"{name}.yaml").read_text())
    start = config.get("finetune")
    return Path(start).name if start else None
