r"""What the command line says where something is typed wrong: a sentence, and the status."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_runs import CONFIGS, ENVIRONMENT, fit, qahm, small_config, write_config

from qahm_torch.cli.commands import COMMANDS
from qahm_torch.cli.outputs import PICTURES, check_writable
from qahm_torch.cli.precision_here import precision_here
from qahm_torch.cli.processes_asked import check_processes
from qahm_torch.evaluation.figures import FORMATS
from qahm_torch.training import find_checkpoint

FIT = ("fit", "--config", "SMALL")


@pytest.fixture(scope="module")
def places(fitted, tmp_path_factory):
    r"""Paths by the words that stand for them in the table below."""
    folder = tmp_path_factory.mktemp("typed")
    small = Path(write_config(folder, small_config()))
    checkpoint = find_checkpoint(fitted)
    (folder / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:-1000])
    (folder / "bad.yaml").write_text("model:\n  a: [1, 2\n  b: 3\n")
    (folder / "word.yaml").write_text("digits\n")
    (folder / "file").write_text("")
    config = yaml.safe_load((CONFIGS / "bars_and_stripes.yaml").read_text())
    config["trainer"].update(
        max_epochs=1, log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False
    )
    config["data"]["init_args"].update(num_repeats=2)
    bars = fit(folder, config)
    small.write_text(yaml.safe_dump(small_config()))  # where `fit` has written its own
    names = {"SMALL": small, "RUN": fitted, "CKPT": checkpoint, "BARS": bars}
    names |= {"CUT": folder / "cut.ckpt", "BAD": folder / "bad.yaml"}
    names |= {"WORD": folder / "word.yaml", "FILE": folder / "file"}
    return {**names, "OTHER": find_checkpoint(bars), "HERE": folder}


def with_places(words, places):
    for name, path in places.items():
        words = [word.replace(name, str(path)) for word in words]
    return words


@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [
        # Commands
        (("evalute", "RUN"), 2, ["no command 'evalute'", "did you mean evaluate?"]),
        (("--verson",), 2, ["did you mean --version?"]),
        # Configurations
        (("fit",), 2, ["fit needs a configuration", "qahm fit --config digits"]),
        (("fit", "--confg", "digits"), 2, ["did you mean --config?"]),
        (("fit", "--config"), 2, ["--config"]),
        (("fit", "digits"), 2, ["did you mean --config digits?"]),
        (("fit", "--config", "digitz"), 2, ["config is digitz", "did you mean digits?"]),
        (("fit", "--config", "BAD"), 2, ["bad.yaml", "line 3, column 4"]),
        (("device", "--config", "BAD"), 2, ["bad.yaml", "line 3, column 4"]),
        (("reproduce", "--config", "BAD"), 2, ["bad.yaml", "line 3, column 4"]),
        (("fit", "--config", "WORD"), 2, ["word.yaml", "'digits'", "a mapping is needed"]),
        (("fit", "--config", "seeds"), 2, ["seeds.yaml", "qahm reproduce --config"]),
        (("reproduce", "--config", "digits"), 2, ["digits.yaml", "qahm fit --config"]),
        (("reproduce",), 2, ["no system is named", "--config"]),
        (("reproduce", "seeds"), 2, ["--config seeds"]),
        # Settings of a training
        ((*FIT, "--trainer.max_epochs", "-5"), 2, ["max_epochs", "-5"]),
        ((*FIT, "--trainer.max_epochs", "ten"), 2, ["max_epochs is ten", "a whole number"]),
        ((*FIT, "--trainer.max_epoch", "3"), 2, ["did you mean --trainer.max_epochs?"]),
        ((*FIT, "--max_epochs", "3"), 2, ["did you mean --trainer.max_epochs?"]),
        ((*FIT, "--trainer.accelerator", "gpuu"), 2, ["accelerator='gpuu'"]),
        ((*FIT, "--trainer.devices", "0"), 2, ["trainer.devices is 0", "at least 1"]),
        ((*FIT, "--trainer.devices", "-1"), 2, ["trainer.devices is -1", "at least 1"]),
        ((*FIT, "--trainer.devices", "x"), 2, ["trainer.devices is x", "a whole number"]),
        ((*FIT, "--trainer.devices", "[0,1]"), 2, ["trainer.devices is [0, 1]", "or auto"]),
        ((*FIT, "--data.batch_size", "-3"), 2, ["error: batch_size is -3, but"]),
        ((*FIT, "--data.batch_size", "x"), 2, ["data.batch_size is x, but a whole number"]),
        ((*FIT, "--data.batchsize", "3"), 2, ["did you mean batch_size?"]),
        ((*FIT, "--seed_everything", "x"), 2, ["seed_everything is x, but"]),
        (
            (*FIT, "--model.machine.prior.graph_or_n", "two"),
            2,
            ["prior.graph_or_n is two, but the path of a class, module.Class, or a whole number"],
        ),
        (
            (*FIT, "--model.machine.recognition.widths", "3"),
            2,
            ["recognition.widths is 3, but a list, such as [16, 60], is needed"],
        ),
        ((*FIT, "--data", "OptDigit"), 2, ["did you mean qahm_torch.data.OptDigits?"]),
        (
            (*FIT, "--model.objective", "qahm_torch.WakeSlep"),
            2,
            ["no WakeSlep in qahm_torch", "did you mean qahm_torch.WakeSleep?"],
        ),
        (
            (*FIT, "--model.objective", "qahm_torch.data.OptDigits"),
            2,
            ["model.objective is qahm_torch.data.OptDigits", "of the kind Objective"],
        ),
        (
            ("reproduce", "--config", "seeds", "--system.num_read", "3"),
            2,
            ["did you mean num_reads?"],
        ),
        (
            ("reproduce", "--config", "seeds", "--system.num_reads", "x"),
            2,
            ["num_reads is x, but"],
        ),
        (("reproduce", "--config", "seeds", "--system.num_reads", "-4"), 2, ["num_reads is -4"]),
        (("reproduce", "--config", "seeds", "--system.noises", "x"), 2, ["noises is x, but"]),
        ((*FIT, "--model.prior_lr", "-1"), 2, ["prior_lr is -1, but", "at least 0"]),
        ((*FIT, "--model.prior_lr", ".nan"), 2, ["prior_lr is nan, but", "at least 0"]),
        ((*FIT, "--model.optimizer.lr", "x"), 2, ["model.optimizer.lr is x, but a number"]),
        ((*FIT, "--model.optimizer", "SDG"), 2, ["model.optimizer is SDG, but it takes the path"]),
        ((*FIT, "--model.optimizer.lr", "-1"), 1, ["learning rate: -1"]),
        ((*FIT, "--model.optimizer.lr", ".inf"), 1, ["a learning rate is inf, but"]),
        # Checkpoints
        ((*FIT, "--ckpt_path", "CUT"), 1, ["cut.ckpt cannot be read", "cut short"]),
        ((*FIT, "--finetune", "CUT"), 1, ["cut.ckpt cannot be read", "cut short"]),
        (("evaluate", "CUT"), 1, ["cut.ckpt cannot be read", "cut short"]),
        ((*FIT, "--ckpt_path", "OTHER"), 1, ["is of another model", "it has layer.h and 3 more"]),
        ((*FIT, "--finetune", "OTHER"), 1, ["is of another model", "it has layer.h and 3 more"]),
        (("test", "--config", "SMALL"), 2, ["no checkpoint is named", "--ckpt_path"]),
        (("validate", "--config", "SMALL"), 2, ["no checkpoint is named", "--ckpt_path"]),
        (
            ("test", "--config", "SMALL", "--ckpt_path", "OTHER"),
            1,
            ["is of another model", "it lacks"],
        ),
        (("evaluate", "RUN/none"), 1, ["none does not exist"]),
        (("export", "BARS", "--output", "HERE"), 1, ["alone", "takes a HelmholtzMachine"]),
        (("generate", "BARS", "--class", "1"), 2, ["--class is 1", "no class units"]),
        (("generate", "RUN", "--class", "99"), 2, ["--class is 99", "classes are 0 to 9"]),
        # Options of the other commands
        (("evaluate",), 2, ["required: run"]),
        (("evaluate", "RUN", "--num_tests", "4"), 2, ["did you mean --num_test?"]),
        (("evaluate", "RUN", "--num_t", "4"), 2, ["there is no option --num_t"]),
        (("evaluate", "RUN", "more"), 2, ["more is not the value of an option"]),
        (("evaluate", "RUN", "--num_test", "0"), 2, ["--num_test is 0", "at least 2"]),
        (("evaluate", "RUN", "--num_test", "-1"), 2, ["--num_test is -1", "at least 2"]),
        (("evaluate", "RUN", "--num_test", "x"), 2, ["--num_test is x, but a whole number"]),
        (("evaluate", "RUN", "--num_chains", "0"), 2, ["--num_chains is 0", "at least 2"]),
        (("evaluate", "RUN", "--num_generated", "0"), 2, ["--num_generated is 0"]),
        (("generate", "RUN", "--num", "0"), 2, ["--num is 0", "at least 1"]),
        (("generate", "RUN", "--num", "2.5"), 2, ["--num is 2.5, but a whole number is needed"]),
        (("generate", "RUN", "--num_temperatures", "-5"), 2, ["--num_temperatures is -5"]),
        (("generate", "RUN", "--class", "-1"), 2, ["--class is -1", "at least 0"]),
        (("generate", "RUN", "--class", "seven"), 2, ["--class is seven", "a whole number"]),
        (("complete",), 2, ["required: run"]),
        (("complete", "RUN", "more"), 2, ["more is not the value of an option"]),
        (("complete", "RUN/none"), 1, ["none does not exist"]),
        (("complete", "RUN", "--num", "0"), 2, ["--num is 0", "at least 1"]),
        (("complete", "RUN", "--num", "x"), 2, ["--num is x, but a whole number"]),
        (("complete", "RUN", "--num_particles", "0"), 2, ["--num_particles is 0", "at least 1"]),
        (("complete", "RUN", "--num_particle", "5"), 2, ["did you mean --num_particles?"]),
        (("complete", "RUN", "--fraction", "0"), 2, ["--fraction is 0", "above 0"]),
        (("complete", "RUN", "--fraction", "half"), 2, ["--fraction is half", "a number"]),
        (("complete", "RUN", "--fraction", ".nan"), 2, ["--fraction is nan", "at most 1"]),
        (("complete", "RUN", "--block", "4"), 2, ["--block is 4, but a list"]),
        (("complete", "RUN", "--block", "[4]"), 2, ["--block is [4]", "two numbers"]),
        (("complete", "RUN", "--block", "[0,4]"), 2, ["--block is [0, 4]", "at least 1"]),
        (("complete", "RUN", "--block", "[4,x]"), 2, ["--block is [4, 'x']", "a whole number"]),
        (
            ("complete", "RUN", "--block", "[9,1]"),
            2,
            ["--block is [9, 1]", "the images have 8 rows and 8 columns"],
        ),
        (("classify",), 2, ["required: run"]),
        (("classify", "RUN", "more"), 2, ["more is not the value of an option"]),
        (("classify", "RUN", "--rule", "guess"), 2, ["--rule is guess", "classify, read_out"]),
        (("classify", "RUN", "--rule", "readout"), 2, ["did you mean read_out?"]),
        (("classify", "RUN", "--num_particles", "0"), 2, ["--num_particles is 0", "at least 1"]),
        (("classify", "RUN", "--inputs", "a.csv"), 2, ["did you mean --input?"]),
        (("classify", "RUN", "--input"), 2, ["--input", "expected one argument"]),
        (("classify", "RUN", "--input", "none.csv"), 1, ["--input is none.csv", "no such file"]),
        (("classify", "RUN", "--input", "SMALL"), 2, ["--input is", "ends in .csv"]),
        (("classify", "RUN", "--input", "HERE"), 2, ["--input is", "that is a folder"]),
        (("classify", "BARS"), 1, ["alone", "takes a HelmholtzMachine"]),
        (("runs", "none"), 1, ["none is no folder"]),
        (("runs", "FILE"), 1, ["file is no folder"]),
        (("runs", "--jsn"), 2, ["did you mean --json?"]),
        (("runs", "--json=3"), 2, ["--json is 3, but it is an option without a value"]),
        (("runs", "HERE", "more"), 2, ["more is not the value of an option"]),
        (("compare",), 2, ["required: a, b"]),
        (("compare", "RUN"), 2, ["required: b"]),
        (("compare", "RUN", "none"), 1, ["none does not exist", "qahm runs"]),
        (("compare", "RUN", "SMALL"), 1, ["is no run", "*.ckpt"]),
        (("compare", "RUN", "RUN", "RUN"), 2, ["is not the value of an option"]),
        (("compare", "RUN", "BARS", "--jsno"), 2, ["did you mean --json?"]),
        (("completion",), 2, ["required: shell"]),
        (("completion", "fishy"), 2, ["shell is fishy", "did you mean fish?"]),
        (("completion", "ksh"), 2, ["shell is ksh", "one of bash, zsh, fish"]),
        (("completion", "bash", "zsh"), 2, ["zsh is not the value of an option"]),
        (("completion", "bash", "--all"), 2, ["there is no option --all"]),
        (("completions",), 2, ["did you mean completion?"]),
        (("report", "RUN", "--num", "0"), 2, ["--num is 0", "at least 1"]),
        (("export", "RUN", "--bits", "7"), 2, ["--bits is 7", "one of 8, 16, 32"]),
        (("report", "RUN", "--format", "pgn"), 2, ["--format is pgn", "did you mean png?"]),
        (("device", "--num_spins", "-4"), 2, ["--num_spins is -4", "at least 1 spin"]),
        (("device", "--num_spins", "[16,-2]"), 2, ["[16, -2]", "at least 1 spin"]),
        (("device", "--num_spins", "many"), 2, ["--num_spins is many", "a whole number"]),
        (("device", "--init_args", "3"), 2, ["--init_args is 3", "a mapping"]),
        (("device", "--device", "simulatd"), 2, ["did you mean simulated?"]),
        (("device", "--copies", "0"), 2, ["--copies is 0", "at least 1"]),
        (("device", "--num_samples", "0"), 2, ["--num_samples is 0", "at least 1"]),
        (("device", "--timeout", "-1"), 2, ["--timeout is -1", "positive"]),
        # Outputs, before anything is computed
        (("evaluate", "RUN", "--output", "FILE/a.json"), 2, ["--output is", "is no folder"]),
        (("evaluate", "RUN", "--output", "HERE"), 2, ["--output is", "that is a folder"]),
        (("generate", "RUN", "--output", "FILE/a.png"), 2, ["--output is", "is no folder"]),
        (("generate", "RUN", "--output", "a.gif"), 2, ["--output is a.gif", "ends in .png"]),
        (("complete", "RUN", "--output", "a.png"), 2, ["--output is a.png", "ends in .npz"]),
        (("complete", "RUN", "--output", "FILE/a.npz"), 2, ["--output is", "is no folder"]),
        (("classify", "RUN", "--output", "a.json"), 2, ["--output is a.json", "ends in .csv"]),
        (("classify", "RUN", "--output", "FILE/a.csv"), 2, ["--output is", "is no folder"]),
        (("generate", "RUN", "--tensor", "FILE/a.pt"), 2, ["--tensor is", "is no folder"]),
        (("report", "RUN", "--output", "FILE/a"), 2, ["--output is", "is no folder"]),
        (("export", "RUN", "--output", "FILE/a"), 2, ["--output is", "is no folder"]),
        (
            ("reproduce", "--config", "seeds", "--folder", "FILE/a"),
            2,
            ["--folder is", "is no folder"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_typed_wrong_is_told(typed, status, words, places, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert qahm(*with_places(typed, places)) == status
    printed, told = capsys.readouterr()
    assert "Traceback" not in told and not printed
    last = told.splitlines()[-1]
    assert last.startswith("qahm: error: ")
    for word in words:
        assert word in last
    assert "<class" not in told and "Given value" not in told
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("devices", ["1", "2", "99"])
def test_a_device_that_is_not_there_is_told(devices, places, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = ["--trainer.accelerator", "gpu", "--trainer.devices", devices]
    assert qahm(*with_places(FIT, places), *wanted) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "trainer.accelerator is gpu, but torch finds no such device here" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
@pytest.mark.parametrize("command", ["fit", "test"])
def test_more_processes_than_processors_are_refused(
    command, accelerator, places, tmp_path, capsys, monkeypatch
):
    if accelerator == "auto" and torch.accelerator.is_available():
        pytest.skip("there is an accelerator, which is taken")
    monkeypatch.chdir(tmp_path)
    # As if another machine had few: none is started, whether or not this one has more.
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr("subprocess.Popen", None)
    wanted = ["--trainer.accelerator", accelerator, "--trainer.devices", "4"]
    path = ["--ckpt_path", str(places["CKPT"])]
    assert qahm(command, *with_places(FIT[1:], places), *wanted, *path) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "trainer.devices is 4" in told and "the processors of this machine are 3" in told
    assert not list(tmp_path.iterdir())


def test_as_many_processes_as_processors_are_not_refused(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    check_processes({"devices": "3", "accelerator": "cpu"})
    check_processes({"devices": 3, "accelerator": "auto"})
    check_processes({"devices": "99", "accelerator": "gpu"})  # Lightning looks
    check_processes({"devices": "auto", "accelerator": "cpu"})
    check_processes({})


@pytest.mark.parametrize(
    ("asked", "accelerator", "imitated", "taken"),
    [
        ("bf16-mixed", "cpu", True, "32-true"),
        ("bf16-true", "cpu", True, "32-true"),
        ("bf16-mixed", "cpu", False, "bf16-mixed"),
        ("bf16-mixed", "gpu", True, "bf16-mixed"),
        ("64-true", "cpu", True, "64-true"),
        (None, "cpu", True, None),
    ],
)
def test_bfloat16_is_not_taken_where_it_is_imitated(
    monkeypatch, asked, accelerator, imitated, taken
):
    monkeypatch.setattr("qahm_torch.cli.precision_here.has_bfloat16", lambda: not imitated)
    assert precision_here({"precision": asked, "accelerator": accelerator}) == taken


def test_a_training_tells_that_bfloat16_is_imitated(places, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qahm_torch.cli.precision_here.has_bfloat16", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert qahm("fit", *with_places(FIT[1:], places), "--trainer.precision", "bf16-mixed") == 0
    assert "trainer.precision is bf16-mixed, which this processor" in capsys.readouterr().err
    (config,) = tmp_path.rglob("config.yaml")
    assert "precision: 32-true" in config.read_text()


def test_options_of_the_help_change_the_model(places, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    option = ["--model.machine.prior.num_samples", "77"]
    with pytest.raises(SystemExit):
        qahm(*with_places(FIT, places), *option, "--print_config")
    told = yaml.safe_load(capsys.readouterr().out)
    prior = told["model"]["init_args"]["machine"]["init_args"]["prior"]["init_args"]
    assert prior["num_samples"] == 77


def test_a_number_of_spins_needs_no_brackets(capsys):
    assert qahm("device", "--num_spins", "4") == 0
    assert "  4 spins, 6 couplings: " in capsys.readouterr().out


# Outputs


def test_endings_of_pictures_are_those_that_figures_are_saved_as():
    assert PICTURES == FORMATS


def test_what_can_be_written_is_left_as_it_was(tmp_path):
    (tmp_path / "a.json").write_text("old")
    check_writable(tmp_path / "a.json")
    check_writable(tmp_path / "new" / "deep" / "b.json")
    check_writable(tmp_path / "new", is_folder=True)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "old")]


# A prior that was trained alone


def test_dreams_of_a_prior_alone_are_drawn(places, tmp_path, capsys):
    out, tensor = tmp_path / "dreams.png", tmp_path / "dreams.pt"
    where = ["--output", str(out), "--tensor", str(tensor)]
    assert qahm("generate", str(places["BARS"]), "--num", "5", *where) == 0
    assert capsys.readouterr().out.split() == [str(out), str(tensor)]
    dreams = torch.load(tensor, weights_only=True)
    assert dreams.shape == (5, 16) and set(dreams.unique().tolist()) == {-1.0, 1.0}


def test_figures_of_a_prior_alone_are_drawn(places, tmp_path, capsys):
    few = ["--num", "5", "--num_temperatures", "10"]
    assert qahm("report", str(places["BARS"]), *few, "--output", str(tmp_path)) == 0
    names = [Path(line).name for line in capsys.readouterr().out.split()]
    assert names == ["generated.png", "learning_curves.png"]


# Help


@pytest.mark.parametrize(
    "command",
    COMMANDS,
)
def test_help_imports_no_torch(command):
    code = (
        "import sys\nfrom qahm_torch.cli import main\n"
        f"try:\n  main(['{command}', '--help'])\nexcept SystemExit as e: assert not e.code\n"
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert f"usage: qahm {command}" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "False"


def test_commands_stand_in_columns(capsys):
    assert qahm("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("  ")]
    assert [row.split()[0] for row in rows] == list(COMMANDS)
    columns = {tuple(found.end() for found in re.finditer("  +", row)) for row in rows}
    assert len(columns) == 1 and len(columns.pop()) == 3
    assert max(map(len, lines)) <= 100


def test_help_of_a_training_names_options_that_there_are(capsys):
    assert qahm("fit", "--help") == 0
    short = {word for word in capsys.readouterr().out.split() if word.startswith("--")}
    assert qahm("fit", "--config", "digits", "--help") == 0
    long = capsys.readouterr().out
    patterns = {"--trainer.NAME", "--model.NAME", "--data.NAME", "--help`"}
    assert {word for word in short - patterns if word not in long} == set()


def test_help_with_a_configuration_lists_the_options_of_its_model(capsys):
    assert qahm("fit", "--config", "digits", "--help") == 0
    told = capsys.readouterr().out
    for word in (
        "--trainer.max_epochs",
        "--model.prior_lr",
        "model.objective: qahm_torch.ReweightedWakeSleep",
        "--model.objective.num_particles",
        "--model.machine.prior.num_samples",
        "--data.batch_size",
    ):
        assert word in told
    assert qahm("fit", "--config", "bars_and_stripes", "--help") == 0
    told = capsys.readouterr().out
    assert "--model.negative" in told and "prior_lr" not in told
