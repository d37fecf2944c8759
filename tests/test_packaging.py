r"""What is declared is what is imported, and what is built is whole."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qahm_torch"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Declared without an import.
NEEDED_BY = {"tensorboard": "pytorch_lightning.loggers.TensorBoardLogger writes by it"}
# Imported without being declared.
COMES_WITH = {"triton": "CUDA builds of torch"}
# Import packages that several distributions share.
SHARED = {"cloud": "dwave-cloud-client", "samplers": "dwave-samplers", "graphs": "dwave-graphs"}
SHARED |= {"system": "dwave-system", "embedding": "dwave-system"}
INSTALLED = packages_distributions()


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(lines):
    return {normal(re.match(r"[\w.-]+", line).group()) for line in lines}


def distribution_of(module):
    r"""Returns the name under which an imported module is installed."""
    top, _, rest = module.partition(".")
    if top == "dwave":
        return SHARED[rest.partition(".")[0]]
    if top in COMES_WITH or top in sys.stdlib_module_names or top == "qahm_torch":
        return None
    (name,) = set(INSTALLED[top])
    return normal(name)


def imports_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = node.names if node.module == "dwave" else []
            yield from (f"dwave.{alias.name}" for alias in names)
            yield from () if names else (node.module,)


def imported(folder):
    modules = {m for f in folder.rglob("*.py") for m in imports_of(ast.parse(f.read_text()))}
    return {distribution_of(module) for module in modules} - {None}


def test_each_import_is_declared():
    assert imported(PACKAGE) - declared(PROJECT["project"]["dependencies"]) == set()


def test_each_dependency_is_imported_or_has_a_reason():
    unused = declared(PROJECT["project"]["dependencies"]) - imported(PACKAGE)
    assert unused <= set(NEEDED_BY)


def test_an_undeclared_import_would_be_found():
    tree = ast.parse("import numpy.linalg\nfrom dwave import graphs\nfrom yaml.nodes import Node")
    assert sorted(imports_of(tree)) == ["dwave.graphs", "numpy.linalg", "yaml.nodes"]
    found = [distribution_of(module) for module in imports_of(tree)]
    assert set(found) == {"numpy", "dwave-graphs", "pyyaml"}
    assert distribution_of("pytest") not in declared(PROJECT["project"]["dependencies"])


def test_what_the_tests_import_is_declared():
    extras = PROJECT["project"]["optional-dependencies"]
    ours = declared(PROJECT["project"]["dependencies"] + extras["test"] + extras["notebooks"])
    here = {f.stem for f in (ROOT / "tests").rglob("*.py")}
    modules = {
        m for f in (ROOT / "tests").glob("*.py") for m in imports_of(ast.parse(f.read_text()))
    }
    assert {distribution_of(m) for m in modules if m.split(".")[0] not in here} - {None} <= ours


def test_each_dependency_has_a_lower_bound_and_nothing_else():
    for line in PROJECT["project"]["dependencies"]:
        assert re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", line), line


def test_each_room_is_among_the_packages():
    rooms = {
        f.parent.relative_to(ROOT).as_posix().replace("/", ".") for f in PACKAGE.rglob("*.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == rooms | {"qahm_torch.configs"}


def clean_environment():
    r"""Returns the environment without the source tree."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def build(folder):
    r"""Builds the wheel from the sdist, as a release does, by what is installed here."""
    options = ["--no-isolation", "--outdir", str(folder)]
    answer = subprocess.run(
        [sys.executable, "-m", "build", *options, str(ROOT)], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("build")
    return build(tmp_path_factory.mktemp("built"))


def tracked(*folders):
    r"""Returns the files of folders that belong to the repository."""
    found = [f for folder in folders for f in (ROOT / folder).rglob("*") if f.is_file()]
    kinds = {".py", ".yaml", ".json", ".png", ".ipynb", ".md", ".pt", ".typed"}
    hidden = {"__pycache__", ".ipynb_checkpoints"}
    return {
        f.relative_to(ROOT).as_posix()
        for f in found
        if f.suffix in kinds and not hidden & set(f.parts)
    }


@pytest.mark.slow
def test_wheel_has_the_package_and_the_configurations(built):
    names = zipfile.ZipFile(built[0]).namelist()
    expected = tracked("qahm_torch") | {
        f"qahm_torch/{name}" for name in tracked("configs") if name.endswith(".yaml")
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert len([name for name in names if name.endswith(("/LICENSE", "/NOTICE"))]) == 2


@pytest.mark.slow
def test_sdist_has_what_its_tests_need(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    folders = ("qahm_torch", "tests", "configs", "notebooks", "benchmarks", "docs")
    assert tracked(*folders) <= names
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE"} <= names
    assert {"pyproject.toml", "conftest.py", ".ci/run", ".pre-commit-config.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name]


@pytest.fixture(scope="module")
def fresh(built, tmp_path_factory):
    r"""A fresh environment with the wheel, and with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "-q"]
    subprocess.run([*pip, str(built[0])], env=clean_environment(), check=True)
    (Path(site.stdout.strip()) / "here.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def run(fresh, folder, *command):
    return subprocess.run(
        [fresh / command[0], *command[1:]],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_wheel_trains_by_the_name_of_a_configuration(fresh, tmp_path):
    where = run(fresh, tmp_path, "python", "-c", "import qahm_torch; print(qahm_torch.__file__)")
    assert where.stdout.startswith(str(fresh.parent)), where
    short = "--trainer.max_epochs 1 --trainer.limit_train_batches 2 --trainer.limit_val_batches 1"
    answer = run(fresh, tmp_path, "qahm", "fit", "--config", "digits", *short.split())
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "runs" / "digits" / "version_0" / "config.yaml").exists()
    answer = run(fresh, tmp_path, "qahm", "fit", "--config", "digit")
    assert answer.returncode == 2
    assert "mnist16_annealer" in answer.stderr and "config is digit, but" in answer.stderr
