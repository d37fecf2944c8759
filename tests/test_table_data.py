r"""Tables of one's own: kinds of columns, empty cells, what is wrong, and a gain."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import qahm_torch as qt
from qahm_torch.data import TableData
from qahm_torch.evaluation import impute

PAGE = (Path(__file__).parents[1] / "docs" / "own_data.md").read_text()
TABLE = (
    "kind,size,on,color,rooms\n"
    "A,1.5,0,red,1\nB,,1,blue,2\nA,2.5,,green,3\nC,nan,1,,1\nC,3.5,,red,2\n"
)


def written(folder, text=TABLE):
    path = folder / "mine.csv"
    path.write_text(text)
    return path


def test_kinds_and_missing_cells(tmp_path):
    data = TableData(written(tmp_path), "kind")
    kinds = {column.name: column.kind for column in data.columns}
    assert kinds == {
        "size": "continuous",
        "on": "binary",
        "color": "categorical",
        "rooms": "categorical",
        "kind": "categorical",
    }
    assert data.categories["color"] == ["blue", "green", "red"]
    assert (data.num_classes, data.num_features) == (3, 8)
    data.setup()
    rows = data.encode(data.rows)
    assert rows.isnan().sum(-1).tolist() == [0, 1, 1, 4, 1]
    assert rows[0, 0] == pytest.approx(-math.sqrt(1.5))
    assert rows[0, 1:].tolist() == [-1, -1, -1, 1, 1, -1, -1, 1, -1, -1]
    assert data.units.num_units == data.num_visible == 11


def test_kinds_by_name_and_columns_left_out(tmp_path):
    data = TableData(written(tmp_path), kinds={"rooms": "positive"}, leave_out=["on", "kind"])
    assert [(c.name, c.kind) for c in data.columns][-1] == ("rooms", "positive")
    assert len(data.columns) == 3


def test_npz_is_read_as_a_csv_is(tmp_path):
    np.savez(tmp_path / "t.npz", size=[1.5, math.nan, 2.5], name=["a", "b", "c"])
    data = TableData(tmp_path / "t.npz")
    assert [c.kind for c in data.columns] == ["binary", "categorical"]
    assert data.rows[1].isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("a,b\n1,2\n2,inf\n", {}, "column 'b' holds inf in row 2"),
        ("a,b\n1,2\n2,x\n3,4\n", {}, "column 'b' holds 'x' in row 2 and numbers"),
        ("a,b\n1,2\n2,2\n", {}, "column 'b' holds [2.0], but two"),
        ("a,b\n1,2\n2\n", {}, "1 cells in row 2, but 2 columns"),
        ("a,a\n1,2\n", {}, "names of their own"),
        ("a,b\n", {}, "columns of lengths"),
        (TABLE, {"class_column": "sort"}, "'sort' is no column of mine.csv"),
        (TABLE, {"kinds": {"color": "continuous"}}, "column 'color' holds 'red' in row 1"),
        (TABLE, {"kinds": {"color": "binary"}}, "a binary one has 2 values"),
        ("a\n1\n-2\n3\n", {"kinds": {"a": "positive"}}, "column 'a' holds -2.0 in row 2"),
    ],
)
def test_what_is_wrong_is_told_with_its_column(tmp_path, text, options, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        TableData(written(tmp_path, text), **options)


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        TableData(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"ends in \.csv"):
        TableData(tmp_path / "table.xls")


def coupled(folder, num_rows=300):
    generator = torch.Generator().manual_seed(3)
    bits = torch.rand(num_rows, generator=generator) < 0.5
    noise = torch.rand(num_rows, 3, generator=generator) < 0.05
    lines = [",".join(("yes" if b ^ n else "no") for n in row) for b, row in zip(bits, noise)]
    text = "x,y,kind\n" + "\n".join(lines) + "\n"
    return written(folder, text)


def test_a_machine_beats_independent_columns(tmp_path):
    torch.manual_seed(0)
    data = TableData(coupled(tmp_path), "kind", num_test=100)
    data.setup()
    units = data.units
    machine = qt.HelmholtzMachine(
        qt.Flagged(qt.BeliefNetwork([2 * units.num_units, 2])),
        qt.BeliefNetwork([2, units.num_units], output=units),
        qt.QuantumPriorLayer(2, sampler=qt.ExactSampler(), num_samples=64),
    )
    objective = qt.ReweightedWakeSleep(num_particles=5)
    optimizer = torch.optim.Adam(machine.parameters(), lr=0.05)
    for _ in range(200):
        loss = objective(machine, data.train, machine.prior.draw())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    machine.prior.estimate_log_z()
    score = float(impute(machine, data.test, 100).log_prob.mean())
    ones = (data.original.train.mean(0), data.original.test)
    alone = float((ones[1] * ones[0].log() + (1 - ones[1]) * (1 - ones[0]).log()).sum(-1).mean())
    assert score > alone + 0.5


@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coupled(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        scope = {}
        exec(block, scope)
        assert "loss" not in scope or scope["loss"].isfinite()
    told, _ = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    TableData(**yaml.safe_load(told)["data"]["init_args"])
