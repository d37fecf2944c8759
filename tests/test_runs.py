import re

import pytest
import pytorch_lightning as pl
import torch
from dwave.samplers import SimulatedAnnealingSampler
from small_runs import (
    fit,
    qahm,
    same_weights,
    small_config,
    small_machine,
    weights_of,
    write_config,
)

from qahm_torch import (
    DimodSampler,
    ExactSampler,
    QuantumPriorLayer,
    ReweightedWakeSleep,
    WakeSleep,
)
from qahm_torch.data import OptDigits
from qahm_torch.training import (
    MachineModule,
    MaximumLikelihood,
    find_checkpoint,
    load_fitting_weights,
    load_run,
    load_weights,
    read_checkpoint,
)


def test_a_loaded_run_has_the_weights_the_chains_and_the_data_of_the_run(fitted):
    run = load_run(fitted)
    stored = torch.load(run.checkpoint, weights_only=True)
    assert not run.module.training
    assert run.folder == fitted
    parameters = weights_of(run.module)
    assert len(parameters) == 10
    assert all(torch.equal(stored["state_dict"][name], p) for name, p in parameters.items())
    assert torch.equal(run.module.prior.log_z, stored["state_dict"]["machine.prior.log_z"])
    assert run.module.prior.chains.spins.shape == (32, 6)
    (chains,) = stored["prior_chains"]
    assert torch.equal(run.module.prior.chains.spins, chains["spins"])
    assert isinstance(run.data, OptDigits) and run.data.num_val == 50
    run.data.setup()
    assert len(run.data.train) == 400


@pytest.mark.parametrize("load", [find_checkpoint, load_run])
def test_missing_checkpoint_is_named(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path}/runs/x does not exist")):
        load(tmp_path / "runs" / "x")
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path} has no checkpoint")):
        load(tmp_path)


