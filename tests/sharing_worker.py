r"""What each process of the tests of shared samples does."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from qahm_torch import AnnealerError, GibbsSampler, QuantumPriorLayer, Sampler


class Billed(Sampler):
    r"""Counts its calls, and fails at one of them."""

    is_billed = True
    keeps_chains = True

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = 0, fails_at

    def _sample(self, ising, num_samples, **settings):
        self.calls += 1
        if self.calls == self.fails_at:
            raise AnnealerError("offline")
        return GibbsSampler(2).sample(ising, num_samples, **settings)


def train(rank, folder):
    r"""Trains in somebody's own loop under DistributedDataParallel, with two terms in the loss."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = QuantumPriorLayer(6, sampler=Billed(fails_at=4), num_samples=32)
    torch.manual_seed(rank)
    model = DistributedDataParallel(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ones = torch.ones(4, 6)
    for _ in range(3):
        optimizer.zero_grad()
        layer.prefetch()
        (-model(ones).mean() - 0.5 * layer(-ones).mean()).backward()
        optimizer.step()
    try:
        layer.draw()
        failure = ""
    except AnnealerError as error:
        failure = str(error)
    answer = {
        "J": layer.J.detach(),
        "chains": layer.chains.spins,
        "calls": layer.sampler.calls,
        "failure": failure,
    }
    torch.save(answer, f"{folder}/{rank}.pt")
    # A process whose partner has gone can be aborted while its threads end.
    dist.barrier()
    dist.destroy_process_group()
