r"""What a training shows while it runs: one bar on a terminal, and some lines elsewhere."""

import io
import re
import subprocess
import sys
import warnings

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelSummary, TQDMProgressBar
from small_runs import (
    ENVIRONMENT,
    digits,
    fit,
    quiet_trainer,
    small_config,
    small_machine,
    write_config,
)
from terminal import on_a_terminal

from qahm_torch.cli.display import by_default
from qahm_torch.training import MachineModule, RunProgress

BAR = re.compile(
    r"epoch (\d+)/3(?:, validation)? \|.*\| (\d+) %, (?:\?|\d\d:\d\d) left(?:, train/loss .*)?"
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Warns(pl.Callback):
    r"""Warns in the midst of a training."""

    def on_train_epoch_end(self, trainer, pl_module):
        warnings.warn(f"wanted, epoch {trainer.current_epoch}", stacklevel=1)


class Stops(pl.Callback):
    def __init__(self, after):
        self.after = after

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 >= self.after


def shown(monkeypatch, folder, stream, *callbacks, progress=None, **settings):
    r"""Returns what a training of so many epochs of four updates writes to stderr."""
    monkeypatch.setattr(sys, "stderr", stream)
    progress = progress or RunProgress()
    settings = {"max_epochs": 3, "enable_progress_bar": True, **settings}
    trainer = quiet_trainer(folder, callbacks=[progress, *callbacks], **settings)
    trainer.fit(MachineModule(small_machine()), digits())
    return stream.getvalue()


def test_a_terminal_shows_one_bar_of_the_whole_run(tmp_path, monkeypatch):
    text = shown(monkeypatch, tmp_path, Terminal())
    frames = [frame for frame in re.split(r"[\r\n]+", text) if frame.strip()]
    found = [BAR.fullmatch(frame.rstrip()) for frame in frames]
    assert all(found), frames
    epochs, percent = ([int(match[k]) for match in found] for k in (1, 2))
    assert epochs == sorted(epochs) and set(epochs) == {1, 2, 3}
    # Of all epochs, so that it never starts anew.
    assert percent == sorted(percent) and percent[-1] == 100
    assert "val/log_likelihood" in frames[-1] and "v_num" not in text
    assert text.count("\n") == 1  # the bar is one line, from the first to the last


def test_elsewhere_a_short_run_has_a_line_for_each_epoch(tmp_path, monkeypatch):
    text = shown(monkeypatch, tmp_path, io.StringIO())
    assert "\r" not in text
    lines = text.splitlines()
    assert [line.partition(" passed")[0][:-7] for line in lines] == [
        f"epoch {k}/3, update {4 * k} of 12" for k in (1, 2, 3)
    ]
    assert all(re.search(r", \d\d:\d\d left: train/loss ", line) for line in lines)


def test_elsewhere_a_long_run_has_as_many_lines_as_said(tmp_path, monkeypatch):
    settings = {"max_epochs": 23, "limit_val_batches": 0}
    text = shown(
        monkeypatch, tmp_path, io.StringIO(), progress=RunProgress(num_lines=5), **settings
    )
    lines = text.splitlines()
    assert len(lines) == 5 and lines[-1].startswith("epoch 23/23, update 92 of 92, ")


def test_a_run_without_an_end_has_ever_fewer_lines(tmp_path, monkeypatch):
    settings = {"max_epochs": -1, "limit_val_batches": 0}
    text = shown(monkeypatch, tmp_path, io.StringIO(), Stops(17), **settings)
    steps = [int(re.match(r"epoch \d+, update (\d+), ", line)[1]) for line in text.splitlines()]
    assert steps == [4, 8, 16, 32, 64] and "left" not in text


def test_a_bar_without_an_end_counts_updates(tmp_path, monkeypatch):
    settings = {"max_epochs": -1, "limit_val_batches": 0}
    text = shown(monkeypatch, tmp_path, Terminal(), Stops(2), **settings)
    assert "epoch 2, 8 updates in 00:0" in text and "left" not in text


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({"max_steps": 10, "max_epochs": -1}, 3),
        ({"max_steps": 6, "max_epochs": 100}, 2),
        ({"accumulate_grad_batches": 3, "max_epochs": 2}, 2),
    ],
)
def test_the_epochs_are_those_that_there_will_be(settings, epochs, tmp_path, monkeypatch):
    text = shown(monkeypatch, tmp_path, io.StringIO(), limit_val_batches=0, **settings)
    last = text.splitlines()[-1]
    assert last.startswith(f"epoch {epochs}/{epochs}, update ") and " 00:00 left" in last


