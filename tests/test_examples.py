r"""The examples run as a visitor runs them, and what they print gets better by training."""

import re
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
# Few steps, and by how much the number is then to have changed.
CASES = {
    "binary_vae": (["--latents", "8"], 60, +15.0),  # of nats
    "matching_codes": (["--latents", "8"], 60, -0.5),  # of a squared discrepancy
    "gan": (["--latents", "8"], 150, -0.5),
    "own_table": ([], 40, +0.1),  # of the share of classes told
    "own_images": (["--side", "4"], 40, -0.5),  # of bits
}


@pytest.fixture
def number_of(monkeypatch, capsys, tmp_path):
    r"""Runs an example in a folder of its own, and returns the number that it prints last."""
    monkeypatch.chdir(tmp_path)

    def run(name, options, steps):
        monkeypatch.setattr(sys, "argv", [name, *options, "--steps", str(steps)])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        (line,) = capsys.readouterr().out.splitlines()
        return float(re.fullmatch(r".+: (-?[\d.]+)", line).group(1))

    return run


def test_each_example_is_here_and_short():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(CASES)
    for path in FOLDER.glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path.name


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_training_makes_the_number_better(name, number_of):
    options, steps, gain = CASES[name]
    untrained, trained = (number_of(name, options, n) for n in (0, steps))
    assert (trained - untrained) / gain > 1


@pytest.mark.slow
def test_classes_of_the_table_are_told_better_than_the_commonest(number_of):
    accuracy = number_of("own_table", [], 100)
    lines = Path("breast_cancer.csv").read_text().splitlines()[1:]
    classes = [line.rpartition(",")[2] for line in lines]
    commonest = max(classes.count(kind) for kind in set(classes)) / len(classes)
    assert accuracy > commonest + 0.1


@pytest.mark.slow
def test_the_picture_is_written(number_of):
    number_of("own_images", ["--side", "4"], 0)
    assert Path("generated.png").stat().st_size > 0
