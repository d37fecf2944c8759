r"""What docs/architecture.md names is there."""

import re
from pathlib import Path

import qahm_torch
from qahm_torch import cognition, data, evaluation, pretrained, systems, testing, training

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PACKAGE = ROOT / "qahm_torch"


def test_files_that_are_named_are_there():
    files = set(re.findall(r"`(\w+/\w+\.py)`", TEXT))
    assert len(files) >= 10
    for file in files:
        assert (PACKAGE / file).exists() or (ROOT / file).exists(), file


def test_names_of_the_package_are_there():
    rooms = (qahm_torch, cognition, data, evaluation, pretrained, systems, testing, training)
    names = set(re.findall(r"`([A-Z]\w+)[`.(]", TEXT))
    assert len(names) >= 15
    for name in names:
        assert any(hasattr(room, name) for room in rooms), name


def test_each_room_has_a_row():
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M))
    folders = {f.parent.name for f in PACKAGE.glob("*/__init__.py")}
    alone = {f.stem for f in PACKAGE.glob("[!_]*.py")}
    assert rows == folders | alone
