r"""What CONTRIBUTING.md shows runs as it stands."""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## Adding (an? [\w ]+)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))
THINGS = {
    "a sampler": ("samplers", "Sampler"),
    "a prior": ("priors", "Prior"),
    "an objective": ("objectives", "Objective"),
    "a data set": ("data", "TensorDataModule"),
}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture
def run(monkeypatch):
    r"""Runs a block as a module, which pickles can import, and returns its names."""
    module = types.ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)

    def execute(block):
        exec(compile(block, "CONTRIBUTING.md", "exec"), vars(module))
        return vars(module)

    return execute


def test_four_things_are_shown():
    assert set(SECTIONS) == set(THINGS)
    assert len(blocks(TEXT, "python")) == 4


@pytest.mark.parametrize("thing", THINGS)
def test_each_thing_is_one_block_that_runs(thing, run):
    room, base = THINGS[thing]
    (block,) = blocks(SECTIONS[thing], "python")
    names = run(block)
    (made,) = [v for v in names.values() if isinstance(v, type) and v.__module__ == "shown"]
    assert base in [kind.__name__ for kind in made.__mro__[1:]]
    assert (ROOT / "qahm_torch" / room / "__init__.py").exists()
    assert f"qahm_torch/{room}/" in SECTIONS[thing]


@pytest.mark.parametrize(
    ("thing", "right", "wrong"),
    [
        ("a sampler", "-ising.energy(spins)", "-0.5 * ising.energy(spins)"),
        ("a prior", "p = torch.sigmoid(2 *", "p = torch.sigmoid(1.5 *"),
    ],
)
def test_what_is_wrong_does_not_pass(thing, right, wrong, run):
    (block,) = blocks(SECTIONS[thing], "python")
    assert block.count(right) == 1
    with pytest.raises(AssertionError):
        run(block.replace(right, wrong))


def test_files_that_are_named_are_there():
    words = {word for block in blocks(TEXT, "bash") for word in shlex.split(block, comments=True)}
    words |= set(re.findall(r"`([^`\n]+)`", TEXT))
    words |= set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
    paths = [part for word in words for part in word.split() if re.search(r"[\w.]/\w", part)]
    mine = ("qahm_torch/samplers/rejection.py", "dist/*", ".venv/bin/activate")
    assert len(paths) >= 5
    for path in set(paths) - set(mine):
        assert (ROOT / path).exists(), path
