r"""The file of a trained machine, and the card that says what it is."""

from __future__ import annotations

__all__ = ["export"]

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import yaml

import qahm_torch
from qahm_torch.cli.arguments import Trained
from qahm_torch.cli.outputs import check_writable
from qahm_torch.evaluation import log_likelihood, write_json
from qahm_torch.ising import Chains
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.pretrained.shipped import sha256_of
from qahm_torch.samplers import AnnealedSampler
from qahm_torch.training.checkpoints import CONFIG_KEY, read_checkpoint

# What of a configuration says how a machine was trained, and on what.
_TOLD = ("name", "seed_everything", "model", "data")
_LICENSE = "Apache-2.0"


def export(trained: Trained, settings: Any) -> tuple[Path, Path]:
    r"""Writes the file and the card of a machine, and returns their paths.

    Raises:
        FileNotFoundError: If there is no report of `qahm evaluate`.
        ValueError: If the report is of another checkpoint.
    """
    folder = Path(settings.output or ".")
    check_writable(folder, is_folder=True)
    report = _report(trained, settings)
    config = yaml.safe_load(read_checkpoint(trained.checkpoint)[CONFIG_KEY])
    name = settings.name or config["name"]
    _prepare(trained.machine, report, settings)
    file = folder / f"{name}.pt"
    trained.machine.save(file, settings.bits)
    card = {
        "name": name,
        "file": file.name,
        "sha256": sha256_of(file),
        "num_bytes": file.stat().st_size,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "version": qahm_torch.__version__,
        "license": _LICENSE,
        "num_parameters": sum(p.numel() for p in trained.machine.parameters()),
        "config": {key: config[key] for key in _TOLD},
        "max_epochs": config["trainer"]["max_epochs"],
        "report": report,
        "rounding": _rounding(trained, HelmholtzMachine.load(file), settings),
    }
    write_json(file.with_suffix(".json"), card)
    return file, file.with_suffix(".json")


def _report(trained: Trained, settings: Any) -> dict[str, Any]:
    r"""Returns the report of the checkpoint that is exported.

    Raises:
        FileNotFoundError: If there is no report.
        ValueError: If it is of another checkpoint.
    """
    path = Path(settings.report or trained.folder / "evaluation.json")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: run `qahm evaluate {settings.run}` first, whose figures the "
            "card has"
        )
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    of = Path(report["checkpoint"])
    if of.resolve() != trained.checkpoint.resolve():
        raise ValueError(f"{path} is the report of {of}, but {trained.checkpoint} is exported")
    return report


def _prepare(machine: HelmholtzMachine, report: dict[str, Any], settings: Any) -> None:
    r"""Gives a Boltzmann machine the log Z of its report, and independent samples as chains."""
    log_z = report["prior"]["log_z"]
    if log_z is None:
        return
    prior: Any = machine.prior
    prior.log_z.fill_(log_z["value"])
    sampler = AnnealedSampler(settings.num_temperatures)
    samples = sampler.sample(prior.ising().detach(), settings.num_chains)
    prior.chains = Chains(samples.spins)


def _rounding(trained: Trained, rounded: HelmholtzMachine, settings: Any) -> dict[str, Any]:
    r"""Returns what rounding costs in nats per datum, of the same draws for both machines."""
    trained.data.prepare_data()
    trained.data.setup("test")
    rows = torch.cat(list(trained.data.test_dataloader()))[: settings.num_test]
    nats = []
    for machine in (trained.machine, rounded):
        torch.manual_seed(settings.seed)
        nats.append(log_likelihood(machine, rows, log_z=None, num_particles=10).value)
    return {
        "bits": settings.bits,
        "num_test": len(rows),
        "num_particles": 10,
        "nats_before": nats[0],
        "nats_after": nats[1],
        "change": nats[1] - nats[0],
    }