def test_a_disabled_one_says_nothing(tmp_path, monkeypatch):
    for stream in (Terminal(), io.StringIO()):
        progress = RunProgress()
        progress.disable()
        assert shown(monkeypatch, tmp_path, stream, progress=progress, max_epochs=1) == ""


def test_a_validation_alone_has_a_bar_of_its_own(tmp_path, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    trainer = quiet_trainer(tmp_path, callbacks=[RunProgress()], enable_progress_bar=True)
    trainer.validate(MachineModule(small_machine()), digits(), verbose=False)
    trainer.test(MachineModule(small_machine()), digits(), verbose=False)
    frames = [frame for frame in re.split(r"[\r\n]+", stream.getvalue()) if frame.strip()]
    for name in ("validation", "testing"):
        own = [frame for frame in frames if frame.startswith(f"{name} |")]
        assert own and "| 100 %, 00:00 left" in own[-1]


def test_a_number_of_lines_is_positive():
    with pytest.raises(ValueError, match="num_lines is 0, but at least 1 line"):
        RunProgress(0)


# What the command line adds to a trainer


def test_the_users_own_bar_and_table_are_left_alone():
    assert [type(c) for c in by_default({})["callbacks"]] == [RunProgress]
    assert by_default({})["enable_model_summary"] is False
    own = TQDMProgressBar(), ModelSummary()
    assert by_default({"callbacks": list(own)}) == {}
    assert by_default({"enable_progress_bar": False, "enable_model_summary": True}) == {}
    (first, second) = by_default({"callbacks": Warns()})["callbacks"]
    assert isinstance(first, Warns) and isinstance(second, RunProgress)


def shown_config(*callbacks):
    config = small_config()
    for name in ("enable_progress_bar", "enable_model_summary"):
        del config["trainer"][name]
    config["trainer"]["callbacks"] += [{"class_path": name} for name in callbacks]
    return config


def test_progress_can_be_turned_off(tmp_path, capsys):
    fit(tmp_path, shown_config(), "--trainer.enable_progress_bar", "false")
    assert "epoch" not in capsys.readouterr().err
    fit(tmp_path, shown_config())
    told = capsys.readouterr().err
    assert told.count("epoch 2/2, ") == 1
    assert "HelmholtzMachine of " in told and "┏" not in told and "| Name" not in told


NOISE = ("Tip", "LeafSpec", "TPU", "┏", "| Name", "Sanity", "Epoch", "`Trainer.fit` stopped")


@pytest.mark.slow
def test_fit_on_a_terminal(tmp_path):
    path = write_config(tmp_path, shown_config("test_run_progress.Warns"))
    command = [sys.executable, "-m", "qahm_torch.cli", "fit", "--config", path]
    status, text = on_a_terminal(command, ENVIRONMENT, tmp_path)
    assert status == 0, text
    lines = [line.rstrip("\r").rpartition("\r")[2].strip() for line in text.split("\n")]
    # What is left to see of each line is a whole message, or the bar in its last state.
    (bar,) = [line for line in lines if "% left" in line or " left" in line]
    assert bar.startswith("epoch 2/2") and "| 100 %, " in bar
    warned = [line for line in lines if "UserWarning: wanted, epoch" in line]
    assert len(warned) == 2 and not any("|" in line for line in warned)
    assert any(line.startswith("trained ") for line in lines)
    assert [noise for noise in NOISE if noise in text] == []


@pytest.mark.slow
def test_fit_into_files(tmp_path):
    path = write_config(tmp_path, shown_config())
    command = [sys.executable, "-m", "qahm_torch.cli", "fit", "--config", path]
    answer = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path, check=True
    )
    assert [noise for noise in NOISE if noise in answer.stdout + answer.stderr] == []
    assert "\r" not in answer.stderr and len(answer.stderr.splitlines()) < 20
    assert answer.stdout.startswith("trained ")
