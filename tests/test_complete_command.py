r"""Completing and classifying rows by the command line."""

import csv

import numpy as np
import pytest
import torch
from small_runs import digits, fit, qahm, small_config

from qahm_torch.data import TableData
from qahm_torch.training import find_checkpoint, load_run


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def data_rows(num):
    data = digits()
    data.setup("test")
    return torch.cat(list(data.test_dataloader()))[:num]


def test_hidden_cells_are_filled_in_and_written(fitted, tmp_path, capsys):
    out = tmp_path / "new" / "filled.npz"
    few = ["--num", "30", "--num_particles", "8", "--output", str(out)]
    assert qahm("complete", str(fitted), "--fraction", "0.25", *few) == 0
    sentence, *paths = capsys.readouterr().out.splitlines()
    assert sentence.startswith("mean squared error of 480 hidden cells of 30 test rows: ")
    assert paths == [str(out), str(out.with_suffix(".png"))]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    with np.load(out) as arrays:
        true, hidden, completed, drawn = (
            torch.tensor(arrays[name]) for name in ("true", "hidden", "completed", "drawn")
        )
    assert torch.equal(true, data_rows(30))
    assert (hidden[:, :64].sum(-1) == 16).all() and hidden[:, 64:].all()
    for filled in (completed, drawn):
        assert torch.equal(filled[~hidden], true[~hidden])
        assert not torch.equal(filled[hidden], true[hidden]) and filled.abs().max() <= 1
    error = (completed - true)[:, :64][hidden[:, :64]].square().mean()
    assert f": {error:.4f} ± " in sentence
    block = ["--block", "[8,2]", *few]
    assert qahm("complete", str(fitted), *block) == 0
    with np.load(out) as arrays:
        hidden = arrays["hidden"][:, :64].reshape(30, 8, 8)
    assert (hidden.sum((1, 2)) == 16).all() and (hidden.all(1).sum(-1) == 2).all()


def test_test_rows_are_classified(fitted, tmp_path, capsys):
    out = tmp_path / "classes.csv"
    assert qahm("classify", str(fitted), "--num_particles", "5", "--output", str(out)) == 0
    sentence, path = capsys.readouterr().out.splitlines()
    rows = read_csv(out)
    assert path == str(out) and len(rows) == 1347
    known = data_rows(1347)[:, 64:].argmax(-1).tolist()
    assert [int(row["known_class"]) for row in rows] == known
    right = np.mean([row["class"] == row["known_class"] for row in rows])
    assert sentence.startswith(f"accuracy {100 * right:.1f} % ± ")
    assert all(0.1 <= float(row["probability"]) <= 1 for row in rows)


def write_rows(path, rows, **columns):
    names = [f"p{k}" for k in range(rows.shape[1])]
    np.savez(path, **dict(zip(names, rows.T.numpy())), **columns)


@pytest.mark.parametrize("with_labels", [False, True])
def test_rows_of_a_file_are_classified_as_test_rows_are(with_labels, fitted, tmp_path, capsys):
    rows = data_rows(1347)
    labels = rows[:, 64:].argmax(-1).double().numpy()
    labels[0] = np.nan
    path, own, other = (tmp_path / name for name in ("x.npz", "own.csv", "other.csv"))
    write_rows(path, rows[:, :64], **({"label": labels} if with_labels else {}))
    few = ["--num_particles", "5", "--rule", "read_out", "--output"]
    assert qahm("classify", str(fitted), *few, str(own)) == 0
    capsys.readouterr()
    assert qahm("classify", str(fitted), "--input", str(path), *few, str(other)) == 0
    assert ("of 1346 rows" in capsys.readouterr().out) is with_labels
    # The draws are of the same seed.
    guesses = [[row["class"] for row in read_csv(file)] for file in (own, other)]
    assert guesses[0] == guesses[1] and len(set(guesses[0])) > 1


def test_wrong_rows_of_a_file_are_told(fitted, tmp_path, capsys):
    path = tmp_path / "x.npz"
    call = ["classify", str(fitted), "--output", str(tmp_path / "c.csv"), "--input", str(path)]
    assert qahm(*call) == 1
    assert "there is no such file" in capsys.readouterr().err
    write_rows(path, torch.zeros(2, 5))
    assert qahm(*call) == 1
    assert "x.npz has 5 columns, but the data have 64 features" in capsys.readouterr().err
    write_rows(path, torch.full((2, 64), 3.0))
    assert qahm(*call) == 1
    assert "x.npz has 128 values of 1" in capsys.readouterr().err
    write_rows(path, torch.zeros(2, 64), label=np.array([1.0, 10.0]))
    assert qahm(*call) == 1
    assert "'label' holds 10.0 in row 2, but classes are 0 to 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("complete", ["--fraction", "1.5"], "--fraction is 1.5, but it is above 0 and at most 1"),
        ("complete", ["--num", "0"], "--num is 0, but a whole number of at least 1"),
        ("complete", ["--output", "x.png"], "--output is x.png, but it ends in .npz"),
        ("classify", ["--rule", "guess"], "--rule is guess, but it is one of classify, read_out"),
        ("classify", ["--output", "is_file/x.csv"], "x.csv, but is_file is no folder"),
        ("classify", ["--output", "folder.csv"], "folder.csv, but that is a folder"),
    ],
)
def test_wrong_use_is_told_before_a_run_is_loaded(
    command, arguments, told, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "is_file").touch()
    (tmp_path / "folder.csv").mkdir()
    assert qahm(command, "no/such/run", *arguments) == 2
    assert told in capsys.readouterr().err


