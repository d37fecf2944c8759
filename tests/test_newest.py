r"""Which checkpoint of a folder counts, tried with small files."""

import json
import os
import re
import shutil

import pytest
import torch

from qahm_torch import HelmholtzMachine
from qahm_torch.nn.newest import STATUS_FILE, step_of
from qahm_torch.training import find_checkpoint


@pytest.fixture
def runs(tmp_path):
    r"""Returns a function that leaves a checkpoint, each older by its file time than the last."""
    ages = iter(range(1000))

    def leave(name, step, status=None):
        path = tmp_path / "digits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"global_step": step, "state_dict": {"x": torch.ones(9)}}, path)
        os.utime(path, (5000 - next(ages), 5000 - (next(ages))))
        if status is not None:
            run = tmp_path / "digits" / name.split("/")[0]
            (run / STATUS_FILE).write_text(json.dumps({"status": status}))
        return path

    return leave


def test_the_highest_version_counts_whatever_the_times_of_files(runs, tmp_path):
    runs("version_2/checkpoints/last.ckpt", 5, "finished")
    newest = runs("version_10/checkpoints/last.ckpt", 5, "finished")
    runs("version_9/checkpoints/last.ckpt", 50, "finished")
    assert find_checkpoint(tmp_path) == find_checkpoint(tmp_path / "digits") == newest


@pytest.mark.parametrize("status", ["training", None])
def test_a_run_that_has_ended_comes_before_one_that_has_not(status, runs, tmp_path):
    ended = runs("version_0/checkpoints/last.ckpt", 5, "finished")
    stopped = runs("version_1/checkpoints/on_exception.ckpt", 50, status)
    assert find_checkpoint(tmp_path) == ended
    with pytest.warns(UserWarning, match="version_1 has not ended: .* is of 50 updates"):
        assert find_checkpoint(tmp_path / "digits" / "version_1") == stopped


def test_of_one_run_most_updates_count(runs, tmp_path):
    runs("version_0/checkpoints/epoch=3-step=30.ckpt", 30, "finished")
    last = runs("version_0/checkpoints/last.ckpt", 30)
    runs("version_0/checkpoints/on_exception.ckpt", 20)
    assert find_checkpoint(tmp_path) == find_checkpoint(last.parent) == last


def test_what_has_learned_nothing_never_counts(runs, tmp_path):
    trained = runs("version_0/checkpoints/last.ckpt", 5)
    runs("version_1/checkpoints/on_exception.ckpt", 0)
    assert find_checkpoint(tmp_path) == trained
    with pytest.raises(FileNotFoundError, match="learned anything: 0 .* 1 are of before the fir"):
        find_checkpoint(tmp_path / "digits" / "version_1")


def test_what_cannot_be_read_is_left_out_and_said(runs, tmp_path):
    trained = runs("version_0/checkpoints/last.ckpt", 5, "finished")
    cut = runs("version_1/checkpoints/last.ckpt", 9, "finished")
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=re.escape(f"it cannot be read: {cut}")):
        assert find_checkpoint(tmp_path) == trained


def test_runs_of_several_names_are_not_compared(runs, tmp_path):
    runs("version_0/checkpoints/last.ckpt", 5)
    shutil.copytree(tmp_path / "digits", tmp_path / "other")
    with pytest.raises(ValueError, match=r"name one of .*digits, .*other"):
        find_checkpoint(tmp_path)


def test_a_machine_is_loaded_from_the_run_that_has_ended(fitted, tmp_path):
    runs = tmp_path / "digits"
    shutil.copytree(fitted, runs / "version_0")
    late = runs / "version_1" / "checkpoints"
    shutil.copytree(fitted / "checkpoints", late)
    for file in late.iterdir():
        checkpoint = torch.load(file, weights_only=True)
        checkpoint["state_dict"]["machine.prior.J"].zero_()
        torch.save(checkpoint, file)
    (runs / "version_1" / STATUS_FILE).write_text('{"status": "training"}')
    assert HelmholtzMachine.load(runs).prior.J.abs().sum() > 0
    with pytest.warns(UserWarning, match="has not ended"):
        assert HelmholtzMachine.load(runs / "version_1").prior.J.abs().sum() == 0


def test_the_number_of_updates_is_read_of_a_checkpoint(fitted):
    assert step_of(fitted / "checkpoints" / "last.ckpt") == 8
