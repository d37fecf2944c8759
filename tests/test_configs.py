import math
from pathlib import Path

import pytest
import yaml
from small_runs import CONFIGS, qahm, small_config, write_config

from qahm_torch import TableMachine
from qahm_torch.cli.configs import find_config, with_paths
from qahm_torch.evaluation import read_metrics
from qahm_torch.training import load_run

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_shipped_configurations_are_found_by_name_from_any_folder(name):
    for told in (name, f"{name}.yaml"):
        assert find_config(told).samefile(CONFIGS / f"{name}.yaml")


def test_a_file_of_that_name_comes_first(elsewhere):
    (elsewhere / "digits").write_text("name: mine")
    assert find_config("digits") == Path("digits")
    assert find_config("digits.yaml").samefile(CONFIGS / "digits.yaml")


@pytest.mark.parametrize("name", ["digit", "configs/digits.yaml", "digits.json", "", "."])
def test_an_unknown_name_is_told_with_those_there_are(name):
    with pytest.raises(FileNotFoundError) as caught:
        find_config(name)
    assert f"config is {name}, but" in str(caught.value)
    assert ", ".join(NAMES) in str(caught.value)


def test_only_the_values_of_the_option_are_replaced():
    told = "fit --config digits --name digits -c chip_zephyr15 --config=mnist16 --configs digits"
    path = {name: str(find_config(name)) for name in NAMES}
    assert with_paths(told.split()) == [
        *("fit", "--config", path["digits"], "--name", "digits", "-c", path["chip_zephyr15"]),
        *(f"--config={path['mnist16']}", "--configs", "digits"),
    ]


def test_a_command_takes_a_name(capsys):
    with pytest.raises(SystemExit) as caught:
        qahm("fit", "--config", "mnist16_annealer", "--config=chip_zephyr15", "--print_config")
    assert caught.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    chip = yaml.safe_load((CONFIGS / "chip_zephyr15.yaml").read_text())
    assert printed["name"] == chip["name"] != "mnist16_annealer"


def test_commands_tell_an_unknown_name_in_one_line(capsys):
    for command in ("fit", "validate", "device"):
        assert qahm(command, "--config", "digit") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("qahm: error: config is digit, but ")


def test_a_file_is_taken_as_it_was(elsewhere, capsys):
    path = write_config(elsewhere, {**small_config(), "name": "small"})
    for told in (path, "config.yaml"):
        with pytest.raises(SystemExit):
            qahm("fit", "--config", told, "--print_config")
        assert yaml.safe_load(capsys.readouterr().out)["name"] == "small"


def wine(path, empty=()):
    r"""Writes scikit-learn's table of wines, whose kinds are names, with a column of parts."""
    from sklearn.datasets import load_wine

    data = load_wine()
    lines = [",".join([*data.feature_names, "kind", "part"])]
    for row, (values, label) in enumerate(zip(data.data, data.target, strict=True)):
        cells = ["" if (row, k) in empty else f"{x:g}" for k, x in enumerate(values)]
        lines.append(",".join([*cells, "abc"[label], ("train", "train", "val", "test")[row % 4]]))
    path.write_text("\n".join(lines))
    return path.name


SHORT = [
    "--trainer.max_epochs",
    "4",
    "--trainer.check_val_every_n_epoch",
    "2",
    "--trainer.enable_progress_bar",
    "false",
    "--trainer.enable_model_summary",
    "false",
    "--data.split",
    "part",
    "--data.num_val",
    "0",
    "--data.num_test",
    "0",
]


def test_a_table_is_trained_on_by_two_lines(elsewhere, capsys):
    empty = {(row, (row * 7) % 13) for row in range(0, 178, 2)}
    name = wine(elsewhere / "wine.csv", empty)
    lines = ["--data.path", name, "--data.class_column", "kind"]
    assert qahm("fit", "--config", "table", *lines, *SHORT) == 0
    run = load_run("runs/table")
    assert isinstance(run.module.machine, TableMachine)
    assert run.module.machine.recognition.widths == (16, 12)
    assert (run.module.num_classes, run.data.num_classes) == (3, 3)
    told = yaml.safe_load((run.folder / "config.yaml").read_text())["model"]["init_args"]
    assert "units" not in told["machine"]["init_args"]
    metrics = read_metrics(run.folder / "metrics.csv")
    for column in ("val/reconstruction_mse", "val/accuracy", "val/log_likelihood"):
        assert len(metrics[column][1]) == 2 and all(map(math.isfinite, metrics[column][1]))
    assert qahm("classify", "runs/table") == 0
    assert "of 44 rows" in capsys.readouterr().out
    checkpoint = "runs/table/version_0/checkpoints/last.ckpt"
    more = [*lines, *SHORT, "--trainer.max_epochs", "6", "--ckpt_path", checkpoint]
    assert qahm("fit", "--config", "table", *more) == 0


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "'kind' is no column of wine.csv"),
        (["--data.class_column", "null"], "hide_classes is 0.5 and class_weight 1.0, but the mac"),
        (["--data.class_column", "sort", "--data.split", "kind"], "the split holds 'a' in row 1"),
    ],
)
def test_what_a_table_lacks_is_told_in_a_line(lines, told, elsewhere, capsys):
    path = elsewhere / "wine.csv"
    wine(path)
    path.write_text(path.read_text().replace(*("part", "sort") if lines else ("kind", "sort")))
    parts = ["--data.num_val", "0", "--data.num_test", "0"] if "--data.split" in lines else []
    assert qahm("fit", "--config", "table", "--data.path", str(path), *lines, *parts) == 2
    assert f"qahm: error: {told}" in capsys.readouterr().err


def test_another_data_set_has_no_units_for_a_table(elsewhere, capsys):
    config = yaml.safe_load((CONFIGS / "table.yaml").read_text())
    config["data"] = {"class_path": "qahm_torch.data.BarsAndStripes"}
    assert qahm("fit", "--config", write_config(elsewhere, config)) == 2
    told = capsys.readouterr().err
    assert "units are None, but a TableMachine takes" in told and "Namespace" not in told
