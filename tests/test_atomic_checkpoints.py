r"""Disks that are full: what was there before is whole."""

import os
import re
import subprocess
import sys

import pytest
import torch
from small_runs import ENVIRONMENT, small_config, small_machine, write_config

from qahm_torch import HelmholtzMachine
from qahm_torch.nn.newest import step_of
from qahm_torch.training import AtomicCheckpoints, read_checkpoint

resource = pytest.importorskip("resource")
LIMIT = 20_000


def checkpoint(value):
    return {"state_dict": {"x": torch.full((10_000,), value)}, "global_step": 1}


@pytest.fixture
def small_files():
    r"""Lets no file be longer than a limit, as a disk that is full does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_former_checkpoint_is_whole(tmp_path, request):
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint(checkpoint(1.0), path)
    request.getfixturevalue("small_files")
    with pytest.raises(OSError, match=re.escape(f"{path} could not be written, perhaps because")):
        AtomicCheckpoints().save_checkpoint(checkpoint(2.0), path)
    assert (read_checkpoint(path)["state_dict"]["x"] == 1).all()
    assert os.listdir(tmp_path) == ["last.ckpt"]
    # The twin: written in its place, it is cut.
    with pytest.raises((OSError, RuntimeError)):
        torch.save(checkpoint(2.0), path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(path)


def test_the_former_machine_is_whole(tmp_path, request):
    machine = small_machine(widths=(74, 80, 6))
    path = tmp_path / "machine.pt"
    machine.save(path)
    request.getfixturevalue("small_files")
    with pytest.raises((OSError, RuntimeError)):
        machine.save(path)
    assert torch.equal(HelmholtzMachine.load(path).prior.J, machine.prior.J)
    assert os.listdir(tmp_path) == ["machine.pt"]


def test_options_of_object_stores_are_refused(tmp_path):
    with pytest.raises(TypeError, match="storage_options"):
        AtomicCheckpoints().save_checkpoint(checkpoint(1.0), tmp_path / "a.ckpt", {"a": 1})


CODE = """
import resource, sys
import pytorch_lightning as pl
class Fill(pl.Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (%d, resource.RLIM_INFINITY))
sys.modules["fill"] = type(sys)("fill")
sys.modules["fill"].Fill = Fill
Fill.__module__ = "fill"
from qahm_torch.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_training_on_a_full_disk_ends_in_one_line_and_leaves_the_former_one(tmp_path):
    config = small_config()
    config["trainer"]["callbacks"].append({"class_path": "fill.Fill"})
    config["trainer"]["max_epochs"] = 3
    command = [sys.executable, "-c", CODE % LIMIT, "fit", "--config"]
    done = subprocess.run(
        [*command, write_config(tmp_path, config)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert "qahm: error: " in done.stderr and "perhaps because the disk is full" in done.stderr
    assert "what was learned is not saved: " in done.stderr
    assert "Traceback" not in done.stderr
    folder = tmp_path / "runs" / "digits" / "version_0" / "checkpoints"
    steps = {file.name: step_of(file) for file in folder.iterdir()}
    assert steps == {"last.ckpt": 4, "epoch=0-step=4.ckpt": 4}
