r"""What `qahm evaluate` measures of a trained model."""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "measure"]

import time
from typing import Any

import torch

import qahm_torch
from qahm_torch.cli.arguments import Trained, TrainedPrior
from qahm_torch.cli.column_errors import column_errors
from qahm_torch.cli.dreams import Dreams, draw
from qahm_torch.cli.run_stages import Stages
from qahm_torch.cli.run_times import run_times
from qahm_torch.data import MixedTable
from qahm_torch.evaluation import (
    LogLikelihood,
    bits_per_dimension,
    classification_accuracy,
    evidence_bound,
    log_likelihood,
    nearest_known_distance,
    nearest_neighbors,
    prior_log_likelihood,
    reconstruction_error,
)
from qahm_torch.nn import HelmholtzMachine, Prior, Spins, Units
from qahm_torch.nn.newest import step_of
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import LogZ, estimate_log_z
from qahm_torch.training.data_check import check_data

# Of docs/evaluation.schema.json; a field that changes its meaning counts it up.
SCHEMA_VERSION = 1


def measure(trained: Trained | TrainedPrior, settings: Any) -> dict[str, Any]:
    r"""Returns the report of a model on its test data, as docs/evaluation.md has it.

    Raises:
        ValueError: If the data do not fit the units, or there are fewer than 2 test data.
    """
    start = time.perf_counter()
    model = trained.prior if isinstance(trained, TrainedPrior) else trained.machine
    noisy = _test_data(trained)[: settings.num_test]
    report: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "version": qahm_torch.__version__,
        "checkpoint": str(trained.checkpoint),
        "training": run_times(trained.folder, step_of(trained.checkpoint)),
        "data": trained.data.summary(),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "num_test": len(noisy),
    }
    if isinstance(trained, TrainedPrior):
        report |= _of_prior(trained, noisy, settings)
    else:
        report |= _of_machine(trained, noisy, settings)
    return {**report, "seconds": time.perf_counter() - start}


def _test_data(trained: Trained | TrainedPrior) -> torch.Tensor:
    r"""Returns the test data, which are checked, noise included."""
    data = trained.data
    data.prepare_data()
    data.setup("test")
    if isinstance(trained, TrainedPrior):
        units: Units = Spins(trained.prior.num_visible)
    else:
        units = trained.machine.generator.output
    check_data(data, units, ("val", "test"))
    if len(data.test) < 2:
        raise ValueError(
            f"{type(data).__name__} has {len(data.test)} test data, but at least 2 are needed"
        )
    return torch.cat(list(data.test_dataloader()))


def _of_prior(trained: TrainedPrior, noisy: torch.Tensor, settings: Any) -> dict[str, Any]:
    r"""Returns what there is to measure of a prior that was trained alone."""
    prior, stages = trained.prior, Stages(3)
    with stages.stage("log Z"):
        log_z = _estimate_log_z(prior, settings)
    with stages.stage("log-likelihood"):
        nats = prior_log_likelihood(prior, noisy, log_z=log_z)
    with stages.stage("nearest training data"):
        nearest = _nearest(trained, settings.num_generated)
    return {
        "prior": _prior(prior, log_z),
        "likelihood": {
            "nats": nats._asdict(),
            "nats_of_original_values": _original(trained, noisy, nats),
            "bits_per_pixel": _bits(trained, nats, None),
            "dequantized": False,
        },
        "bound": None,
        "reconstruction_mse": None,
        "nearest_training_distance": nearest,
        "columns": None,
    }


def _of_machine(trained: Trained, noisy: torch.Tensor, settings: Any) -> dict[str, Any]:
    machine = trained.machine
    is_table = isinstance(trained.data, MixedTable)
    stages = Stages(5 + is_table + (2 if machine.num_classes else 0))
    with stages.stage("log Z"):
        log_z = _estimate_log_z(machine.prior, settings)
    report: dict[str, Any] = {"prior": _prior(machine.prior, log_z)}
    with stages.stage("log-likelihood"):
        report["likelihood"] = _likelihood(trained, noisy, log_z, settings.num_particles)
    with stages.stage("bound"):
        report["bound"] = evidence_bound(machine, noisy, num_particles=10)._asdict()
    with stages.stage("reconstruction"):
        report["reconstruction_mse"] = _reconstruction(machine, noisy)
    with stages.stage("nearest training data"):
        report["nearest_training_distance"] = _nearest(trained, settings.num_generated)
    report["columns"] = None
    if is_table:
        with stages.stage("columns"):
            report["columns"] = column_errors(trained, noisy)
    if machine.num_classes:
        with stages.stage("classification"):
            report["classification_accuracy"] = _accuracy(machine, noisy)
        # By which settings are chosen, so that the number above is of data not looked at before.
        held_out = list(trained.data.val_dataloader())
        with stages.stage("classification of validation data"):
            report["validation"] = {
                "num": sum(len(batch) for batch in held_out),
                "classification_accuracy": _accuracy(machine, torch.cat(held_out))
                if held_out
                else None,
            }
    return report


