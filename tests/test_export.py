r"""`qahm export` writes what a machine is and what its report says, and nothing by hand."""

import json

import pytest
import torch
from small_runs import fit, qahm, small_config

from qahm_torch import HelmholtzMachine
from qahm_torch.pretrained.shipped import names, sha256_of
from qahm_torch.training import load_run
from qahm_torch.training.checkpoints import read_checkpoint

SHORT = ["--num_temperatures", "20", "--num_chains", "16"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = fit(tmp_path_factory.mktemp("run"), small_config())
    few = ["--num_particles", "10", "--num_generated", "20", "--num_test", "50"]
    assert qahm("evaluate", str(folder), *SHORT, *few) == 0
    return folder


@pytest.fixture
def exported(evaluated, tmp_path):
    arguments = ["--output", str(tmp_path), "--num_test", "40", *SHORT]
    assert qahm("export", str(evaluated), "--name", "small", *arguments) == 0
    return tmp_path


def test_a_card_has_the_report_and_the_configuration(evaluated, exported):
    assert sorted(file.name for file in exported.iterdir()) == ["small.json", "small.pt"]
    card = json.loads((exported / "small.json").read_text())
    report = json.loads((evaluated / "evaluation.json").read_text())
    assert card["report"] == report
    assert report["validation"]["num"] == 50
    assert card["sha256"] == sha256_of(exported / "small.pt")
    assert card["num_bytes"] == (exported / "small.pt").stat().st_size
    assert card["config"]["seed_everything"] == 0 and card["config"]["name"] == "digits"
    assert card["config"]["data"]["class_path"] == "qahm_torch.data.OptDigits"
    rounding = card["rounding"]
    assert rounding["num_test"] == 40 and rounding["bits"] == 16
    assert rounding["change"] == rounding["nats_after"] - rounding["nats_before"]
    assert 0 < abs(rounding["change"]) < 0.01


def test_an_exported_machine_has_the_log_z_of_the_report_and_chains(evaluated, exported):
    machine = HelmholtzMachine.load(exported / "small.pt")
    report = json.loads((evaluated / "evaluation.json").read_text())
    value = report["prior"]["log_z"]["value"]
    assert float(machine.prior.log_z) == pytest.approx(value, abs=1e-5)
    assert machine.prior.chains.spins.shape == (16, 6)
    original = load_run(evaluated).module.machine
    assert torch.equal(machine.prior.J, original.prior.J)
    assert machine.prior.sampler.num_sweeps == original.prior.sampler.num_sweeps


def test_a_run_of_before_machines_told_how_they_are_built_is_exported(evaluated, tmp_path):
    run = load_run(evaluated)
    checkpoint = read_checkpoint(run.checkpoint)
    del checkpoint["qahm_machine"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    report = json.loads((evaluated / "evaluation.json").read_text())
    report["checkpoint"] = str(tmp_path / "old.ckpt")
    (tmp_path / "old.json").write_text(json.dumps(report))
    arguments = [str(tmp_path / "old.ckpt"), "--report", str(tmp_path / "old.json"), *SHORT]
    output = ["--output", str(tmp_path), "--num_test", "20", "--bits", "32"]
    assert qahm("export", *arguments, *output) == 0
    machine = HelmholtzMachine.load(tmp_path / "digits.pt")
    assert torch.equal(
        machine.generator.layers[0].weight, run.module.machine.generator.layers[0].weight
    )


def test_a_report_that_is_missing_or_of_another_checkpoint_is_told(evaluated, tmp_path, capsys):
    nothing = str(tmp_path / "no.json")
    assert qahm("export", str(evaluated), "--report", nothing) == 1
    assert "run `qahm evaluate" in capsys.readouterr().err
    report = json.loads((evaluated / "evaluation.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**report, "checkpoint": "other.ckpt"}))
    told = ["--report", str(tmp_path / "other.json"), "--output", str(tmp_path)]
    assert qahm("export", str(evaluated), *told) == 1
    assert "is the report of other.ckpt, but" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "other.json"]


def test_without_an_output_the_files_are_in_the_current_folder(evaluated, tmp_path, monkeypatch):
    known = names()
    monkeypatch.chdir(tmp_path)
    assert qahm("export", str(evaluated.resolve()), "--num_test", "20", *SHORT) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["digits.json", "digits.pt"]
    assert names() == known
