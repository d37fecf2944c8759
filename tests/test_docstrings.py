r"""What is public says what it is: in its own docstring, or in that of what it overrides."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import qahm_torch
from qahm_torch import cognition, data, evaluation, pretrained, systems, testing, training

ROOMS = {"qahm_torch": qahm_torch, "data": data, "evaluation": evaluation}
ROOMS |= {"cognition": cognition, "systems": systems, "testing": testing, "training": training}
ROOMS |= {"pretrained": pretrained}
SECTION = re.compile(r"^([A-Z]\w+):\n((?:\n|    .*\n?)+)", re.M)
# What other houses call theirs.
OTHERS = {"Args", "Attributes", "Examples", "Note", "Notes", "Parameters", "Return", "Yields"}


def public(room):
    names = getattr(room, "__all__", None) or [n for n in vars(room) if not n.startswith("_")]
    objects = {name: getattr(room, name) for name in names}
    return {
        name: value
        for name, value in objects.items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("qahm_torch")
    }


THINGS = {f"{room}.{n}": v for room, module in ROOMS.items() for n, v in public(module).items()}


def silent(thing):
    r"""Returns the names of a thing and of its public methods that have no docstring."""
    names = [] if thing.__doc__ else [thing.__name__]
    for kind in thing.__mro__ if inspect.isclass(thing) else ():
        for name, value in vars(kind).items():
            if (
                (inspect.isfunction(value) or isinstance(value, property))
                and kind.__module__.startswith("qahm_torch")
                and not name.startswith("_")
                and not re.match("forward$|num_", name)  # says it by its name
                and not any(
                    vars(base)[name].__doc__ for base in kind.__mro__ if name in vars(base)
                )
            ):
                names.append(f"{kind.__name__}.{name}")
    return names


def test_silence_is_found():
    class Base:
        r"""Says something."""

        def said(self):
            r"""Returns."""

        def unsaid(self):
            pass

    class Derived(Base):
        def said(self):
            pass

    Base.__module__ = Derived.__module__ = "qahm_torch.made_up"
    assert silent(Derived) == ["Derived", "Base.unsaid"]
    Derived.__doc__ = "Says something."
    Base.unsaid.__doc__ = "Is said."
    assert silent(Derived) == []


@pytest.mark.parametrize("name", THINGS)
def test_what_is_public_has_a_docstring(name):
    assert silent(THINGS[name]) == []


@pytest.mark.parametrize("name", THINGS)
def test_sections_are_those_of_the_house(name):
    thing = THINGS[name]
    sections = dict(SECTION.findall(inspect.getdoc(thing)))
    assert not set(sections) & OTHERS
    if "Arguments" in sections:
        lines = re.findall(r"^    (\w[\w, ]*):", sections["Arguments"], re.M)
        told = {argument for line in lines for argument in line.split(", ")}
        assert told
        if not (inspect.isclass(thing) and issubclass(thing, (tuple, dict))):
            assert told <= set(inspect.signature(thing).parameters)


def test_docstrings_are_raw():
    folder = Path(qahm_torch.__file__).parent
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for file in sorted(folder.rglob("*.py")):
        lines = file.read_text().splitlines()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, kinds) and ast.get_docstring(node) is not None:
                start = node.body[0].lineno
                assert lines[start - 1].lstrip().startswith('r"""'), f"{file}:{start}"
