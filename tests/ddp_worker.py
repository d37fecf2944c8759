r"""What each process of the test of DistributedDataParallel does."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from qahm_torch import AnnealerSampler, GibbsSampler, QuantumPriorLayer, SimulatedAnnealer


def train(rank, folder):
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
    torch.save({"J": layer.J.detach(), "chains": layer.chains}, os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def train_on_a_device(rank, folder):
    r"""Trains by Lightning in one of two processes, through a device that bills."""
    import pytorch_lightning as pl
    from torch.utils.data import DataLoader

    from qahm_torch.training import MaximumLikelihood

    os.environ.update(
        {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    )
    os.environ["MASTER_PORT"] = Path(folder, "port").read_text()
    torch.manual_seed(0)
    sampler = AnnealerSampler(SimulatedAnnealer("zephyr", 1, beta=2.0, seed=0), beta=2.0)
    module = MaximumLikelihood(QuantumPriorLayer(6, sampler=sampler, num_samples=32))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.ones(24, 6), batch_size=4))
    answer = {"J": module.layer.J.detach(), "calls": sampler.ledger.num_problems}
    torch.save(answer, os.path.join(folder, f"{rank}.pt"))
