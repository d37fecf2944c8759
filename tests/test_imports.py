r"""The rooms: which may import which, and what `import qahm_torch` costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qahm_torch

ROOT = Path(qahm_torch.__file__).parent
FLOORS = [
    {"ising", "data"},
    {"kernels", "device", "nn"},
    {"samplers", "simulator"},
    {"priors", "objectives", "evaluation", "testing"},
    {"annealer"},
    {"training"},
    {"cli"},
]
ROOMS = set().union(*FLOORS)
FILES = [f for f in sorted(ROOT.rglob("*.py")) if f != ROOT / "__init__.py"]


def imported_rooms(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            if (node.module or "").startswith("qahm_torch."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name[:11] == "qahm_torch.")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file):
    room = file.relative_to(ROOT).parts[0].removesuffix(".py")
    (floor,) = [k for k, rooms in enumerate(FLOORS) if room in rooms]
    allowed = {room}.union(*FLOORS[:floor])
    assert set(imported_rooms(ast.parse(file.read_text()))) <= allowed


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_only_training_and_the_command_line_import_lightning(file):
    room = file.relative_to(ROOT).parts[0]
    names = {
        a.name.split(".")[0]
        for n in ast.walk(ast.parse(file.read_text()))
        if isinstance(n, ast.Import)
        for a in n.names
    }
    names |= {
        (n.module or "").split(".")[0]
        for n in ast.walk(ast.parse(file.read_text()))
        if isinstance(n, ast.ImportFrom)
    }
    if room not in ("data", "training", "cli"):
        assert not names & {"pytorch_lightning", "torchvision", "torchmetrics"}


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
