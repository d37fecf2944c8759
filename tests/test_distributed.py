r"""The layer under DistributedDataParallel: two processes train as one."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ddp_worker import train, train_on_a_device

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend")


def test_ranks_share_parameters_and_keep_their_own_chains(tmp_path):
    mp.spawn(train, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first["J"], second["J"])
    assert not torch.equal(first["chains"], second["chains"])


def test_only_one_process_calls_a_device_that_bills(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    mp.spawn(train_on_a_device, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first["J"], second["J"])
    assert (first["calls"], second["calls"]) == (3, 0)
