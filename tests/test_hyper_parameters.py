r"""The settings of a training, as boards compare runs by them."""

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.loggers import TensorBoardLogger
from small_runs import digits, fit, quiet_trainer, small_config, small_machine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from qahm_torch import (
    GibbsSampler,
    QuantumPriorLayer,
    RelaxedELBO,
    Sampler,
    Stages,
    Swept,
    WakeSleep,
)
from qahm_torch.data import BarsAndStripes
from qahm_torch.training import (
    HyperParameters,
    MachineModule,
    MaximumLikelihood,
    hyper_parameters,
)


class Kept(pl.Callback):
    r"""Keeps the settings as they are in the middle of a training."""

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.settings = hyper_parameters(trainer, pl_module)


def settings_of(module, data, folder, **settings):
    kept = Kept()
    quiet_trainer(folder, callbacks=[kept], limit_val_batches=0, **settings).fit(module, data)
    return kept.settings


def told(board, part):
    r"""Returns a part of what the tab HPARAMS is told."""
    content = board.PluginTagToContent("hparams")[f"_hparams_/{part}"]
    return getattr(HParamsPluginData.FromString(content), part)


def values_of(board):
    hparams = told(board, "session_start_info").hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def test_a_run_of_the_command_line_has_its_row_in_the_tab(tmp_path):
    config = small_config()
    config["model"]["init_args"]["prior_lr"] = 0.001
    folder = fit(tmp_path, config)
    board = EventAccumulator(str(folder))
    board.Reload()
    settings = values_of(board)
    expected = {
        "lr": 0.003,
        "prior_lr": 0.001,
        "optimizer": "Adam",
        "lr_scheduler": "CosineAnnealingLR",
        "objective": "ReweightedWakeSleep",
        "objective.num_particles": 5,
        "sampler": "GibbsSampler",
        "sampler.num_sweeps": 10,
        "prior": "QuantumPriorLayer",
        "prior.num_couplings": 15,
        "prior.num_samples": 32,
        "recognition.widths": "74-12-6",
        "generator.widths": "6-12-74",
        "data": "OptDigits",
        "data.batch_size": 100,
    }
    assert {name: settings.get(name) for name in expected} == expected
    metrics = [metric.name.tag for metric in told(board, "experiment").metric_infos]
    assert metrics == ["val/log_likelihood", "train/loss", "val/accuracy"]
    # Each is a curve of measured values only.
    assert set(metrics) <= set(board.Tags()["scalars"]) and "hp_metric" not in board.Tags()
    assert "hp_metric" not in board.Tags()["scalars"]
    assert [event.step for event in board.Scalars("val/log_likelihood")] == [3, 7]
    written = yaml.safe_load((folder / "hparams.yaml").read_text())
    assert written.keys() == settings.keys() and written["lr"] == 0.003


def test_without_classes_there_is_no_accuracy_to_compare(tmp_path):
    logger = TensorBoardLogger(tmp_path, "run")
    trainer = quiet_trainer(tmp_path, logger=logger, callbacks=[HyperParameters()])
    trainer.fit(MaximumLikelihood(QuantumPriorLayer(4, num_samples=50)), BarsAndStripes(side=2))
    board = EventAccumulator(trainer.log_dir)
    board.Reload()
    metrics = [metric.name.tag for metric in told(board, "experiment").metric_infos]
    assert metrics == ["val/log_likelihood", "train/loss"]
    assert values_of(board)["prior.num_spins"] == 4


def test_rates_are_those_of_the_start(tmp_path):
    module = MachineModule(
        small_machine(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        prior_lr=0.04,
    )
    found = settings_of(module, digits(), tmp_path, max_epochs=3)
    assert (found["lr"], found["prior_lr"], found["lr_scheduler"]) == (0.1, 0.04, "ExponentialLR")


def test_parts_of_parts_are_told(tmp_path):
    objective = Stages([WakeSleep(sleep_phi=0.5), RelaxedELBO(num_particles=3)], [2])
    module = MachineModule(small_machine(Swept(GibbsSampler(3), 4)), objective)
    found = settings_of(module, digits(), tmp_path)
    assert found["objective"] == "Stages" and found["objective.epochs"] == "2"
    assert (found["objective.0"], found["objective.0.sleep_phi"]) == ("WakeSleep", 0.5)
    assert (found["objective.1"], found["objective.1.num_particles"]) == ("RelaxedELBO", 3)
    assert (found["sampler"], found["sampler.num_sweeps"]) == ("Swept", 4)
    assert found["sampler.sampler"] == "GibbsSampler"
    assert found["sampler.sampler.num_sweeps"] == 3


class Remote(Sampler):
    r"""A sampler of somebody's own that knows a secret."""

    def __init__(self, api_token, url, size):
        self.api_token, self.url, self.size = api_token, url, size

    def _sample(self, ising, num_samples, **kwargs):
        return GibbsSampler(1).sample(ising, num_samples)


@pytest.mark.parametrize("url", ["https://me:hidden@example.org", "https://example.org"])
def test_secrets_are_not_told(url, tmp_path):
    module = MachineModule(small_machine(Remote("hidden", url, 7)))
    found = settings_of(module, digits(), tmp_path)
    assert (found["sampler"], found["sampler.size"]) == ("Remote", 7)
    assert "hidden" not in str(found)
    assert ("sampler.url" in found) == ("hidden" not in url)
