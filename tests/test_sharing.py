r"""Of several processes, the first asks a sampler that bills, and all get its samples."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sharing_worker import train

from qahm_torch.priors.sharing import from_first_process, is_first_process


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend")
def test_one_bill_for_all_processes(tmp_path):
    mp.spawn(train, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first["J"], second["J"])
    assert torch.equal(first["chains"], second["chains"])
    # Three updates of two terms each, and the one that failed, in both processes.
    assert (first["calls"], second["calls"]) == (4, 0)
    assert first["failure"] == second["failure"] == "offline"


def test_a_process_of_its_own_is_the_first():
    assert is_first_process() and from_first_process(lambda: 7) == 7
