import importlib.util
import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_drop_in_example_runs():
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(block.group(1), names)
    assert names["prior"].J.grad is not None
    assert names["encoder"].weight.grad.abs().max() > 0
    assert set(names["spins"].detach().unique().tolist()) <= {-1.0, 1.0}
    assert torch.isfinite(names["loss"])


def test_table_is_that_of_the_reports(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert table.with_table(README) == README


def test_links_to_files_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
