from pathlib import Path

import pytest
import yaml
from small_runs import CONFIGS, qahm, small_config, write_config

from qahm_torch.cli.configs import find_config, with_paths

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