def table_config(path):
    r"""Returns the configuration of a machine on a table."""
    config = small_config(widths=(6, 4))
    columns = [
        {"class_path": "qahm_torch.NormalUnits", "init_args": {"num_units": 1, "min_scale": 0.05}},
        {"class_path": "qahm_torch.Spins", "init_args": {"num_units": 1}},
        {"class_path": "qahm_torch.nn.OneHot", "init_args": {"num_units": 2}},
    ]
    model = config["model"]["init_args"]
    machine = model["machine"]["init_args"]
    machine["recognition"] = {
        "class_path": "qahm_torch.nn.Flagged",
        "init_args": {
            "recognition": {
                "class_path": "qahm_torch.BeliefNetwork",
                "init_args": {"widths": [8, 4]},
            }
        },
    }
    machine["generator"]["init_args"] = {
        "widths": [4, 4],
        "output": {
            "class_path": "qahm_torch.MixedUnits",
            "init_args": {"columns": columns, "num_hidden": 0, "has_classes": True},
        },
    }
    model["objective"]["init_args"] = {"num_particles": 3}
    model["optimizer"]["init_args"] = {"lr": 0.02}
    settings = {"path": str(path), "class_column": "group", "num_val": 20, "num_test": 100}
    config["data"] = {"class_path": "qahm_torch.data.TableData", "init_args": settings}
    config["trainer"]["callbacks"] = config["trainer"]["callbacks"][-1:]
    config["trainer"]["max_epochs"] = 15
    return config


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    r"""A run of a machine on a table whose class is told by its other columns."""
    folder = tmp_path_factory.mktemp("table")
    rows = ["group,height,smokes"]
    generator = torch.Generator().manual_seed(0)
    for k, noise in enumerate(torch.randn(1000, generator=generator).tolist()):
        group = "AB"[k % 2]
        height = (
            "" if k % 50 == 49 else str(round((1.5 if group == "A" else 1.9) + 0.1 * noise, 3))
        )
        rows.append(f"{group},{height},{'yes' if k % 3 else 'no'}")
    (folder / "people.csv").write_text("\n".join(rows))
    return fit(folder, table_config(folder / "people.csv"))


@pytest.mark.slow
def test_a_table_is_completed_and_classified(table_run, tmp_path, capsys):
    folder = table_run
    out = tmp_path / "filled.npz"
    few = ["--num_particles", "200"]
    assert qahm("complete", str(folder), "--output", str(out), *few) == 0
    assert "hidden cells of 100 test rows" in capsys.readouterr().out
    with np.load(out) as arrays:
        assert arrays["hidden"][:, :2].sum(-1).tolist() == [1] * 100
        assert arrays["hidden"][:, 2:].all() and "drawn" not in arrays
    path = tmp_path / "new.csv"
    path.write_text("smokes,height,group\nyes,1.3,A\nno,2.1,B\n,1.4,\n")
    classes = tmp_path / "classes.csv"
    call = ["classify", str(folder), *few, "--output", str(classes), "--input", str(path)]
    assert qahm(*call) == 0
    assert "accuracy 100.0 % ± 0.0 % of 2 rows" in capsys.readouterr().out
    rows = read_csv(classes)
    assert [row["class"] for row in rows] == ["A", "B", "A"]
    assert [row["known_class"] for row in rows] == ["A", "B", ""]
    path.write_text("smokes,height\nmaybe,1.3\n")
    assert qahm(*call) == 1
    told = "column 'smokes' holds 'maybe' in row 1, but its values are no, yes"
    assert told in capsys.readouterr().err
    path.write_text("smokes\nyes\n")
    assert qahm(*call) == 1
    assert "new.csv has no column 'height'" in capsys.readouterr().err
    assert isinstance(load_run(find_checkpoint(folder)).data, TableData)
    assert qahm("complete", str(folder), "--block", "[1,1]") == 2
    assert "the rows of TableData are no images" in capsys.readouterr().err
