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
from qahm_torch.evaluation import classification_accuracy, impute, reconstruction_error
from qahm_torch.ising import all_states

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


def told_split(folder):
    parts = ["train", "test", "val", "test", "train"]
    lines = TABLE.splitlines()
    return written(
        folder, "\n".join(f"{a},{b}" for a, b in zip(lines, ["part", *parts], strict=True))
    )


def test_a_column_says_which_rows_are_for_what(tmp_path):
    data = TableData(told_split(tmp_path), "kind", split="part")
    data.setup()
    whole = data.encode(data.rows)
    torch.testing.assert_close(data.train, whole[[0, 4]], equal_nan=True)
    torch.testing.assert_close(data.val, whole[[2]], equal_nan=True)
    torch.testing.assert_close(data.test, whole[[1, 3]], equal_nan=True)
    # The scale is that of training rows alone; the column of parts is none of the table.
    assert float(data.original.train[:, 0].mean()) == 2.5 and "part" not in data.categories


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (("val", "dev"), {}, "the split holds 'dev' in row 3"),
        ((",val", ","), {}, "the split is empty in row 3"),
        (("train", "val"), {}, "the split has no row for train"),
        (("x", "x"), {"num_val": 1}, "num_val is 1 and num_test 0, but the split says"),
        (("part", "parts"), {}, "'part' is no column of mine.csv"),
    ],
)
def test_a_split_that_is_none_is_refused(tmp_path, change, options, told):
    path = told_split(tmp_path)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=re.escape(told)):
        TableData(path, "kind", split="part", **options)


def test_parts_are_numbers_or_shares(tmp_path):
    data = TableData(coupled(tmp_path), "kind", num_val=0.1, num_test=20)
    data.setup()
    assert [len(part) for part in (data.train, data.val, data.test)] == [250, 30, 20]
    for wrong in (-0.5, 2.5):
        with pytest.raises(ValueError, match=f"num_val is {wrong}, but it is a whole number"):
            TableData(coupled(tmp_path), "kind", num_val=wrong)


def table_machine(data, num_context=None):
    torch.manual_seed(0)
    prior = qt.QuantumPriorLayer(3, sampler=qt.ExactSampler(), num_samples=64)
    machine = qt.TableMachine(data.units, prior, num_hidden=4, num_context=num_context)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    prior.estimate_log_z()
    return machine


def exact_classes(machine, row):
    r"""Returns p(class | known columns), summed over hidden states and missing spins."""
    hidden = all_states(3, torch.float32)
    log_prior = machine.prior.log_prob(hidden)
    law = machine.generator.conditional(0, hidden)
    joint = []
    for code in 2 * torch.eye(machine.num_classes) - 1:
        filled = row.repeat(2, 1)
        filled[:, machine.num_pixels :] = code
        filled[:, 1] = torch.tensor([-1.0, 1.0])  # the missing spin
        terms = log_prior + law.log_prob(filled.unsqueeze(1))
        joint.append(terms.logsumexp((0, 1)))
    return torch.stack(joint).softmax(0)


@pytest.mark.parametrize("num_context", [None, 2])
def test_classes_of_a_table_are_those_of_enumeration(tmp_path, num_context):
    data = TableData(written(tmp_path, TABLE), "kind", kinds={"rooms": "continuous"})
    data.setup()
    machine = table_machine(data, num_context)
    assert machine.num_classes == 3
    row = data.encode(data.rows)[2]
    assert row[1].isnan() and row.isnan().sum() == 1
    with torch.no_grad():
        expected = exact_classes(machine, row)
        probs = machine.classify(row, 40_000, generator=torch.Generator().manual_seed(0))
    assert expected.max() - expected.min() > 0.05
    torch.testing.assert_close(probs, expected, atol=0.01, rtol=0)
    # What is known of the class is not looked at.
    row[machine.num_pixels :] = torch.nan
    again = machine.classify(row, 40_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, probs)
    read = machine.read_out(row, 100)
    assert read.shape == (3,) and read.sum() == pytest.approx(1)


def test_a_last_column_of_categories_is_no_class_by_itself(tmp_path):
    data = TableData(written(tmp_path), leave_out=["rooms"])
    assert data.units.num_classes == data.num_classes == 0
    with pytest.raises(ValueError, match="has_classes is true, but the last column is Spins"):
        qt.MixedUnits([qt.OneHot(3), qt.Spins(1)], has_classes=True)


def test_accuracy_and_error_are_of_what_is_known(tmp_path):
    data = TableData(written(tmp_path), "kind")
    data.setup()
    machine = table_machine(data)
    rows = data.train.clone()
    torch.manual_seed(0)
    error = reconstruction_error(machine, rows)
    torch.manual_seed(0)
    seen = rows.clone()
    seen[:, machine.num_pixels :] = torch.nan
    gaps = (machine.reconstruct(seen) - rows)[:, : machine.num_pixels].flatten()
    known = [x**2 for x in gaps.tolist() if not math.isnan(x)]
    assert 0 < len(known) < len(gaps)
    assert error == pytest.approx(sum(known) / len(known))
    rows[0, machine.num_pixels :] = torch.nan
    right = classification_accuracy(machine, rows, num_particles=500)
    assert right in (0, 0.25, 0.5, 0.75, 1)
    assert math.isnan(classification_accuracy(machine, rows[:1]))


def test_dreams_of_a_class_of_a_table(tmp_path):
    data = TableData(written(tmp_path), "kind")
    dreams = qt.class_dreams(table_machine(data), torch.tensor([2, 0]))[-1]
    assert data.decode(dreams)[:, -1].tolist() == [2, 0]


def test_dreams_of_a_class_that_sees_other_columns(tmp_path):
    data = TableData(written(tmp_path), "kind")
    machine = table_machine(data, 2)
    with torch.no_grad():
        for parameter in machine.units.parameters():
            parameter.add_(torch.randn_like(parameter))
    states = qt.class_dreams(machine, torch.full((4000,), 1))
    assert [state.shape for state in states] == [(4000, 3), (4000, 11)]
    free = machine.generate(40_000)
    of_class = free[data.decode(free)[:, -1] == 1]
    mean, other = of_class.mean(0), free.mean(0)
    stderr = of_class.std(0) * (1 / len(of_class) + 1 / 4000) ** 0.5
    assert ((states[-1].mean(0) - mean).abs() <= 5 * stderr).all()
    # Of all rows the means are others: the class does tell something.
    assert ((other - mean).abs()[: machine.num_pixels] > 10 * stderr[: machine.num_pixels]).any()


def test_a_machine_of_a_table_comes_back(tmp_path):
    machine = table_machine(TableData(written(tmp_path), "kind"), 2)
    machine.save(tmp_path / "machine.pt")
    again = qt.HelmholtzMachine.load(tmp_path / "machine.pt")
    rows = again.generate(5)
    assert again.num_classes == 3 and again.num_context == 2
    states = [rows, machine.infer(rows, 1).states[0][0]]
    assert torch.equal(again.log_joint(states), machine.log_joint(states))
    with pytest.raises(ValueError, match="units are None, but a TableMachine takes the MixedUn"):
        qt.TableMachine(None, machine.prior)
    with pytest.raises(ValueError, match="num_hidden is 0, but at least 1"):
        qt.TableMachine(machine.units, machine.prior, 0)
