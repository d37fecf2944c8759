r"""What each process of the test of DistributedDataParallel does."""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from qahm_torch import GibbsSampler, QuantumPriorLayer


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
