r"""Small machines, samplers, trainers and configurations that the tests of training share."""

import os
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.loggers import CSVLogger

import qahm_torch
from qahm_torch import (
    BeliefNetwork,
    Concatenated,
    ContinuousSpins,
    ExactSampler,
    GibbsSampler,
    HelmholtzMachine,
    OneHot,
    QuantumPriorLayer,
    Sampler,
    Samples,
    SimulatedAnnealer,
)
from qahm_torch.cli import main
from qahm_torch.data import OptDigits
from qahm_torch.evaluation import read_metrics
from qahm_torch.ising import all_states, exact_log_probs

TESTS = Path(__file__).parent
CONFIGS = TESTS.parent / "configs"
# For processes of their own: they see the package that the tests see, and the tests.
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(TESTS), str(Path(qahm_torch.__file__).parent.parent)]),
}


class Counting(Sampler):
    r"""Counts the calls of another sampler."""

    def __init__(self, child):
        self.child, self.calls = child, 0

    keeps_chains = True

    def _resumes(self, chains):
        return self.child._resumes(chains)

    def _sample(self, ising, num_samples, **kwargs):
        self.calls += 1
        return self.child.sample(ising, num_samples, **kwargs)


class BilledDevice(SimulatedAnnealer):
    r"""A simulated device that counts the problems it was asked."""

    calls = 0  # of this device
    total = 0  # of all of them, also where a configuration has built it

    def sample(self, *args, **kwargs):
        self.calls += 1
        BilledDevice.total += 1
        return super().sample(*args, **kwargs)


class Weighted(Sampler):
    r"""Answers with each state once, weighted by its exact probability."""

    def _sample(self, ising, num_samples, **kwargs):
        ising = ising.detach()
        return Samples(all_states(ising.num_spins), weights=exact_log_probs(ising).exp())


class Hot(Sampler):
    r"""Samples exactly, at an inverse temperature of 2 where it should be 1."""

    def _sample(self, ising, num_samples, **kwargs):
        return ExactSampler().sample(ising.detach().scaled(2.0), num_samples)


def small_machine(sampler=None, num_samples=32, classes=True, widths=(74, 12, 6)):
    parts = [ContinuousSpins(64), OneHot(10)]
    if not classes:
        widths = (64, *widths[1:])
    output = Concatenated(parts) if classes else parts[0]
    return HelmholtzMachine(
        BeliefNetwork(widths),
        BeliefNetwork(widths[::-1], output=output),
        QuantumPriorLayer(widths[-1], sampler=sampler or GibbsSampler(2), num_samples=num_samples),
    )


def digits(**settings):
    return OptDigits(**{"num_val": 50, "num_test": 1347, "batch_size": 100, **settings})


def quiet_trainer(folder, **settings):
    r"""Returns a trainer that logs each step to `folder/run/version_0/metrics.csv`."""
    return pl.Trainer(
        **{
            "logger": CSVLogger(folder, "run"),
            "accelerator": "cpu",
            "max_epochs": 1,
            "log_every_n_steps": 1,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **settings,
        }
    )


def metrics_of(trainer):
    return read_metrics(Path(trainer.log_dir) / "metrics.csv")


def weights_of(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def small_config(widths=(74, 12, 6), num_samples=32):
    r"""Returns the shipped configuration of the digits, made small."""
    config = yaml.safe_load((CONFIGS / "digits.yaml").read_text())
    machine = config["model"]["init_args"]["machine"]["init_args"]
    machine["recognition"]["init_args"]["widths"] = list(widths)
    machine["generator"]["init_args"]["widths"] = list(widths[::-1])
    machine["prior"]["init_args"].update(graph_or_n=widths[-1], num_samples=num_samples)
    config["data"]["init_args"].update(num_val=50, num_test=1347)
    config["trainer"].update(
        max_epochs=2,
        check_val_every_n_epoch=1,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    for callback in config["trainer"]["callbacks"]:
        callback.get("init_args", {}).pop("every_n_epochs", None)
    return config


def write_config(folder, config):
    path = Path(folder) / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def qahm(*arguments):
    r"""Runs the console script within this process and returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["qahm", *arguments])
        # Lightning calls what jsonargparse has deprecated.
        patch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
        return main()


def fit(folder, config, *arguments):
    r"""Trains by the command line and returns the run folder."""
    path = write_config(folder, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert qahm("fit", "--config", path, *arguments) == 0
    return max((Path(folder) / "runs" / config["name"]).iterdir())
