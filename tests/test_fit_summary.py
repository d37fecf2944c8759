r"""What `qahm fit` tells in the end, held against the files of the run."""

import re
import shlex

import pytest
import yaml
from small_runs import CONFIGS, fit, qahm, small_config

from qahm_torch import WakeSleep
from qahm_torch.evaluation import read_metrics
from qahm_torch.training.naming import needs_trust

QUICK = {
    "evaluate": "--num_particles 2 --num_temperatures 5 --num_chains 4 --num_generated 4",
    "report": "--num 4 --num_temperatures 5",
}


class OwnObjective(WakeSleep):
    r"""An objective that a checkpoint cannot name without being trusted."""


def told_of(folder, config, capsys, *arguments):
    r"""Returns the run folder, what was printed by the first words of lines, and the commands."""
    capsys.readouterr()
    run = fit(folder, config, *arguments)
    lines = capsys.readouterr().out.splitlines()
    names = ("trained", "log-likelihood", "accuracy", "QPU time", "run folder:")
    rows = {name: line for name in names for line in lines if line.startswith(name)}
    commands = lines[lines.index("next:") + 1 :] if "next:" in lines else []
    return run, rows, [shlex.split(line) for line in commands]


def last(run, name):
    return read_metrics(run / "metrics.csv")[name][1][-1]


def test_the_summary_is_that_of_the_last_validation(tmp_path, capsys):
    config = small_config(widths=(74, 30, 24))
    config["name"] = "a b"
    run, rows, commands = told_of(tmp_path, config, capsys)
    assert re.search(r" 2 epochs, 8 updates, .* s since it was started$", rows["trained"])
    value, lower, upper = map(float, re.findall(r"-?\d+\.\d{4}", rows["log-likelihood"]))
    assert value == pytest.approx(last(run, "val/log_likelihood"), abs=1e-3)
    assert lower < value < upper
    assert upper - lower == pytest.approx(last(run, "prior/log_z_width"), abs=1e-3)
    assert "by 10 hidden states each" in rows["log-likelihood"]
    assert f"{last(run, 'val/accuracy'):.4f} of the validation data" in rows["accuracy"]
    assert "updates" not in rows["log-likelihood"] and "QPU time" not in rows
    assert rows["run folder:"] == "run folder: runs/a b/version_0"
    assert [words[:2] for words in commands] == [["qahm", "evaluate"], ["qahm", "report"]]


def test_the_commands_can_be_typed(tmp_path, capsys, monkeypatch):
    config = small_config()
    config["name"] = "a b"
    run, rows, commands = told_of(tmp_path, config, capsys)
    assert "(log Z is exact)" in rows["log-likelihood"]
    monkeypatch.chdir(tmp_path)
    for _, command, *words in commands:
        assert qahm(command, *words, *QUICK[command].split()) == 0
    assert (run / "evaluation.json").is_file() and (run / "figures").is_dir()


def test_an_earlier_validation_is_told_as_such(tmp_path, capsys):
    _, rows, _ = told_of(
        tmp_path,
        small_config(),
        capsys,
        *("--trainer.max_epochs", "3"),
        *("--trainer.check_val_every_n_epoch", "2"),
    )
    assert ", after 8 updates" in rows["log-likelihood"] and "12 updates" in rows["trained"]


def test_without_validation_or_checkpoint_there_is_less_to_tell(tmp_path, capsys):
    config = small_config()
    del config["trainer"]["callbacks"]
    config["trainer"].update(limit_val_batches=0, enable_checkpointing=False)
    _, rows, commands = told_of(tmp_path, config, capsys)
    assert rows.keys() == {"trained", "run folder:"} and commands == []


def test_the_bill_of_an_annealer_is_told(tmp_path, capsys):
    config = yaml.safe_load((CONFIGS / "digits_annealer.yaml").read_text())
    config["trainer"].update(
        max_epochs=1, log_every_n_steps=1, limit_train_batches=3, limit_val_batches=0
    )
    config["trainer"]["callbacks"][2]["init_args"] = {"every_n_steps": 1}
    run, rows, _ = told_of(tmp_path, config, capsys)
    spent = last(run, "device/qpu_seconds")
    assert f"{spent:.4g} s, for 3 problems of 768 reads in all" in rows["QPU time"]
    assert f"{600 - spent:.4g} s are left of the budget of 600 s" in rows["QPU time"]


def test_a_run_with_classes_of_somebodys_own_is_to_be_trusted(tmp_path, capsys):
    config = small_config()
    config["model"]["init_args"]["objective"] = {"class_path": "test_fit_summary.OwnObjective"}
    assert not needs_trust([small_config()["model"], small_config()["data"]])
    assert needs_trust([config["model"]])
    _, _, commands = told_of(tmp_path, config, capsys)
    assert all(words[-1] == "--trust" for words in commands) and len(commands) == 2
