r"""Training in two processes: what they share, and what each has for itself."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ddp_worker import MIDDLE, work
from small_runs import digits, quiet_trainer, same_weights, small_machine

from qahm_torch import GibbsSampler, ReweightedWakeSleep
from qahm_torch.training import MachineModule, read_checkpoint

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (folder / "port").write_text(str(free.getsockname()[1]))
    mp.spawn(work, args=(str(folder),), nprocs=2)
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_ranks_share_parameters_and_keep_their_own_chains(ranks):
    first, second = (answers["layer"] for answers in ranks)
    assert torch.equal(first["J"], second["J"])
    assert not torch.equal(first["chains"], second["chains"])


def test_only_one_process_calls_a_device_that_bills(ranks):
    first, second = (answers["device"] for answers in ranks)
    assert torch.equal(first["J"], second["J"])
    assert (first["calls"], second["calls"]) == (3, 0)


def test_all_processes_have_the_samples_that_were_billed_and_stop_together(ranks):
    first, second = (answers["device"] for answers in ranks)
    assert first["steps"] == second["steps"] == 3
    assert all(map(torch.equal, first["negatives"], second["negatives"]))
    assert not torch.equal(first["next"], second["next"])  # all else is random by itself


def test_each_process_draws_a_negative_phase_of_its_own(ranks):
    first, second = (answers["whole"] for answers in ranks)
    assert first["steps"] == second["steps"] == len(first["negatives"]) == 8
    assert not any(map(torch.equal, first["negatives"], second["negatives"]))
    assert same_weights(first["weights"], second["weights"])
    # The twin: as `seed_everything` leaves them, both draw the same.
    first, second = (answers["unseeded"]["negatives"] for answers in ranks)
    assert len(first) == 1 and torch.equal(first[0], second[0])


def test_a_resumed_run_of_two_processes_ends_bit_for_bit_as_the_whole_one(folder, ranks):
    assert read_checkpoint(folder / "whole" / MIDDLE)["global_step"] == 3
    for answers in ranks:
        whole, resumed, copied = (answers[name] for name in ("whole", "resumed", "copied"))
        assert resumed["steps"] == copied["steps"] == 8
        assert all(map(torch.equal, whole["negatives"][3:], resumed["negatives"]))
        assert torch.equal(whole["chains"], resumed["chains"])
        assert same_weights(whole["weights"], resumed["weights"])
        # The twin: with chains and random numbers of one process for both it ends elsewhere.
        assert not same_weights(whole["weights"], copied["weights"])
    first, second = (answers["copied"]["negatives"] for answers in ranks)
    assert all(map(torch.equal, first, second))


def test_two_processes_go_on_from_the_chains_of_one_and_part(ranks):
    first, second = (answers["grown"]["negatives"] for answers in ranks)
    assert len(first) == len(second) == 5
    assert not any(map(torch.equal, first, second))


def test_a_checkpoint_holds_chains_and_random_numbers_of_all_processes(folder):
    checkpoint = read_checkpoint(folder / "whole" / MIDDLE)
    first, second = checkpoint["prior_chains"]
    assert not torch.equal(first["spins"], second["spins"])
    first, second = checkpoint["rng_states"]
    assert not torch.equal(first["cpu"], second["cpu"])


def test_one_process_goes_on_from_the_chains_of_two_and_says_so(folder, tmp_path):
    checkpoint = read_checkpoint(folder / "whole" / MIDDLE)
    # The loader's place in its share of the data means nothing to one process.
    checkpoint["loops"]["fit_loop"]["state_dict"].pop("combined_loader")
    checkpoint["callbacks"] = {}
    torch.save(checkpoint, tmp_path / "two.ckpt")
    module = MachineModule(small_machine(GibbsSampler(2)), ReweightedWakeSleep(hide_classes=0.5))
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    with pytest.warns(UserWarning, match="is of 2 processes, but this run has 1"):
        trainer.fit(
            module, digits(batch_size=50), ckpt_path=tmp_path / "two.ckpt", weights_only=True
        )
    assert trainer.global_step > 3
