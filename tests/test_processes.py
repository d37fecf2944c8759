r"""What several processes have for themselves, tried in one; see also test_distributed.py."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from small_runs import digits, quiet_trainer, same_weights, small_machine, weights_of

from qahm_torch import GibbsSampler, WakeSleep
from qahm_torch.training import MachineModule, read_checkpoint
from qahm_torch.training.processes import (
    gathered,
    random_state,
    run_folder,
    seed_process,
    set_random_state,
)


@pytest.mark.parametrize(
    "loggers",
    [
        lambda folder: CSVLogger(folder, "run"),
        lambda folder: [TensorBoardLogger(folder, "board"), CSVLogger(folder, "run")],
        lambda folder: False,
    ],
)
def test_the_run_folder_is_that_of_lightning_without_waiting_for_others(
    loggers, tmp_path, monkeypatch
):
    trainer = quiet_trainer(tmp_path, logger=loggers(tmp_path), default_root_dir=tmp_path)
    expected = Path(trainer.log_dir)

    def wait(*arguments):
        raise RuntimeError("the other processes are not here")

    monkeypatch.setattr(trainer.strategy, "broadcast", wait)
    assert run_folder(trainer) == expected
    with pytest.raises(RuntimeError, match="not here"):
        _ = trainer.log_dir


def drawn(seed, rank, world_size):
    torch.manual_seed(seed)
    seed_process(SimpleNamespace(world_size=world_size, global_rank=rank))
    return torch.rand(4).tolist()


def test_processes_are_seeded_by_the_seed_of_all_and_their_rank():
    draws = [drawn(seed, rank, 3) for seed in (0, 1) for rank in range(3)]
    assert len({tuple(draw) for draw in draws}) == 6
    assert draws == [drawn(seed, rank, 3) for seed in (0, 1) for rank in range(3)]
    torch.manual_seed(1)
    plain = torch.rand(4).tolist()
    assert drawn(1, 0, 1) == plain  # a process by itself draws as it always has


def test_random_states_are_those_of_the_device_too(monkeypatch):
    cuda = {0: torch.tensor([1]), 1: torch.tensor([2])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: cuda[device.index])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: cuda.update({device.index: state})
    )
    state = random_state(torch.device("cuda", 1))
    expected, cuda[1] = torch.rand(3), torch.tensor([5])
    set_random_state(state, torch.device("cuda", 1))
    assert torch.equal(torch.rand(3), expected)
    assert cuda == {0: torch.tensor([1]), 1: torch.tensor([2])}
    assert set(random_state(torch.device("cpu"))) == {"cpu"}
    # From a device to the CPU, and back.
    set_random_state(state, torch.device("cpu"))
    set_random_state(random_state(torch.device("cpu")), torch.device("cuda", 1))
    assert cuda[1] == 2


def test_one_process_gathers_what_it_has():
    assert gathered({"a": 1}) == [{"a": 1}]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_resumed_run_on_cuda_draws_as_the_whole_one(tmp_path):
    def trained(name, **settings):
        torch.manual_seed(0)
        module = MachineModule(small_machine(GibbsSampler(2)), WakeSleep(hide_classes=0.5))
        keep = pl.callbacks.ModelCheckpoint(
            tmp_path / name, filename="{step}", every_n_train_steps=3, save_top_k=-1
        )
        trainer = quiet_trainer(
            tmp_path,
            accelerator="gpu",
            devices=1,
            max_epochs=2,
            deterministic=True,
            enable_checkpointing=True,
            callbacks=[keep],
        )
        trainer.fit(module, digits(), **settings)
        return module

    whole = trained("whole")
    middle = tmp_path / "whole" / "step=3.ckpt"
    assert set(read_checkpoint(middle)["rng_states"][0]) == {"cpu", "cuda"}
    resumed = trained("resumed", ckpt_path=middle, weights_only=True)
    assert torch.equal(whole.prior.chains.spins, resumed.prior.chains.spins)
    assert same_weights(weights_of(whole), weights_of(resumed))
