r"""Machines of tables by the command line: what is generated, measured and drawn is of columns."""

import csv
import json
import random
from pathlib import Path

import jsonschema
import pytest
import torch
from matplotlib.image import imread
from small_runs import CONFIGS, qahm

import qahm_torch as qt
from qahm_torch.cli.arguments import Trained
from qahm_torch.cli.column_errors import column_errors
from qahm_torch.data import Column, MixedTable, TableData, cells_of
from qahm_torch.evaluation import ColumnPanel, column_histograms, correlation_scatter
from qahm_torch.training import load_run

SCHEMA = json.loads((Path(__file__).parents[1] / "docs/evaluation.schema.json").read_text())
NAMES = ["bill", "species", "mass", "id", "island", "sex", "eggs"]
SPECIES, ISLANDS = ["adelie", "gentoo", "king"], ["Biscoe, north", "Dream", "Torgersen"]
FEW = ["--num_particles", "5", "--num_temperatures", "20", "--num_generated", "60"]


def write_birds(path, num=150, missing=0.1):
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        for k in range(num):
            row = [
                round(draw.gauss(44, 5), 1),
                draw.choice(SPECIES),
                round(draw.gauss(4000, 500)),
                k,
                draw.choice(ISLANDS),
                draw.choice("fm"),
                draw.choice([1, 2, 3]),
            ]
            writer.writerow(["" if draw.random() < missing else cell for cell in row])


