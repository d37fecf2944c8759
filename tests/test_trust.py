r"""What is loaded runs nothing, whoever wrote it."""

import re
import zipfile

import pytest
import torch
from malice import ATTEMPTS, attempt, module_of, told
from small_runs import digits, qahm, quiet_trainer, small_config, small_machine, write_config

from qahm_torch import HelmholtzMachine
from qahm_torch.training import MachineModule, load_run, read_checkpoint

URL = "https://localhost:1/a.ckpt"


@pytest.mark.parametrize("malice", ATTEMPTS, ids=lambda malice: malice.__name__)
def test_nothing_is_executed(malice, tmp_path):
    executed, error = attempt(malice, tmp_path)
    assert not executed
    # The commands tell their errors themselves.
    assert error is None or isinstance(error, ValueError)


@pytest.mark.parametrize("load", [read_checkpoint, load_run, HelmholtzMachine.load])
def test_addresses_are_refused(load):
    with pytest.raises(ValueError, match="is no file of this machine: fetch it first"):
        load(URL)


def test_addresses_are_refused_in_training(tmp_path, capsys):
    config = write_config(tmp_path, small_config())
    for command in ("fit", "validate", "test"):
        assert qahm(command, "--config", config, "--ckpt_path", URL) == 1
        assert f"{URL} is no file of this machine" in capsys.readouterr().err


def test_what_a_checkpoint_names_is_imported_where_it_is_trusted(tmp_path, monkeypatch):
    mark = tmp_path / "executed"
    path = module_of(tmp_path, mark)
    monkeypatch.syspath_prepend(tmp_path)
    file = told(tmp_path, "device", {"class_path": path})
    with pytest.raises(ValueError, match=re.escape(f"{file} names {path}")) as caught:
        load_run(file)
    assert "--trust" in str(caught.value) and not mark.exists()
    for trust in (True, [path.split(".")[0]]):
        assert load_run(file, trust=trust).module.prior.sampler.device["class_path"] == path
    # To trust is not to take it for what it is not.
    with pytest.raises(ValueError):
        load_run(told(tmp_path, "objective", {"class_path": path}), trust=True)


def test_a_file_that_claims_more_than_it_has_is_refused(tmp_path):
    file = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    with pytest.raises(ValueError, match="it claims 10000000 bytes"):
        read_checkpoint(file)


def test_an_honest_checkpoint_is_resumed_and_loaded(tmp_path):
    trainer = quiet_trainer(tmp_path, max_steps=1)
    trainer.fit(MachineModule(small_machine()), digits())
    file = tmp_path / "a.ckpt"
    trainer.save_checkpoint(file)
    again = MachineModule.load_from_checkpoint(file, machine=small_machine())
    state = read_checkpoint(file)["state_dict"]
    assert all(torch.equal(state[name], p) for name, p in again.named_parameters())
    module = MachineModule(small_machine())
    more = quiet_trainer(tmp_path, max_steps=2, max_epochs=2)
    more.fit(module, digits(), ckpt_path=file)
    assert more.global_step == 2


@pytest.mark.parametrize("setting", ["endpoint", "proxy", "config_file"])
def test_credentials_go_to_no_place_that_a_checkpoint_names(setting, tmp_path):
    device = {
        "class_path": "dwave.system.DWaveSampler",
        "init_args": {"solver": {"qpu": True}, setting: "somewhere"},
    }
    file = told(tmp_path, "device", device)
    with pytest.raises(ValueError, match=f"has '{setting}' in the settings of a device"):
        load_run(file)
    trusted = load_run(file, trust=True).module.prior.sampler.device
    assert trusted["init_args"][setting] == "somewhere"
