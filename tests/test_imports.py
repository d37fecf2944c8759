r"""The rooms: which may import which, how large they are, and what `import qahm_torch` costs."""

import ast
import collections
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import qahm_torch

ROOT = Path(qahm_torch.__file__).parent


def load_drawing():
    path = ROOT.parent / "docs" / "draw_floors.py"
    spec = importlib.util.spec_from_file_location("draw_floors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw_floors = load_drawing()
FLOORS = draw_floors.FLOORS
ROOMS = set().union(*FLOORS)
FILES = draw_floors.files()
ONLY_HERE = ("data", "training", "cli")  # may import Lightning and torchvision


def rooms_of(file):
    return {name.split(".")[1] for name in draw_floors.imported_modules(file) if "." in name}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file):
    room = draw_floors.room_of(file)
    (floor,) = [k for k, rooms in enumerate(FLOORS) if room in rooms]
    assert rooms_of(file) <= {room}.union(*FLOORS[:floor])
    relative = [n for n in ast.walk(ast.parse(file.read_text())) if getattr(n, "level", 0)]
    assert relative == [], "imports name the whole path"


def test_each_room_has_one_floor():
    folders = {f.parent.name for f in ROOT.glob("*/*.py")}
    alone = {f.stem for f in ROOT.glob("*.py")} - {"__init__"}
    assert folders | alone == ROOMS
    assert len(ROOMS) == sum(len(floor) for floor in FLOORS)


@pytest.mark.parametrize("room", sorted(ROOMS - {"testing", "trust"}))
def test_no_circle_of_files_in_a_room(room):
    heights = draw_floors.floors_of(draw_floors.file_imports(room))
    assert min(heights.values()) == 1


def test_no_file_name_occurs_twice():
    names = collections.Counter(f.name for f in FILES)
    twice = {name for name, count in names.items() if count > 1}
    assert twice <= {"__init__.py", "__main__.py"}


def test_no_file_is_long():
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in FILES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_room_is_a_fifth_of_the_package():
    lines = draw_floors.room_lines()
    assert max(lines.values()) <= 0.2 * sum(lines.values())


@pytest.fixture
def drawn_of(tmp_path, monkeypatch):
    r"""Draws another package, of the files that are named with their text."""
    package = tmp_path / "qahm_torch"

    def write(files):
        for name, text in files.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in [package, *(f for f in package.iterdir() if f.is_dir())]:
            (folder / "__init__.py").touch()
        monkeypatch.setattr(draw_floors, "PACKAGE", package)
        return draw_floors

    return write


UPWARDS = {
    "absolute": "import qahm_torch.nn.units",
    "from": "from qahm_torch.nn import units",
    "room": "from qahm_torch import nn",
    "relative": "from ..nn.units import Spins",
    "relative room": "from .. import nn",
    "in a function": "def f():\n    from qahm_torch.nn.units import Spins",
    "for types": "if TYPE_CHECKING:\n    from qahm_torch.nn.units import Spins",
}


@pytest.mark.parametrize("text", UPWARDS.values(), ids=UPWARDS)
def test_an_import_back_up_is_refused(drawn_of, text):
    drawing = drawn_of({"ising/model.py": text, "nn/units.py": ""})
    assert drawing.room_imports() == {"ising": {"nn"}, "nn": set()}
    assert drawing.arrows_back_up(drawing.room_imports()) == [
        "ising imports nn, which is not on a lower floor"
    ]


def test_an_import_down_is_not_refused(drawn_of):
    drawing = drawn_of({"nn/units.py": "from ..ising.model import Ising", "ising/model.py": ""})
    assert drawing.room_imports() == {"nn": {"ising"}, "ising": set()}
    assert drawing.arrows_back_up(drawing.room_imports()) == []


def test_a_neighbor_on_the_same_floor_is_refused(drawn_of):
    text = "from qahm_torch.samplers.gibbs import GibbsSampler"
    drawing = drawn_of({"simulator/problem.py": text, "samplers/gibbs.py": ""})
    assert len(drawing.arrows_back_up(drawing.room_imports())) == 1


def test_a_circle_is_refused(drawn_of):
    drawing = drawn_of({"nn/a.py": "from qahm_torch.nn import b", "nn/b.py": "from . import a"})
    with pytest.raises(ValueError, match="a circle of imports: (a -> b -> a|b -> a -> b)"):
        drawing.drawing_of("nn")


def test_a_room_without_a_floor_is_refused(drawn_of):
    drawing = drawn_of({"attic/old.py": ""})
    with pytest.raises(ValueError, match="attic has no floor; .*cli is no room"):
        drawing.drawing()


def test_files_of_a_room_stand_on_what_they_import(drawn_of):
    texts = {
        "a": "",
        "b": "from qahm_torch.nn.a import x",
        "c": "from .b import y\nfrom . import a",
    }
    drawing = drawn_of({f"nn/{name}.py": text for name, text in texts.items()})
    assert drawing.drawing_of("nn") == "3  c\n2  b\n1  a\n"
    with pytest.raises(ValueError, match="room is attic, but the rooms are nn"):
        drawing.drawing_of("attic")


def test_the_drawing_in_the_document_is_that_of_today():
    document = draw_floors.DOCUMENT.read_text()
    assert draw_floors.with_drawing(document, draw_floors.drawing()) == document, (
        "renew it: python docs/draw_floors.py --write"
    )
    assert draw_floors.with_drawing(document, "another\n") != document
    with pytest.raises(ValueError, match="has no marks"):
        draw_floors.with_drawing("nothing", "")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_only_data_training_and_the_command_line_import_lightning(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    if draw_floors.room_of(file) not in ONLY_HERE:
        assert not names & {"pytorch_lightning", "torchvision"}


def modules_after(code):
    script = f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(answer.stdout.split())


def test_the_layer_needs_neither_lightning_nor_torchvision_nor_a_client():
    code = "import qahm_torch as qt, torch\n"
    code += "(-qt.QuantumPriorLayer(4)(torch.ones(1, 4)).mean()).backward()"
    loaded = modules_after(code)
    assert "torch" in loaded
    assert not loaded & {"pytorch_lightning", "torchvision", "dwave", "sklearn", "matplotlib"}


def test_a_broken_torchvision_does_not_take_the_layer_down():
    code = "sys.modules['torchvision'] = sys.modules['pytorch_lightning'] = None\n"
    assert "torch" in modules_after(code + "import qahm_torch as qt\nqt.QuantumPriorLayer(4)")


def test_a_broken_lightning_is_told_in_one_line():
    code = "sys.modules['pytorch_lightning'] = None\n"
    code += (
        "try:\n  import qahm_torch.training\nexcept ImportError as e: print(e, file=sys.stderr)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=True
    )
    assert "pip install" in answer.stderr and len(answer.stderr.splitlines()) == 1


def test_all_public_names_are_there():
    assert set(qahm_torch.__all__) <= set(dir(qahm_torch))
    for name in qahm_torch.__all__:
        assert getattr(qahm_torch, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = qahm_torch.nothing
