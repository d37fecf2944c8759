r"""Where graphs of couplings fit on a chip, and what their samples cost."""

from __future__ import annotations

__all__ = ["describe", "told"]

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentError, ArgumentParser
from torch import nn

from qahm_torch.annealer import AnnealerSampler, PlacementSettings
from qahm_torch.cli.configs import read_config
from qahm_torch.device import PlacementError, RetryPolicy
from qahm_torch.device.chip import Chip
from qahm_torch.ising import CouplingGraph
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import within
from qahm_torch.training.naming import parsing

MINUTE = 60.0
# What Lightning takes where a configuration sets no end.
DEFAULT_EPOCHS = 1000


def describe(settings: Any, typical_updates: int) -> dict[str, Any]:
    r"""Returns the report on a device, or on the device of a configuration.

    Arguments:
        settings: The arguments of `qahm device`.
        typical_updates: The updates of a run of which nothing is known.
    """
    if settings.config is not None:
        config = read_config(settings.config)
        prior, sampler = _prior_of(config, settings.config)
        updates = settings.num_updates or _updates_of(config, settings.config)
        chip = _opened(sampler)
        plans = [_plan(sampler, prior.graph, prior.num_samples, updates)]
        return {"chip": _chip(chip), "plans": plans}
    spec = {
        "class_path": settings.device,
        "init_args": dict(settings.init_args or {}),
    }
    placement = PlacementSettings(copies=settings.copies)
    policy = RetryPolicy(timeout=settings.timeout)
    sampler = AnnealerSampler(spec, placement=placement, policy=policy)
    chip, updates = _opened(sampler), settings.num_updates or typical_updates
    plans = [
        _plan(sampler, CouplingGraph.complete(n), settings.num_samples, updates)
        for n in settings.num_spins
    ]
    return {"chip": _chip(chip), "plans": plans}


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


def told(report: dict[str, Any]) -> str:
    r"""Returns a report as lines for a person."""
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
