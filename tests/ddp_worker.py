r"""What each of two processes of the tests of distributed training does."""

import os
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from small_runs import digits, small_machine, weights_of
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from qahm_torch import (
    AnnealerSampler,
    GibbsSampler,
    QuantumPriorLayer,
    ReweightedWakeSleep,
    SimulatedAnnealer,
)
from qahm_torch.training import MachineModule, MaximumLikelihood, QPUBudget, read_checkpoint

MIDDLE = "step=3.ckpt"  # of the first of two epochs of four updates


def work(rank, folder):
    r"""Does everything in one pair of processes, since to start one takes seconds."""
    folder = Path(folder)
    answers = {"layer": train_layer(rank, folder)}
    os.environ.update(
        {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    )
    os.environ["MASTER_PORT"] = (folder / "port").read_text()
    answers["device"] = train_on_a_device(folder)
    answers["unseeded"] = train_machine(folder / "unseeded", Unseeded, max_steps=1)
    answers["whole"] = train_machine(folder / "whole", checkpoints=True)
    middle = folder / "whole" / MIDDLE
    answers["resumed"] = train_machine(folder / "resumed", ckpt_path=middle)
    for name, copies in (("copied", 2), ("grown", 1)):
        path = of_first(middle, rank, copies)
        answers[name] = train_machine(folder / name, ckpt_path=path)
    torch.save(answers, folder / f"{rank}.pt")


def train_layer(rank, folder):
    r"""Trains a layer without Lightning."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = QuantumPriorLayer(6, sampler=GibbsSampler(2), num_samples=32)
    torch.manual_seed(rank)
    model = DistributedDataParallel(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (-model(torch.ones(4, 6)).mean()).backward()
        optimizer.step()
    dist.destroy_process_group()
    return {"J": layer.J.detach(), "chains": layer.chains.spins}


def train_on_a_device(folder):
    r"""Trains through a device that bills, until its budget is spent."""
    torch.manual_seed(0)
    sampler = AnnealerSampler(SimulatedAnnealer("zephyr", 1, beta=2.0, seed=0), beta=2.0)
    module = MaximumLikelihood(QuantumPriorLayer(6, sampler=sampler, num_samples=32))
    cost = sampler.estimate_time(module.layer.graph, 32)
    watch = Watch()
    trainer = quiet_ddp(folder / "device", callbacks=[watch, QPUBudget(3.5 * cost)])
    trainer.fit(module, DataLoader(torch.ones(48, 6), batch_size=4))
    return {
        "J": module.layer.J.detach(),
        "calls": sampler.account.num_problems,
        "steps": trainer.global_step,
        "negatives": watch.negatives,
        "next": torch.rand(3),
    }


def train_machine(folder, kind=MachineModule, checkpoints=False, ckpt_path=None, **settings):
    r"""Trains a machine, in which all is random that can be."""
    pl.seed_everything(0)
    module = kind(small_machine(GibbsSampler(2)), ReweightedWakeSleep(hide_classes=0.5))
    watch = Watch()
    callbacks = [watch]
    if checkpoints:
        keep = {"filename": "{step}", "every_n_train_steps": 3, "save_top_k": -1}
        callbacks.append(pl.callbacks.ModelCheckpoint(folder, **keep))
    trainer = quiet_ddp(folder, **{"max_epochs": 2, "callbacks": callbacks, **settings})
    trainer.fit(
        module, digits(batch_size=50), ckpt_path=ckpt_path, weights_only=ckpt_path is not None
    )
    return {
        "weights": weights_of(module),
        "chains": module.prior.chains.spins,
        "negatives": watch.negatives,
        "steps": trainer.global_step,
    }


def of_first(path, rank, copies):
    r"""Writes a checkpoint with the state of the first process, once or for both."""
    checkpoint = read_checkpoint(path)
    for key in ("prior_chains", "rng_states"):
        checkpoint[key] = checkpoint[key][:1] * copies
    copy = path.with_name(f"of_first_{copies}_{rank}.ckpt")
    torch.save(checkpoint, copy)
    return copy


def quiet_ddp(folder, **settings):
    return pl.Trainer(
        **{
            "accelerator": "cpu",
            "devices": 2,
            "strategy": "ddp",
            "default_root_dir": folder,
            "logger": False,
            "enable_checkpointing": bool(settings.get("callbacks")),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **settings,
        }
    )


class Unseeded(MachineModule):
    r"""Leaves random numbers as `seed_everything` has them: the same in all processes."""

    def on_fit_start(self):
        pass


class Watch(pl.Callback):
    r"""Keeps the negative phase of each update."""

    def __init__(self):
        self.negatives = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.negatives.append(pl_module.negative.spins.clone())


class Fail(pl.Callback):
    r"""Fails in one of the processes, after an update."""

    def __init__(self, rank, at=3):
        self.rank, self.at = rank, at

    def on_train_batch_end(self, trainer, *args):
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.at):
            raise RuntimeError("out of luck")