def fit_birds(folder, *more, class_column="species"):
    words = ["--data.path", "birds.csv", "--data.class_column", class_column]
    words += ["--data.leave_out", "[id]", "--data.kinds", "{mass: positive}"]
    words += ["--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "1", *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert qahm("fit", "--config", str(CONFIGS / "table.yaml"), *words) == 0
    return max((folder / "runs" / "table").iterdir())


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds")
    write_birds(folder / "birds.csv")
    return fit_birds(folder)


@pytest.fixture(autouse=True)
def _there(birds, monkeypatch):
    monkeypatch.chdir(birds.parents[2])


def generated(run, capsys, *words):
    capsys.readouterr()
    assert qahm("generate", str(run), *words) == 0
    (path,) = capsys.readouterr().out.split()
    with open(path, newline="", encoding="utf-8") as file:
        return path, list(csv.DictReader(file))


def test_generated_rows_are_of_the_columns_of_the_file(birds, capsys):
    path, rows = generated(birds, capsys, "--num", "200")
    assert path == str(birds / "dreams.csv")
    assert [*rows[0]] == [name for name in NAMES if name != "id"] and len(rows) == 200
    assert {row["species"] for row in rows} == set(SPECIES)
    assert {row["island"] for row in rows} == set(ISLANDS)
    assert {row["sex"] for row in rows} == {"f", "m"}
    assert {row["eggs"] for row in rows} == {"1", "2", "3"}
    bills = torch.tensor([float(row["bill"]) for row in rows])
    assert all(len(row["bill"].partition(".")[2]) == 1 for row in rows)
    assert bills.mean() == pytest.approx(44, abs=2) and 3 < bills.std() < 8
    masses = torch.tensor([float(row["mass"]) for row in rows])
    assert masses.min() > 0 and 3700 < masses.median() < 4300
    again = TableData(path, "species", kinds={"mass": "positive"})
    first = TableData("birds.csv", "species", kinds={"mass": "positive"}, leave_out=["id"])
    assert again.columns == first.columns and again.categories == first.categories


def test_generated_rows_are_the_units_that_are_saved(birds, tmp_path, capsys):
    out, tensor = tmp_path / "new" / "rows.csv", tmp_path / "rows.pt"
    words = ["--num", "9", "--output", str(out), "--tensor", str(tensor)]
    assert qahm("generate", str(birds), *words) == 0
    assert capsys.readouterr().out.split() == [str(out), str(tensor)]
    data = load_run(birds).data
    values = data.decode(torch.load(tensor, weights_only=True))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, value in zip(rows, values.tolist(), strict=True):
        told = dict(zip([column.name for column in data.columns], value, strict=True))
        assert float(row["bill"]) == round(told["bill"], 1)
        assert float(row["mass"]) == pytest.approx(told["mass"], rel=1e-5)
        assert row["species"] == SPECIES[int(told["species"])]
        assert row["island"] == ISLANDS[int(told["island"])]
        assert int(row["eggs"]) == told["eggs"] + 1


@pytest.mark.parametrize(("name", "species"), [("gentoo", "gentoo"), ("2", "king")])
def test_rows_of_a_class_by_its_name_or_number(birds, tmp_path, capsys, name, species):
    where = ["--class", name, "--num", "20", "--output", str(tmp_path / "rows.csv")]
    path, rows = generated(birds, capsys, *where)
    assert [row["species"] for row in rows] == 20 * [species]
    classes = ["--input", path, "--output", str(tmp_path / "classes.csv")]
    assert qahm("classify", str(birds), *classes) == 0
    assert "of 20 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--class", "emu"], "--class is emu, but the classes are adelie, gentoo, king"),
        (["--class", "3"], "--class is 3, but the classes are adelie, gentoo, king"),
        (["--output", "rows.png"], "the output of a table is rows.png, but it ends in .csv"),
    ],
)
def test_what_does_not_fit_a_table_is_told_in_a_sentence(birds, capsys, words, told):
    assert qahm("generate", str(birds), *words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"qahm: error: {told}"


def test_a_run_whose_file_is_not_there_says_so(birds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert qahm("report", str(birds)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "path is 'birds.csv', but there is no such file; go to the folder" in line


def test_a_report_of_a_table_is_as_the_schema_says(birds, tmp_path, capsys):
    capsys.readouterr()
    out = str(tmp_path / "a.json")
    assert qahm("evaluate", str(birds), *FEW, "--output", out) == 0
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, SCHEMA)
    assert report["likelihood"]["nats"]["value"] < 0
    assert set(report["likelihood"]["bits_per_pixel"].values()) == {None}
    nearest = report["nearest_training_distance"]
    assert nearest["generated_means"] is None
    assert 0 < nearest["test"] < 3 and 0 < nearest["generated_samples"] < 3
    kinds = {"bill": "continuous", "mass": "positive", "island": "categorical"}
    kinds |= {"sex": "binary", "eggs": "categorical"}
    assert {c["name"]: c["kind"] for c in report["columns"]} == kinds
    data = load_run(birds).data
    data.setup()
    bill, mass = data.original.test[:, 0], data.original.test[:, 1]
    trained_bill, trained_mass = data.original.train[:, 0], data.original.train[:, 1].log()
    scales = [x[~x.isnan()].std(correction=0).log() for x in (trained_bill, trained_mass)]
    added = -(scales[0] * ~bill.isnan()) - scales[1] * ~mass.isnan() - mass.nan_to_num(1.0).log()
    nats, original = (report["likelihood"][k] for k in ("nats", "nats_of_original_values"))
    num = report["num_test"]
    for end in ("value", "lower", "upper"):
        assert original[end] - nats[end] == pytest.approx(float(added[:num].mean()), abs=1e-4)
    for k, column in enumerate(report["columns"]):
        true, train = data.original.test[:, k], data.original.train[:, k]
        true, train = true[~true.isnan()], train[~train.isnan()]
        assert column["num"] == len(true) <= 22 == len(data.test)
        if column["kind"] == "positive":
            baseline = (true - train.log().mean().exp()).square().mean().sqrt()
        elif column["kind"] == "continuous":
            baseline = (true - train.mean()).square().mean().sqrt()
        else:
            baseline = (true != train.mode().values).double().mean()
        assert column["baseline"] == pytest.approx(float(baseline), rel=1e-5)
        # Two epochs teach about nothing, and there is nothing to learn.
        if column["kind"] in ("continuous", "positive"):
            assert column["error"] == pytest.approx(column["baseline"], rel=0.35)
        else:
            assert round(column["error"] * len(true)) == pytest.approx(column["error"] * len(true))


def test_errors_are_small_where_other_columns_tell(tmp_path):
    draw = random.Random(0)
    lines = [f"{x},{10 * (x == 'b') + draw.gauss(0, 0.5):.3f}" for x in draw.choices("ab", k=200)]
    (tmp_path / "two.csv").write_text("letter,size\n" + "\n".join(lines) + "\n,1\na,\n")
    data = TableData(tmp_path / "two.csv", num_test=60)
    data.setup()
    torch.manual_seed(0)
    prior = qt.QuantumPriorLayer(2, sampler=qt.ExactSampler(), num_samples=64)
    machine = qt.TableMachine(data.units, prior, 8)
    objective = qt.ReweightedWakeSleep(num_particles=5)
    optimizer = torch.optim.Adam(machine.parameters(), lr=0.05)
    for _ in range(150):
        loss = objective(machine, data.train, machine.prior.draw())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    letter, size = column_errors(Trained(machine, data, tmp_path, tmp_path), data.test)
    assert letter["error"] < 0.1 < 0.3 < letter["baseline"]
    assert size["error"] < 1.5 < 4 < size["baseline"]


def test_the_figures_of_a_table_are_of_its_columns(birds, tmp_path, capsys):
    capsys.readouterr()
    assert qahm("report", str(birds), "--num", "50", "--output", str(tmp_path)) == 0
    names = [Path(line).name for line in capsys.readouterr().out.split()]
    assert names == ["columns.png", "correlations.png", "learning_curves.png"]
    for name in names:
        picture = imread(tmp_path / name)
        assert min(picture.shape[:2]) > 400 and picture[..., :3].std() > 0.05


@pytest.mark.slow
def test_a_table_without_classes_whose_columns_see_each_other(birds, tmp_path, capsys):
    write_birds(tmp_path / "birds.csv", missing=0.3)
    more = ["--model.objective.hide_classes", "0", "--model.machine.num_context", "2"]
    run = fit_birds(tmp_path, *more, class_column="null")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert qahm("evaluate", str(run), *FEW) == 0
        report = json.loads((run / "evaluation.json").read_text())
        assert report["reconstruction_mse"] is None and len(report["columns"]) == 6
        jsonschema.validate(report, SCHEMA)
        assert qahm("report", str(run), "--num", "20") == 0
        assert len(generated(run, capsys, "--num", "3")[1]) == 3
        assert qahm("generate", str(run), "--class", "gentoo") == 2
        assert "no column of the table is that of the classes" in capsys.readouterr().err


def test_cells_are_written_as_the_file_has_them():
    columns = [Column("a", "continuous"), Column("b", "positive"), Column("c", "categorical", 3)]
    rows = [[1.5e9, 2.0, 0], [1.5e9 + 30, 30.0, 2], [1.5e9 - 10, 1e-7, 1]]
    data = MixedTable(rows, columns)
    data.setup()
    table = cells_of(data, data.encode(torch.tensor(rows, dtype=torch.float64)))
    assert [float(cell) for cell in table["a"]] == [row[0] for row in rows]
    assert table["a"][0] == "1500000000"
    assert [float(cell) for cell in table["b"]] == pytest.approx([2, 30, 1e-7], rel=1e-4)
    assert table["c"] == ["0", "2", "1"]
    empty = cells_of(data, torch.full((1, 5), torch.nan))
    assert empty == {"a": [""], "b": [""], "c": [""]}


def test_histograms_hold_all_rows():
    far = torch.tensor([0.0, 1.0, torch.nan, 1e6])
    panel = ColumnPanel("size", torch.tensor([0.0, 1.0, torch.nan]), far)
    color = ColumnPanel("color", torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0]), list("abc"))
    first, second = column_histograms([panel, color]).axes
    data, dreams = (patch.get_data() for patch in first.patches)
    assert data.values.sum() == pytest.approx(1) and dreams.values.sum() == pytest.approx(1)
    assert dreams.values[-1] == pytest.approx(1 / 3) and data.values[-1] == 0
    assert [bar.get_height() for bar in second.patches] == [0.5, 0, 0.5, 0, 1, 0]
    assert [text.get_text() for text in second.get_xticklabels()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="generated of column 'size' has no known value"):
        column_histograms([panel._replace(generated=far[2:3])])
    with pytest.raises(ValueError, match="at least one column"):
        column_histograms([])


def test_correlations_are_over_rows_that_know_both():
    torch.manual_seed(0)
    rows = torch.randn(50, 3) @ torch.randn(3, 3)
    rows[torch.rand(50, 3) < 0.2] = torch.nan
    (axes,) = correlation_scatter(rows, rows.neg() * torch.tensor([1.0, -1, 1]), [1, 2]).axes
    x, y = axes.lines[-1].get_data()
    for k, found in enumerate(x):
        both = rows[:, [0, k + 1]]
        both = both[~both.isnan().any(-1)]
        assert found == pytest.approx(float(both.T.corrcoef()[0, 1]), abs=1e-5)
    assert y[0] == pytest.approx(-x[0]) and y[1] == pytest.approx(x[1])
    with pytest.raises(ValueError, match="at least two columns"):
        correlation_scatter(rows, rows, [3])


def test_a_grid_of_pictures_draws_none_of_a_table(tmp_path):
    write_birds(tmp_path / "birds.csv")
    grid = "{class_path: qahm_torch.training.SampleGrid, init_args: {num_images: 4}}"
    run = fit_birds(tmp_path, "--trainer.callbacks+", grid)
    assert not list(run.rglob("*.png"))
