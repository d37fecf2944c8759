import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()


def test_drop_in_example_runs():
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(block.group(1), names)
    assert names["prior"].J.grad is not None
    assert names["encoder"].weight.grad.abs().max() > 0
    assert set(names["spins"].detach().unique().tolist()) <= {-1.0, 1.0}
    assert torch.isfinite(names["loss"])


def test_numbers_are_those_of_the_reports(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert table.with_headlines(README) == README
    assert table.measured() == (ROOT / "docs" / "measured.md").read_text()


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))])
def test_links_to_files_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_it_is_short():
    assert len(README.splitlines()) < 100
