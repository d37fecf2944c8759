r"""The layer under DistributedDataParallel: two processes train as one."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from qahm_torch import GibbsSampler, QuantumPriorLayer

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend")


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


def test_ranks_share_parameters_and_keep_their_own_chains(tmp_path):
    mp.spawn(train, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first["J"], second["J"])
    assert not torch.equal(first["chains"], second["chains"])
