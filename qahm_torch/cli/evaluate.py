r"""`qahm evaluate`: a trained machine in numbers, as a JSON report."""

from __future__ import annotations

__all__ = ["measure", "run"]

import json
import time
from pathlib import Path
from typing import Any

import torch

import qahm_torch
from qahm_torch.cli.arguments import Trained, anneal_prior, load_machine, parser_of
from qahm_torch.cli.run_times import run_times
from qahm_torch.evaluation import (
    bits_per_dimension,
    classification_accuracy,
    evidence_bound,
    log_likelihood,
    nearest_neighbors,
    reconstruction_error,
    write_json,
)
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.nn.newest import step_of
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import LogZ, estimate_log_z
from qahm_torch.training.data_check import check_data


def run(arguments: list[str]) -> None:
    r"""Measures a machine on its test data and writes the report."""
    parser = parser_of("evaluate", "Measures a trained machine on its test data.")
    parser.add_argument(
        "--num_particles", type=int, default=1000, help="Importance samples per test datum."
    )
    parser.add_argument(
        "--num_chains", type=int, default=1024, help="Chains per direction of the log Z estimate."
    )
    parser.add_argument(
        "--num_temperatures", type=int, default=1000, help="Temperatures of the log Z estimate."
    )
    parser.add_argument(
        "--num_generated", type=int, default=1000, help="Dreams compared with training data."
    )
    parser.add_argument(
        "--num_test",
        type=int | None,
        default=None,
        help="The number of test data; all if not set.",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="The report; RUN/evaluation.json if not set.",
    )
    settings = parser.parse_args(arguments)
    trained = load_machine(settings)
    trained.data.prepare_data()
    trained.data.setup("test")
    check_data(trained.data, trained.machine.generator.output, ("val", "test"))
    report = measure(trained, settings)
    output = Path(settings.output or trained.folder / "evaluation.json")
    write_json(output, report)
    print(json.dumps(report, indent=2))
    print(output)


def measure(trained: Trained, settings: Any) -> dict[str, Any]:
    r"""Returns the report of a machine on its test data."""
    start = time.perf_counter()
    machine, data = trained.machine, trained.data
    noisy = torch.cat(list(data.test_dataloader()))[: settings.num_test]
    log_z = _estimate_log_z(machine, settings)
    report: dict[str, Any] = {
        "version": qahm_torch.__version__,
        "checkpoint": str(trained.checkpoint),
        "training": run_times(trained.folder, step_of(trained.checkpoint)),
        "data": data.summary(),
        "num_parameters": sum(p.numel() for p in machine.parameters()),
        "num_test": len(noisy),
        "prior": _prior(machine, log_z),
        "likelihood": _likelihood(trained, noisy, log_z, settings.num_particles),
        "bound": evidence_bound(machine, noisy, num_particles=10)._asdict(),
        "reconstruction_mse": _reconstruction(machine, noisy),
        "nearest_training_distance": _nearest(trained, settings.num_generated),
    }
    if machine.num_classes:
        report["classification_accuracy"] = _accuracy(machine, noisy)
        # By which settings are chosen, so that the number above is of data not looked at before.
        held_out = list(data.val_dataloader())
        report["validation"] = {
            "num": sum(len(batch) for batch in held_out),
            "classification_accuracy": _accuracy(machine, torch.cat(held_out))
            if held_out
            else None,
        }
    return {**report, "seconds": time.perf_counter() - start}


def _accuracy(machine: HelmholtzMachine, data: torch.Tensor) -> dict[str, float]:
    return {
        "importance_weighted": classification_accuracy(machine, data, rule="classify"),
        "read_out": classification_accuracy(machine, data, rule="read_out"),
    }


def _estimate_log_z(machine: HelmholtzMachine, settings: Any) -> LogZ | None:
    r"""Returns an estimate of log Z, which the prior has from then on; None if it has no log Z."""
    prior = machine.prior
    if not isinstance(prior, BoltzmannPrior):
        return None
    log_z = estimate_log_z(
        prior.ising().detach(),
        num_chains=settings.num_chains,
        num_temperatures=settings.num_temperatures,
    )
    prior.log_z.fill_(log_z.value)
    return log_z


def _prior(machine: HelmholtzMachine, log_z: LogZ | None) -> dict[str, Any]:
    r"""Returns what a prior is; without a log Z, its log-probability is its own affair."""
    prior = machine.prior
    report = {"class": type(prior).__name__, "num_visible": prior.num_visible}
    if not isinstance(prior, BoltzmannPrior):
        return {**report, "is_boltzmann_machine": False, "log_z": None}
    return {
        **report,
        "is_boltzmann_machine": True,
        "num_spins": prior.graph.num_spins,
        "log_z": None if log_z is None else log_z._asdict(),
    }


def _likelihood(
    trained: Trained, data: torch.Tensor, log_z: LogZ | None, num_particles: int
) -> dict[str, Any]:
    machine = trained.machine
    result = log_likelihood(machine, data, log_z=log_z, num_particles=num_particles)
    # A density of gray values is no probability of a gray level.
    is_density = machine.generator.output.is_density
    levels = trained.data.num_levels if is_density else None
    bits = {
        name: bits_per_dimension(getattr(result, name), machine.num_pixels, levels)
        for name in ("value", "lower", "upper")
    }
    is_dequantized = levels is not None
    return {"nats": result._asdict(), "bits_per_pixel": bits, "dequantized": is_dequantized}


def _reconstruction(machine: HelmholtzMachine, data: torch.Tensor) -> dict[str, Any] | None:
    r"""Returns errors by hidden layer; None where units are drawn one after the other, slowly."""
    if machine.generator.output.is_sequential:
        return None
    return {
        f"hidden_layer_{k}": {
            "one_draw": reconstruction_error(machine, data, depth=k),
            "mean_of_16_draws": reconstruction_error(machine, data, depth=k, num_draws=16),
        }
        for k in range(1, len(machine.generator.layers) + 1)
    }


def _nearest(trained: Trained, num_generated: int) -> dict[str, float]:
    r"""Returns mean Euclidean distances, in pixels of [-1, 1], to the nearest training datum.

    Mean pixels of dreams are compared as the pictures are, pixel samples as the model is; the
    distance of test data is the measure of both.
    """
    machine, pixels = trained.machine, trained.machine.num_pixels
    anneal_prior(machine, 500)
    dream = machine.dream(num_generated)
    train = trained.data.train[:, :pixels]
    queries = {
        "generated_means": machine.generator.mean(dream[-2]).detach()[:, :pixels],
        "generated_samples": dream[-1][:, :pixels],
        "test": trained.data.test[:num_generated, :pixels],
    }
    return {k: float(nearest_neighbors(v, train).distance.mean()) for k, v in queries.items()}
