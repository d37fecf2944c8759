r"""Of several processes, the first asks a sampler that bills, and all get its samples."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cloud_service import CloudService, scrub_environment
from sharing_worker import layer_on_device, learn, learn_on_device, train

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
    assert torch.equal(first["sampled"], second["sampled"])
    assert first["refusal"] == ""
    assert "process 1 of 2 asks Billed, which bills" in second["refusal"]


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend")
def test_two_processes_are_billed_as_one(tmp_path, monkeypatch):
    scrub_environment(monkeypatch, tmp_path / "home")
    num_updates = 4
    with CloudService(shape=[2]) as service:
        learn(layer_on_device(service.client_options()), num_updates)
        of_one = service.billed_jobs()
    with CloudService(shape=[2]) as service:
        arguments = (str(tmp_path), service.client_options(), num_updates)
        mp.spawn(learn_on_device, args=arguments, nprocs=2)
        of_two = service.billed_jobs()
    assert of_one == of_two == num_updates
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first, second)


def test_a_process_of_its_own_is_the_first():
    assert is_first_process() and from_first_process(lambda: 7) == 7
