r"""Trained machines that come with the package are whole and small, as their cards say."""

import json
import shutil

import pytest
import torch

import qahm_torch as qt
from qahm_torch.pretrained import card, names, path_of, shipped

# A file lies in every wheel, and in every clone forever.
MAX_BYTES = 2_000_000


def test_there_is_one_and_unknown_names_are_told_which():
    assert "mnist16" in names()
    with pytest.raises(FileNotFoundError, match="name is 'mnist61', but .* mnist16"):
        card("mnist61")


@pytest.mark.parametrize("name", names())
def test_a_file_is_small_and_its_card_is_complete(name):
    told, file = card(name), path_of(name)
    assert file.stat().st_size == told["num_bytes"] <= MAX_BYTES
    assert told["name"] == name and told["file"] == file.name
    assert told["license"] == "Apache-2.0"
    assert isinstance(told["config"]["seed_everything"], int)
    assert told["config"]["data"]["class_path"].startswith("qahm_torch.data.")
    nats = told["report"]["likelihood"]["nats"]
    assert nats["lower"] <= nats["value"] <= nats["upper"] and nats["num_particles"] >= 100
    assert told["report"]["num_test"] == 10_000
    # A tenth of a nat is less than the error of the mean over the test data.
    assert abs(told["rounding"]["change"]) < 0.1


@pytest.mark.parametrize("name", names())
def test_a_machine_has_the_prior_of_its_card_and_draws(name):
    machine = qt.HelmholtzMachine.load(name)
    log_z = card(name)["report"]["prior"]["log_z"]
    assert float(machine.prior.log_z) == pytest.approx(log_z["value"], abs=1e-3)
    again = qt.estimate_log_z(
        machine.prior.ising().detach(),
        num_chains=128,
        num_temperatures=200,
        generator=torch.Generator().manual_seed(0),
    )
    # The two of them agree within the interval of the shorter annealing.
    assert again.lower - 0.1 <= float(machine.prior.log_z) <= again.upper + 0.1
    assert sum(p.numel() for p in machine.parameters()) == card(name)["num_parameters"]
    dreams = machine.prior.sample(8)
    assert dreams.unique(dim=0).shape[0] > 1


def test_a_file_that_is_not_that_of_its_card_is_refused(tmp_path, monkeypatch):
    for suffix in (".pt", ".json"):
        shutil.copy(shipped.FOLDER / f"mnist16{suffix}", tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert names() == ["mnist16"] and path_of("mnist16").parent == tmp_path
    content = bytearray((tmp_path / "mnist16.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "mnist16.pt").write_bytes(content)
    with pytest.raises(ValueError, match="its card says .* install the package anew"):
        qt.HelmholtzMachine.load("mnist16")


def test_mnist16_reads_the_class_out_in_19_of_20_digits():
    report = card("mnist16")["report"]
    assert report["validation"]["classification_accuracy"]["read_out"] >= 0.95
    assert report["classification_accuracy"]["read_out"] >= 0.95


def test_cards_are_json_without_a_path_of_the_machine_that_wrote_them():
    for name in names():
        text = (shipped.FOLDER / f"{name}.json").read_text()
        assert json.loads(text)["report"]["checkpoint"].startswith("runs/")
