r"""Trainings that are stopped, or do not start: what they leave, and their exit status."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
import pytorch_lightning as pl
import torch
from small_runs import ENVIRONMENT, fit, qahm, small_config, write_config

from qahm_torch.nn.newest import STATUS_FILE, step_of
from qahm_torch.training import find_checkpoint, read_checkpoint


class Say(pl.Callback):
    r"""Says by a file that training has come so far, and slows it down."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.at:
            open("here", "w").close()
        if trainer.global_step >= self.at:
            time.sleep(0.1)


class WaitInSanityCheck(pl.Callback):
    r"""Says by a file that training has not yet begun, and waits."""

    def on_sanity_check_start(self, trainer, pl_module):
        open("here", "w").close()
        time.sleep(20)


def callback(name, **arguments):
    return {"class_path": f"test_stopping.{name}", "init_args": arguments}


def config_with(*callbacks):
    config = small_config()
    config["trainer"]["callbacks"] += callbacks
    config["trainer"]["max_epochs"] = 50
    return config


def stopped(folder, config, number, *arguments):
    r"""Trains in a process of its own, sends it a signal, and returns its status and words."""
    command = [sys.executable, "-m", "qahm_torch.cli", "fit", "--config"]
    process = subprocess.Popen(
        [*command, write_config(folder, config), *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (folder / "here").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    return process.returncode, told


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_and_the_status_that_shells_know(number, status, tmp_path):
    returned, told = stopped(tmp_path, config_with(callback("Say", at=5)), number)
    assert returned == status, told
    (path,) = tmp_path.rglob("on_exception.ckpt")
    step = step_of(path)
    assert step >= 5
    relative = path.relative_to(tmp_path)
    run = relative.parent.parent
    (line,) = (line for line in told.splitlines() if line.startswith("saved "))
    assert line == (
        f"saved {relative} after {step} updates; resume with: qahm fit --config {run}/config.yaml "
        f"--ckpt_path {relative}"
    )
    assert json.loads((tmp_path / run / STATUS_FILE).read_text())["status"] == "stopped"
    # What is said is what can be done.
    words = line.split("qahm fit ")[1].split()
    again = subprocess.run(
        [sys.executable, "-m", "qahm_torch.cli", "fit", *words, "--trainer.max_epochs", "3"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert [path.name for path in (tmp_path / run).parent.iterdir()] == ["version_0"]
    newest = find_checkpoint(tmp_path / run)
    assert newest.name == "last.ckpt"
    # SIGTERM waits for the end of an update; Lightning leaves out one that was interrupted.
    assert step_of(newest) in ({12} if number == signal.SIGTERM else {11, 12})


@pytest.mark.slow
def test_an_interrupt_before_the_first_update_leaves_nothing(tmp_path):
    config = config_with(callback("WaitInSanityCheck"))
    returned, told = stopped(tmp_path, config, signal.SIGINT)
    assert returned == 130, told
    assert "saved" not in told and not (tmp_path / "runs").exists()


def test_epochs_after_the_last_regular_checkpoint_are_saved_in_the_end(tmp_path):
    average = {"class_path": "qahm_torch.training.AveragedWeights", "init_args": {"decay": 0.5}}
    config = config_with(average)
    config["trainer"].update(max_epochs=3, check_val_every_n_epoch=2)
    run = fit(tmp_path, config)
    path = run / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(path)
    assert saved["global_step"] == 12
    # What goes on from there goes on with the weights themselves, and not with their average.
    weight = "machine.recognition.layers.0.weight"
    assert not torch.equal(saved["state_dict"][weight], saved["current_model_state"][weight])
    fit(tmp_path, config, "--ckpt_path", str(path), "--trainer.max_epochs", "5")
    assert read_checkpoint(path)["global_step"] == 20
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "epoch=3-step=16.ckpt",
        path.name,
    ]


class FailAtOnce(pl.Callback):
    def on_train_batch_start(self, *args):
        raise ValueError("out of luck")


@pytest.mark.parametrize(
    ("arguments", "callbacks", "told"),
    [
        (["--ckpt_path", "none.ckpt"], [], "ckpt_path is none.ckpt, which does not exist"),
        (["--ckpt_path", "."], [], "ckpt_path is ., which is a folder"),
        ([], [callback("FailAtOnce")], "out of luck"),
    ],
    ids=["missing", "a folder", "in the first update"],
)
def test_a_start_that_fails_leaves_no_run(
    arguments, callbacks, told, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, config_with(*callbacks))
    assert qahm("fit", "--config", path, *arguments) == 1
    assert told in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_that_is_no_checkpoint_leaves_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, config_with())
    monkeypatch.setenv("QAHM_TRACEBACK", "1")
    with pytest.raises(Exception):  # noqa: B017  # Lightning's or ours, of many kinds
        qahm("fit", "--config", path, "--ckpt_path", "config.yaml")
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def content_of(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_start_that_fails_leaves_the_run_that_it_resumes_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_with()
    config["trainer"]["max_epochs"] = 1
    assert qahm("fit", "--config", write_config(tmp_path, config)) == 0
    before = content_of(tmp_path / "runs")
    config = config_with(callback("FailAtOnce"))
    last = "runs/digits/version_0/checkpoints/last.ckpt"
    path = write_config(tmp_path, config)
    assert qahm("fit", "--config", path, "--ckpt_path", last) == 1
    after = content_of(tmp_path / "runs")
    assert {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)} == set()


def test_a_run_says_whether_it_has_ended(fitted):
    told = json.loads((fitted / STATUS_FILE).read_text())
    assert told.pop("seconds") > 0
    expected = {"status": "finished", "updates": 8, "epochs": 2, "qpu_seconds": None}
    assert told == expected


def test_a_resumed_run_of_another_name_is_another_run(fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = config_with()
    config["trainer"]["max_epochs"] = 3
    path = write_config(tmp_path, config)
    before, last = content_of(fitted), str(fitted / "checkpoints" / "last.ckpt")
    with pytest.warns(UserWarning, match="The dirpath has changed"):
        status = qahm("fit", "--config", path, "--name", "other", "--ckpt_path", last)
    assert status == 0
    assert re.search(r"run folder: runs/other/version_0", capsys.readouterr().out)
    assert content_of(fitted) == before