def _accuracy(machine: HelmholtzMachine, data: torch.Tensor) -> dict[str, float]:
    return {
        "importance_weighted": classification_accuracy(machine, data, rule="classify"),
        "read_out": classification_accuracy(machine, data, rule="read_out"),
    }


def _estimate_log_z(prior: Prior, settings: Any) -> LogZ | None:
    r"""Returns an estimate of log Z, which the prior has from then on; None if it has no log Z."""
    if not isinstance(prior, BoltzmannPrior):
        return None
    log_z = estimate_log_z(
        prior.ising().detach(),
        num_chains=settings.num_chains,
        num_temperatures=settings.num_temperatures,
    )
    prior.log_z.fill_(log_z.value)
    return log_z


def _prior(prior: Prior, log_z: LogZ | None) -> dict[str, Any]:
    r"""Returns what a prior is; without a log Z, its log-probability is its own affair."""
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
    return {
        "nats": result._asdict(),
        "nats_of_original_values": _original(trained, data, result),
        "bits_per_pixel": _bits(trained, result, levels),
        "dequantized": levels is not None,
    }


def _original(
    trained: Trained | TrainedPrior, data: torch.Tensor, nats: LogLikelihood
) -> dict[str, float] | None:
    r"""Returns nats of the values of a table's file, whose columns are standardized for the units.

    So the likelihood is one beside those of other models. None where data are no table.
    """
    if not isinstance(trained.data, MixedTable):
        return None
    added = float(trained.data.log_jacobian(data).mean())
    return {end: getattr(nats, end) + added for end in ("value", "lower", "upper")}


def _bits(
    trained: Trained | TrainedPrior, nats: LogLikelihood, levels: int | None
) -> dict[str, float | None]:
    r"""Returns bits per pixel: the fewer, the more likely, so that the ends change places.

    The columns of a table are of different kinds, and there is no such number.
    """
    ends = {"value": nats.value, "lower": nats.upper, "upper": nats.lower}
    if isinstance(trained.data, MixedTable):
        return dict.fromkeys(ends)
    if isinstance(trained, TrainedPrior):
        num_pixels = trained.data.num_features
    else:
        num_pixels = trained.machine.num_pixels
    return {name: bits_per_dimension(end, num_pixels, levels) for name, end in ends.items()}


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


def _nearest(trained: Trained | TrainedPrior, num_generated: int) -> dict[str, float | None]:
    r"""Returns mean Euclidean distances, in pixels of [-1, 1], to the nearest training datum.

    Mean pixels of dreams are compared as the pictures are, pixel samples as the model is; the
    distance of test data is the measure of both. A row of means is none of a table.
    """
    dreams = draw(trained, num_generated, 500)
    if isinstance(trained.data, MixedTable):
        return {"generated_means": None, **_nearest_rows(trained.data, dreams, num_generated)}
    pixels = dreams.pixels.shape[-1]
    train = trained.data.train[:, :pixels]
    queries = {
        "generated_means": dreams.pixels,
        "generated_samples": dreams.visible[:, :pixels],
        "test": trained.data.test[:num_generated, :pixels],
    }
    return {k: float(nearest_neighbors(v, train).distance.mean()) for k, v in queries.items()}


def _nearest_rows(data: MixedTable, dreams: Dreams, num_generated: int) -> dict[str, float]:
    r"""Returns mean distances of dreams and of test rows in units, over cells that are known.

    Dreams are given the empty cells of test rows, since the fewer cells there are to compare, the
    nearer is the nearest row.
    """
    train, test = (rows[:, : data.num_features] for rows in (data.train, data.test))
    generated = dreams.visible[:, : data.num_features]
    empty = test.isnan()[torch.arange(len(generated)) % len(test)]
    queries = {
        "generated_samples": generated.masked_fill(empty, torch.nan),
        "test": test[:num_generated],
    }
    return {k: float(nearest_known_distance(v, train).nanmean()) for k, v in queries.items()}
