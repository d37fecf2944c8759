r"""What each process of the tests of shared samples does."""

import torch
import torch.distributed as dist
from dwave.system import DWaveSampler
from torch.nn.parallel import DistributedDataParallel

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    GibbsSampler,
    QuantumPriorLayer,
    Sampler,
    from_first_process,
)


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


def shared_and_refused(layer):
    r"""Returns samples that all processes have, and what is said where each asks for its own."""
    layer.sampler.fails_at = None
    sampled = from_first_process(lambda: layer.sample(5))
    try:
        layer.sample(5)
        return sampled, ""
    except RuntimeError as error:
        return sampled, str(error)


def learn(layer, num_updates):
    r"""Trains a layer, or what DistributedDataParallel has made of it."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(num_updates):
        optimizer.zero_grad()
        (-layer(torch.ones(4, 4)).mean()).backward()
        optimizer.step()


def layer_on_device(options, num_samples=16):
    torch.manual_seed(0)
    sampler = AnnealerSampler(DWaveSampler(**options), beta=2.0)
    return QuantumPriorLayer(4, sampler=sampler, num_samples=num_samples)


def learn_on_device(rank, folder, options, num_updates):
    r"""Trains on a device in the cloud under DistributedDataParallel."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    layer = layer_on_device(options)
    learn(DistributedDataParallel(layer), num_updates)
    torch.save(layer.J.detach(), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


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
    calls = layer.sampler.calls
    sampled, refusal = shared_and_refused(layer)
    answer = {
        "sampled": sampled,
        "refusal": refusal,
        "J": layer.J.detach(),
        "chains": layer.chains.spins,
        "calls": calls,
        "failure": failure,
    }
    torch.save(answer, f"{folder}/{rank}.pt")
    # A process whose partner has gone can be aborted while its threads end.
    dist.barrier()
    dist.destroy_process_group()
