import os
import shutil
import signal
import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from small_runs import (
    ENVIRONMENT,
    digits,
    fit,
    metrics_of,
    quiet_trainer,
    same_weights,
    small_config,
    small_machine,
    weights_of,
    write_config,
)

from qahm_torch import WakeSleep
from qahm_torch.evaluation import read_metrics
from qahm_torch.training import MachineModule, find_checkpoint, read_checkpoint

pytestmark = pytest.mark.slow

NUM_STEPS = 24  # three epochs of eight batches
KILLED_AT = 21  # in the third epoch

CHECKPOINT = "pytorch_lightning.callbacks.ModelCheckpoint"
KINDS = {
    "in mid-epoch": {"every_n_train_steps": 5, "filename": "mid-{step}"},
    "after an epoch": {"every_n_epochs": 1, "filename": "epoch-{step}", "save_last": True},
    "at the end of training epochs": {
        "every_n_epochs": 2,
        "filename": "train-{step}",
        "save_on_train_epoch_end": True,
    },
}
RESUMED_FROM = {
    "in mid-epoch": "mid-step=20",
    "in an earlier epoch": "mid-step=5",
    "after an epoch": "epoch-step=16",
    "at the end of training epochs": "train-step=16",
}


class Kill(pl.Callback):
    r"""Ends the process as a power cut would."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def config_of_run(*callbacks):
    r"""Returns a configuration in which all is random that can be."""
    config = small_config()
    settings = config["model"]["init_args"]
    assert settings["objective"]["class_path"] == "qahm_torch.ReweightedWakeSleep"
    assert settings["objective"]["init_args"]["hide_classes"] == 0.5
    assert settings["lr_scheduler"]["class_path"].endswith("CosineAnnealingLR")
    settings["lr_scheduler"]["init_args"]["T_max"] = 3
    config["data"]["init_args"].update(batch_size=50, dequantize=True)
    kinds = [
        {"class_path": CHECKPOINT, "init_args": {"save_top_k": -1, **kind}}
        for kind in KINDS.values()
    ]
    config["trainer"].update(max_epochs=3, callbacks=[*kinds, *callbacks])
    return config


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    # Sums in another number of threads have other roundings.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole"), config_of_run())


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    kill = {"class_path": "test_resume.Kill", "init_args": {"at": KILLED_AT}}
    path = write_config(folder, config_of_run(kill))
    answer = subprocess.run(
        [sys.executable, "-m", "qahm_torch.cli", "fit", "--config", path],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == -signal.SIGKILL, answer.stderr
    (run,) = (folder / "runs" / "digits").iterdir()
    return run


def same(a, b):
    r"""Whether two parts of checkpoints are the same, bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def log_from(run, step):
    metrics = read_metrics(run / "metrics.csv")
    return {
        key: [(s, v) for s, v in zip(*curve, strict=True) if s >= step]
        for key, curve in metrics.items()
    }


@pytest.mark.parametrize("kind", RESUMED_FROM)
def test_killed_and_resumed_run_ends_bit_for_bit_as_the_whole_one(kind, whole, killed, tmp_path):
    name = RESUMED_FROM[kind]
    run = tmp_path / "runs" / "digits" / "version_0"
    shutil.copytree(killed, run)
    checkpoint = run / "checkpoints" / f"{name}.ckpt"
    start = int(name.split("=")[1])
    assert read_checkpoint(checkpoint)["global_step"] == start
    resumed = fit(tmp_path, config_of_run(), "--ckpt_path", str(checkpoint))
    assert resumed == run and find_checkpoint(run) == run / "checkpoints" / "last.ckpt"
    first, second = (
        read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (whole, resumed)
    )
    assert first["global_step"] == second["global_step"] == NUM_STEPS
    for part in ("state_dict", "prior_chains", "optimizer_states", "lr_schedulers", "rng_states"):
        assert same(second[part], first[part]), part
    log = log_from(whole, 0)
    assert len(log["train/loss"]) == NUM_STEPS and len(log["val/accuracy"]) == 3
    assert log_from(resumed, 0) == log


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_chains_and_random_numbers_of_a_checkpoint_matter(whole, killed, tmp_path):
    # The twin of the test above: without them, the resumed run ends elsewhere.
    checkpoint = read_checkpoint(killed / "checkpoints" / "mid-step=20.ckpt")
    expected = read_checkpoint(whole / "checkpoints" / "last.ckpt")["state_dict"]
    for part in ("prior_chains", "rng_states"):
        torch.save({**checkpoint, part: None}, tmp_path / f"{part}.ckpt")
        resumed = fit(tmp_path, config_of_run(), "--ckpt_path", str(tmp_path / f"{part}.ckpt"))
        ends = read_checkpoint(resumed / "checkpoints" / "last.ckpt")["state_dict"]
        assert not torch.equal(ends["machine.prior.J"], expected["machine.prior.J"])


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resuming_from_the_last_batch_of_an_epoch(tmp_path):
    # There Lightning leaves out the validation that came after the checkpoint. With "reweighted"
    # the ends would agree up to rounding only, as the weights have the log Z of that validation.
    def module_and_trainer(name):
        folder = tmp_path / name / "checkpoints"
        keep = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=4, save_top_k=-1)
        module = MachineModule(small_machine(), WakeSleep(hide_classes=0.5))
        trainer = quiet_trainer(
            tmp_path / name, max_epochs=3, enable_checkpointing=True, callbacks=[keep]
        )
        return module, trainer

    whole, trainer = module_and_trainer("whole")
    trainer.fit(whole, digits())
    resumed, again = module_and_trainer("resumed")
    checkpoint = tmp_path / "whole" / "checkpoints" / "epoch=0-step=4.ckpt"
    again.fit(resumed, digits(), ckpt_path=checkpoint, weights_only=True)
    assert trainer.global_step == again.global_step == 12
    assert same_weights(weights_of(resumed), weights_of(whole))
    assert torch.equal(resumed.prior.chains.spins, whole.prior.chains.spins)
    first, second = metrics_of(trainer), metrics_of(again)
    assert first["train/sleep_phi"][1][4:] == second["train/sleep_phi"][1]
    assert first["val/accuracy"][1][1:] == second["val/accuracy"][1]
