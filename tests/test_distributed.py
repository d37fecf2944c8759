r"""Training in two processes: what they share, and what each has for itself."""

import signal
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ddp_worker import MIDDLE, work
from small_runs import (
    ENVIRONMENT,
    digits,
    quiet_trainer,
    same_weights,
    small_config,
    small_machine,
    write_config,
)
from test_resume import same
from test_stopping import config_with, stopped

from qahm_torch import GibbsSampler, ReweightedWakeSleep
from qahm_torch.training import MachineModule, read_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (folder / "port").write_text(str(free.getsockname()[1]))
    mp.spawn(work, args=(str(folder),), nprocs=2)
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_ranks_share_parameters_and_keep_their_own_chains(ranks):
    first, second = (answers["layer"] for answers in ranks)
    assert torch.equal(first["J"], second["J"])
    assert not torch.equal(first["chains"], second["chains"])


def test_only_one_process_calls_a_device_that_bills(ranks):
    first, second = (answers["device"] for answers in ranks)
    assert torch.equal(first["J"], second["J"])
    assert (first["calls"], second["calls"]) == (3, 0)


def test_all_processes_have_the_samples_that_were_billed_and_stop_together(ranks):
    first, second = (answers["device"] for answers in ranks)
    assert first["steps"] == second["steps"] == 3
    assert all(map(torch.equal, first["negatives"], second["negatives"]))
    assert not torch.equal(first["next"], second["next"])  # all else is random by itself


def test_each_process_draws_a_negative_phase_of_its_own(ranks):
    first, second = (answers["whole"] for answers in ranks)
    assert first["steps"] == second["steps"] == len(first["negatives"]) == 8
    assert not any(map(torch.equal, first["negatives"], second["negatives"]))
    assert same_weights(first["weights"], second["weights"])
    # The twin: as `seed_everything` leaves them, both draw the same.
    first, second = (answers["unseeded"]["negatives"] for answers in ranks)
    assert len(first) == 1 and torch.equal(first[0], second[0])


def test_a_resumed_run_of_two_processes_ends_bit_for_bit_as_the_whole_one(folder, ranks):
    assert read_checkpoint(folder / "whole" / MIDDLE)["global_step"] == 3
    for answers in ranks:
        whole, resumed, copied = (answers[name] for name in ("whole", "resumed", "copied"))
        assert resumed["steps"] == copied["steps"] == 8
        assert all(map(torch.equal, whole["negatives"][3:], resumed["negatives"]))
        assert torch.equal(whole["chains"], resumed["chains"])
        assert same_weights(whole["weights"], resumed["weights"])
        # The twin: with chains and random numbers of one process for both it ends elsewhere.
        assert not same_weights(whole["weights"], copied["weights"])
    first, second = (answers["copied"]["negatives"] for answers in ranks)
    assert all(map(torch.equal, first, second))


def test_two_processes_go_on_from_the_chains_of_one_and_part(ranks):
    first, second = (answers["grown"]["negatives"] for answers in ranks)
    assert len(first) == len(second) == 5
    assert not any(map(torch.equal, first, second))


def test_a_checkpoint_holds_chains_and_random_numbers_of_all_processes(folder):
    checkpoint = read_checkpoint(folder / "whole" / MIDDLE)
    first, second = checkpoint["prior_chains"]
    assert not torch.equal(first["spins"], second["spins"])
    first, second = checkpoint["rng_states"]
    assert not torch.equal(first["cpu"], second["cpu"])


def test_one_process_goes_on_from_the_chains_of_two_and_says_so(folder, tmp_path):
    checkpoint = read_checkpoint(folder / "whole" / MIDDLE)
    # The loader's place in its share of the data means nothing to one process.
    checkpoint["loops"]["fit_loop"]["state_dict"].pop("combined_loader")
    checkpoint["callbacks"] = {}
    torch.save(checkpoint, tmp_path / "two.ckpt")
    module = MachineModule(small_machine(GibbsSampler(2)), ReweightedWakeSleep(hide_classes=0.5))
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    with pytest.warns(UserWarning, match="is of 2 processes, but this run has 1"):
        trainer.fit(
            module, digits(batch_size=50), ckpt_path=tmp_path / "two.ckpt", weights_only=True
        )
    assert trainer.global_step > 3


# The command line


TWO_DEVICES = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


def fit_on_two(folder, *arguments, callbacks=()):
    r"""Trains by the command line on two devices; returns the process and the run folder."""
    folder.mkdir(exist_ok=True)
    config = small_config()
    config["trainer"]["callbacks"] = [*config["trainer"]["callbacks"], *callbacks]
    path = write_config(folder, config)
    command = [sys.executable, "-m", "qahm_torch.cli", "fit", "--config", path, *TWO_DEVICES]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done, folder / "runs" / "digits" / "version_0"


def test_the_command_line_trains_on_two_devices_and_resumes_what_was_killed(tmp_path):
    whole, run = fit_on_two(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    # It is told once, and not by each process.
    assert whole.stdout.count("run folder: runs/digits/version_0\n") == 1
    assert len(list((run / "pictures").glob("*.png"))) == 2
    kill = {"class_path": "test_resume.Kill", "init_args": {"at": 3}}
    killed, cut = fit_on_two(tmp_path / "killed", callbacks=[kill])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    last = cut / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last)["global_step"] == 2
    resumed, again = fit_on_two(tmp_path / "killed", "--ckpt_path", str(last))
    assert [path.name for path in again.parent.iterdir()] == ["version_0"]
    assert resumed.returncode == 0, resumed.stderr
    ends = [read_checkpoint(path / "checkpoints" / "last.ckpt") for path in (run, again)]
    for part in ("state_dict", "prior_chains", "optimizer_states", "rng_states"):
        assert same(ends[0][part], ends[1][part]), part


@pytest.mark.parametrize("rank", [0, 1])
def test_a_failure_in_one_process_ends_the_run_and_leaves_what_it_had_learned(rank, tmp_path):
    fail = {"class_path": "ddp_worker.Fail", "init_args": {"rank": rank, "at": 3}}
    failed, run = fit_on_two(tmp_path / "failed", callbacks=[fail])
    assert failed.returncode == 1 and "out of luck" in failed.stderr
    checkpoint = read_checkpoint(run / "checkpoints" / "on_exception.ckpt")
    assert checkpoint["global_step"] == 3 and len(checkpoint["rng_states"]) == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_processes_and_leaves_what_was_learned(number, status, tmp_path):
    say = {"class_path": "test_stopping.Say", "init_args": {"at": 3}}
    returned, told = stopped(tmp_path, config_with(say), number, *TWO_DEVICES)
    assert returned == status, told
    (path,) = tmp_path.rglob("on_exception.ckpt")
    assert read_checkpoint(path)["global_step"] >= 3
    assert told.count("saved runs/digits/version_0/checkpoints/on_exception.ckpt after") == 1
