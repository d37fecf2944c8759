r"""Habits of the whole repository: how it spells, and what tests do not assert."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("qahm_torch", "benchmarks", "configs", "docs", "examples", "notebooks", "tests")
KINDS = {".py", ".md", ".yaml", ".ipynb", ".toml"}
TEXTS = sorted(f for folder in FOLDERS for f in (ROOT / folder).rglob("*") if f.suffix in KINDS)
TEXTS += sorted(f for f in ROOT.glob("*") if f.suffix in KINDS)
# Written apart, so that this file is not found by itself.
BRITISH = re.compile(
    r"\b\w*(gr" + r"ey|col" + r"our|neighb" + r"our|behavi" + r"our|cent" + r"re\b|label" + r"led|"
    r"modell" + r"ed|normalis" + r"e|initialis" + r"e|minimis" + r"e|optimis" + r"e)\w*",
    re.IGNORECASE,
)
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "time"}


def british(text):
    return [match.group() for match in BRITISH.finditer(text)]


def reads_a_clock(node, names):
    r"""Whether an expression has a reading of a clock in it, or a name that holds one."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in names:
            return True
        if (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Attribute)
            and isinstance(part.func.value, ast.Name)
            and (part.func.value.id, part.func.attr in CLOCKS) == ("time", True)
        ):
            return True
    return False


def clocked_assertions(text):
    r"""Returns the lines that assert how long something has taken."""
    found = []
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and reads_a_clock(node.value, names):
                names |= {part.id for part in node.targets if isinstance(part, ast.Name)}
        found += [
            node.lineno
            for node in ast.walk(function)
            if isinstance(node, ast.Assert) and reads_a_clock(node.test, names)
        ]
    return found


def words_of(file):
    r"""Returns the text of a file; of a notebook, without the pictures in it."""
    if file.suffix != ".ipynb":
        return file.read_text()
    return "".join(
        line for cell in json.loads(file.read_text())["cells"] for line in cell["source"]
    )


@pytest.mark.parametrize("file", TEXTS, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_spelling_is_american(file):
    assert british(words_of(file)) == []


def test_other_spellings_are_found():
    words = "gr" + "eyish Col" + "our label" + "led cent" + "re"
    assert len(british(words)) == 4
    assert british("gray color labeled center neighbors") == []


@pytest.mark.parametrize("file", sorted((ROOT / "tests").glob("*.py")), ids=lambda f: f.name)
def test_no_test_asserts_on_the_time_of_a_clock(file):
    assert clocked_assertions(file.read_text()) == []


def test_an_assertion_on_a_clock_is_found():
    text = "def f():\n    start = time.monotonic()\n    assert time.monotonic() - start < 1"
    assert clocked_assertions(text) == [3]
    text = "def f():\n    a = time.monotonic()\n    b = 2 * a\n    assert 0 < b < 3\n    assert 1"
    assert clocked_assertions(text) == [4]
    assert clocked_assertions("def f(clock):\n    assert clock.time() == 3") == []