def truncated(fitted):
    content = find_checkpoint(fitted).read_bytes()
    return content[: len(content) // 2]


def cut_by_a_byte(fitted):
    return find_checkpoint(fitted).read_bytes()[:-1]


def flipped(fitted):
    content = bytearray(find_checkpoint(fitted).read_bytes())
    middle = content.index(b"data.pkl") + 200
    content[middle : middle + 40] = bytes(40)
    return bytes(content)


BROKEN = {
    "truncated": truncated,
    "cut by a byte": cut_by_a_byte,
    "overwritten within": flipped,
    "empty": lambda fitted: b"",
    "zeros": lambda fitted: bytes(1000),
    "text": lambda fitted: b"hello, world\n" * 20,
    "picture": lambda fitted: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "noise": lambda fitted: bytes((i * i * 31 + 7 * i) % 251 for i in range(5000)),
    "start of a zip": lambda fitted: b"PK\x03\x04" + bytes(300),
    "code": lambda fitted: b"\x80\x02cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("load", [read_checkpoint, load_run])
def test_what_is_no_checkpoint_is_an_error_of_one_line_that_names_it(load, kind, fitted, tmp_path):
    path = tmp_path / "broken.ckpt"
    path.write_bytes(BROKEN[kind](fitted))
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [torch.ones(3), {"weights": torch.ones(3)}, [1, 2]])
def test_another_torch_file_is_no_lightning_checkpoint(content, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=re.escape(f"{path} holds no Lightning checkpoint")):
        read_checkpoint(path)


def save_without_configuration(folder, module):
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(folder / "plain.ckpt")
    return folder / "plain.ckpt"


def test_checkpoint_without_configuration_has_weights_but_is_no_run(tmp_path):
    module = MachineModule(small_machine())
    path = save_without_configuration(tmp_path, module)
    with pytest.raises(ValueError, match=re.escape(f"{path} carries no configuration")):
        load_run(path)
    other = MachineModule(small_machine())
    assert not same_weights(weights_of(other), weights_of(module))
    load_weights(other, path)
    assert same_weights(weights_of(other), weights_of(module))


@pytest.mark.parametrize("sampler", [ExactSampler(), DimodSampler(SimulatedAnnealingSampler())])
def test_weights_go_into_a_model_with_another_sampler(sampler, fitted):
    run = load_run(fitted)
    module = MachineModule(small_machine(sampler, num_samples=7))
    load_weights(module, fitted)
    assert same_weights(weights_of(module), weights_of(run.module))
    assert module.prior.draw().spins.shape[1] == 6


@pytest.mark.parametrize("widths", [(74, 10, 6), (74, 12, 7), (74, 12, 12, 6)])
def test_weights_of_another_model_are_an_error_of_one_line_that_names_the_file(widths, fitted):
    module = MachineModule(small_machine(widths=widths))
    path = find_checkpoint(fitted)
    with pytest.raises(ValueError, match=re.escape(f"{path} is of another model")) as caught:
        load_weights(module, fitted)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("widths", [(74, 10, 6), (74, 12, 7)])
def test_what_refuses_another_model_stays_as_it_was(widths, fitted):
    module = MachineModule(small_machine(widths=widths))
    module.prior.draw()
    before, chains = tensors_of(module), module.prior.chains
    with pytest.raises(ValueError, match="is of another model"):
        load_weights(module, fitted)
    assert same_weights(tensors_of(module), before)
    assert module.prior.chains is chains
    # The twin: torch by itself copies what fits before it refuses the rest.
    state = read_checkpoint(find_checkpoint(fitted))["state_dict"]
    with pytest.raises((RuntimeError, ValueError)):
        torch.nn.Module.load_state_dict(module, state)
    assert not same_weights(tensors_of(module), before)


def test_what_fits_is_loaded_with_the_chains_of_a_prior_that_fits(fitted):
    run = load_run(fitted)
    module = MachineModule(small_machine(widths=(74, 10, 6)))
    fitting = load_fitting_weights(module, fitted)
    assert torch.equal(module.prior.J, run.module.prior.J)
    assert torch.equal(module.prior.chains.spins, run.module.prior.chains.spins)
    assert "machine.recognition.layers.0.weight" in fitting.left
    other = MachineModule(small_machine(widths=(74, 12, 7)))
    other.prior.draw()
    chains = other.prior.chains
    fitting = load_fitting_weights(other, fitted)
    assert other.prior.chains is chains and "machine.prior.h" in fitting.left
    assert "machine.recognition.layers.0.weight" in fitting.taken


def test_where_nothing_fits_the_file_is_named(fitted):
    layer = MaximumLikelihood(QuantumPriorLayer(5))
    told = re.escape(f"{find_checkpoint(fitted)} is of another model: no tensor has the name")
    with pytest.raises(ValueError, match=told):
        load_fitting_weights(layer, fitted)


def tensors_of(module):
    state = module.state_dict().items()
    return {name: value.clone() for name, value in state if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("key", ["optimizer", "objective"])
def test_a_run_whose_configuration_leaves_a_default_is_loaded_again(key, tmp_path):
    config = small_config()
    del config["model"]["init_args"][key]
    config["trainer"]["max_epochs"] = 1
    run = load_run(fit(tmp_path, config))
    stored = read_checkpoint(run.checkpoint)["state_dict"]
    assert all(torch.equal(stored[name], p) for name, p in weights_of(run.module).items())
    (group, _) = run.module.configure_optimizers()["optimizer"].param_groups
    assert group["initial_lr"] == (0.001 if key == "optimizer" else 0.003)
    assert type(run.module.objective) is (WakeSleep if key == "objective" else ReweightedWakeSleep)


def test_a_maximum_likelihood_run_without_an_optimizer_is_loaded_again(tmp_path):
    layer = {"class_path": "qahm_torch.QuantumPriorLayer", "init_args": {"graph_or_n": 4}}
    module = {"class_path": "qahm_torch.training.MaximumLikelihood", "init_args": {"layer": layer}}
    data = {"class_path": "qahm_torch.data.BarsAndStripes", "init_args": {"side": 2}}
    trainer = {
        "max_steps": 2,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    config = {"name": "digits", "model": module, "data": data, "trainer": trainer}
    run = load_run(fit(tmp_path, config))
    (group,) = run.module.configure_optimizers().param_groups
    assert group["lr"] == 0.01


# Checkpoints of 0.1

OLD_CONFIG = """\
model: {class_path: qahm_torch.training.WakeSleep, init_args: {objective: reweighted}}
data: {class_path: qahm_torch.training.OptDigits, init_args: {num_val: 50}}
"""
OLD_FORMS = {
    "chains as a tensor": {"prior_chains": torch.ones(32, 6)},
    "random state of the only process": {"rng_state": torch.zeros(8, dtype=torch.uint8)},
    "classes of the configuration": {"qahm_config": OLD_CONFIG},
    "parameters of a layer within": {"state_dict": {"machine.prior.layer.h": torch.zeros(6)}},
}


def old_checkpoint(folder, fitted, form):
    checkpoint = read_checkpoint(find_checkpoint(fitted))
    torch.save({**checkpoint, **OLD_FORMS[form]}, folder / "old.ckpt")
    return folder / "old.ckpt"


@pytest.mark.parametrize("form", OLD_FORMS)
def test_a_checkpoint_of_an_older_version_is_refused_in_one_sentence(form, fitted, tmp_path):
    path = old_checkpoint(tmp_path, fitted, form)
    told = re.escape(f"{path} was written by qahm_torch 0.1; ")
    for load in (load_run, lambda path: load_weights(MachineModule(small_machine()), path)):
        with pytest.raises(ValueError, match=told) as caught:
            load(path)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("form", OLD_FORMS)
def test_a_run_of_an_older_version_is_not_resumed(form, fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = old_checkpoint(tmp_path, fitted, form)
    config = write_config(tmp_path, small_config())
    assert qahm("fit", "--config", config, "--ckpt_path", str(path)) == 1
    assert "qahm: error: the checkpoint was written by qahm_torch 0.1; " in capsys.readouterr().err


def test_configuration_of_a_class_that_is_gone_is_named(fitted, tmp_path):
    checkpoint = read_checkpoint(find_checkpoint(fitted))
    text = checkpoint["qahm_config"]
    checkpoint["qahm_config"] = text.replace("qahm_torch.data.OptDigits", "gone.OptDigits")
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match=r"gone\.OptDigits"):
        load_run(tmp_path / "old.ckpt")
