r"""`qahm device`: what a chip is, what fits on it, and what a run will cost."""

from __future__ import annotations

__all__ = ["describe", "run"]

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from torch import nn

from qahm_torch.annealer import AnnealerSampler, PlacementSettings
from qahm_torch.cli.configs import with_paths
from qahm_torch.device import PlacementError, RetryPolicy
from qahm_torch.device.chip import Chip
from qahm_torch.ising import CouplingGraph
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import within
from qahm_torch.training.naming import parsing

DEVICES = {"simulated": "qahm_torch.SimulatedAnnealer", "qpu": "dwave.system.DWaveSampler"}
SIZES = [8, 16, 32, 60, 64, 100]
MINUTE = 60.0
TYPICAL_UPDATES = 1000
# What Lightning takes where a configuration sets no end.
DEFAULT_EPOCHS = 1000


def run(arguments: list[str]) -> None:
    r"""Opens a device, submits nothing to it, and prints what was asked."""
    settings = _parser().parse_args(with_paths(arguments))
    report = describe(settings)
    print(json.dumps(report, indent=2) if settings.json else _told(report))


def describe(settings: Any) -> dict[str, Any]:
    r"""Returns the report on a device, or on the device of a configuration."""
    if settings.config is not None:
        config = _read(settings.config)
        prior, sampler = _prior_of(config, settings.config)
        updates = settings.num_updates or _updates_of(config, settings.config)
        chip = _opened(sampler)
        plans = [_plan(sampler, prior.graph, prior.num_samples, updates)]
        return {"chip": _chip(chip), "plans": plans}
    spec = {
        "class_path": DEVICES.get(settings.device, settings.device),
        "init_args": dict(settings.init_args or {}),
    }
    placement = PlacementSettings(copies=settings.copies)
    policy = RetryPolicy(timeout=settings.timeout)
    sampler = AnnealerSampler(spec, placement=placement, policy=policy)
    chip, updates = _opened(sampler), settings.num_updates or TYPICAL_UPDATES
    plans = [
        _plan(sampler, CouplingGraph.complete(n), settings.num_samples, updates)
        for n in settings.num_spins or SIZES
    ]
    return {"chip": _chip(chip), "plans": plans}


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qahm device",
        description="Says what a chip is, what fits on it, and what a run will cost in QPU time. "
        "Nothing is submitted.",
        exit_on_error=False,
    )
    parser.add_argument(
        "--config",
        type=str | None,
        default=None,
        help="A training configuration: its device, model and number of updates.",
    )
    parser.add_argument(
        "--device",
        type=str,
        default="simulated",
        help="'simulated', 'qpu' (by D-Wave's own configuration), or the path of a class.",
    )
    parser.add_argument(
        "--init_args",
        type=dict[str, Any] | None,
        default=None,
        help="Arguments of the device, such as '{topology: zephyr, shape: 12}'.",
    )
    parser.add_argument(
        "--num_spins",
        type=list[int] | None,
        default=None,
        help="Sizes of complete graphs to place, such as '[16, 60]'.",
    )
    parser.add_argument("--copies", type=int, default=1, help="Copies per programming.")
    parser.add_argument("--num_samples", type=int, default=1000, help="Samples per update.")
    parser.add_argument(
        "--num_updates",
        type=int | None,
        default=None,
        help="The updates of a run; by default those of the configuration, or else "
        f"{TYPICAL_UPDATES}.",
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="Seconds to wait.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    return parser


def _opened(sampler: AnnealerSampler) -> Chip:
    try:
        return sampler.chip
    except TypeError as error:  # of a class that is no device, or of arguments that it has not
        raise ValueError(f"the device cannot be opened: {error}") from error


def _chip(chip: Chip) -> dict[str, Any]:
    return {
        "name": chip.name,
        "topology": chip.topology,
        "shape": None if chip.shape is None else list(chip.shape),
        "num_qubits": chip.num_qubits,
        "num_couplers": len(chip.couplers),
        "h_range": chip.h_range,
        "extended_j_range": chip.extended_j_range,
        "num_reads_range": chip.num_reads_range,
        "annealing_time_range_microseconds": chip.annealing_time_range,
    }


def _plan(
    sampler: AnnealerSampler, graph: CouplingGraph, num_samples: int, updates: int
) -> dict[str, Any]:
    r"""Returns where a graph fits and what its samples cost."""
    plan: dict[str, Any] = {"num_spins": graph.num_spins, "num_edges": graph.num_edges}
    try:
        placement = sampler.site(graph).placement
    except PlacementError as error:
        return {**plan, "fits": False, "reason": str(error)}
    seconds = sampler.estimate_time(graph, num_samples)
    lengths = [len(strand) for strand in placement.strands[0]]
    return {
        **plan,
        "fits": True,
        "num_qubits": len(placement.qubits),
        "longest_strand": max(lengths),
        "mean_strand": sum(lengths) / len(lengths),
        "num_copies": placement.num_copies,
        "num_samples": num_samples,
        "qpu_seconds_per_update": seconds,
        "num_updates": updates,
        "qpu_seconds": None if seconds is None else updates * seconds,
    }


def _told(report: dict[str, Any]) -> str:
    chip = report["chip"]
    shape = "" if chip["shape"] is None else f" {chip['topology']} {chip['shape']}"
    lines = [
        f"{chip['name']}:{shape}, {chip['num_qubits']} working qubits, {chip['num_couplers']} "
        f"couplers, h in {chip['h_range']}, J in {chip['extended_j_range']}",
        *(_line(plan) for plan in report["plans"]),
    ]
    return "\n".join(lines)


def _line(plan: dict[str, Any]) -> str:
    what = f"{plan['num_spins']} spins, {plan['num_edges']} couplings"
    if not plan["fits"]:
        return f"  {what}: does not fit. {plan['reason']}"
    where = (
        f"{plan['num_qubits']} qubits, strands up to {plan['longest_strand']}, "
        f"{plan['num_copies']} at a time"
    )
    if plan["qpu_seconds"] is None:
        return f"  {what}: {where}; the device says nothing of its times"
    return (
        f"  {what}: {where}; {1000 * plan['qpu_seconds_per_update']:.1f} ms of QPU time for "
        f"{plan['num_samples']} samples, {plan['qpu_seconds'] / MINUTE:.1f} min for "
        f"{plan['num_updates']} updates"
    )


def _prior_of(config: dict[str, Any], path: str) -> tuple[BoltzmannPrior, AnnealerSampler]:
    r"""Builds the prior of a training configuration, without the rest, and has its annealer."""
    # The outermost of all that have an annealer, perhaps within wrappers.
    specs = [spec for spec in _mappings(config) if _is_annealer(_inner(spec))]
    prior = _built(nn.Module, "prior", specs[0], path) if specs else None
    if isinstance(prior, BoltzmannPrior):
        sampler = within(prior.sampler, AnnealerSampler)
        if sampler is not None:
            return prior, sampler
    raise ValueError(f"{path} has no prior with a qahm_torch.AnnealerSampler as its sampler")


def _updates_of(config: dict[str, Any], path: str) -> int:
    r"""Returns the updates of a run, for which the data may have to be loaded."""
    trainer = config.get("trainer", {})
    steps, epochs = (trainer.get(name) or -1 for name in ("max_steps", "max_epochs"))
    if steps > 0 and epochs < 0:
        return int(steps)
    if "data" not in config:
        raise ValueError(f"{path} has no data to count the updates of: give --num_updates")
    data = _built(pl.LightningDataModule, "data", config["data"], path)
    data.prepare_data()
    data.setup("fit")
    updates = len(data.train_dataloader()) * (epochs if epochs > 0 else DEFAULT_EPOCHS)
    return min(updates, steps) if steps > 0 else updates


def _built(kind: type, name: str, spec: dict[str, Any], path: str) -> Any:
    r"""Builds an object of a training configuration."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, name, fail_untyped=False)
    with parsing():
        try:
            parsed = parser.parse_object({name: spec})
        except ArgumentError as error:
            raise ValueError(f"{path}: the {name} does not fit: {error}") from error
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
        return getattr(instantiate(parsed), name)


def _read(path: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not a configuration: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not a configuration: it holds {type(config).__name__}")
    return config


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    r"""Yields all mappings within a configuration, outer ones first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _inner(spec: Any) -> Any:
    r"""Returns the sampler in the specification of a prior or of a wrapper, if there is one."""
    arguments = spec.get("init_args") if isinstance(spec, dict) else None
    return arguments.get("sampler") if isinstance(arguments, dict) else None


def _is_annealer(sampler: Any) -> bool:
    if not isinstance(sampler, dict):
        return False
    return str(sampler.get("class_path")).endswith("AnnealerSampler") or _is_annealer(
        _inner(sampler)
    )
