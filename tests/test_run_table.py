r"""Tables of runs, and two runs side by side."""

import json
import math
import os

import pytest
import yaml
from small_runs import qahm

from qahm_torch.cli.comparing import Figure, beyond_errors


def write_run(folder, nats=-80.0, accuracy=0.9, updates=100, measured=100, **config):
    r"""Writes the files of a run that has ended and was measured."""
    (folder / "checkpoints").mkdir(parents=True)
    status = {"status": "finished", "updates": updates, "epochs": 10, "qpu_seconds": 1.5}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "metrics.csv").write_text("epoch,step,train/loss\n8,89,1\n9,99,\n")
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "a", **config}))
    bracket = {"value": nats, "lower": nats - 0.1, "upper": nats + 0.1, "stderr": 0.2}
    report = {
        "training": {"updates": measured, "seconds": 90.0},
        "data": {"class": "MNIST16"},
        "num_test": 400,
        "likelihood": {"nats": bracket},
        "classification_accuracy": {"importance_weighted": accuracy},
    }
    (folder / "evaluation.json").write_text(json.dumps(report))
    return folder


def test_runs_are_listed_with_what_they_reached(tmp_path, capsys):
    old = write_run(tmp_path / "runs" / "digits" / "version_0")
    write_run(tmp_path / "runs" / "digits" / "version_1", updates=200)
    for file in old.glob("*.*"):
        os.utime(file, (1e9, 1e9))
    killed = tmp_path / "runs" / "other" / "version_3"
    killed.mkdir(parents=True)
    (killed / "status.json").write_text('{"status": "training", "updates": 0}')
    (killed / "metrics.csv").write_text("epoch,step,device/qpu_seconds\n3,5,2.5\n4,9,\n")
    os.utime(killed / "status.json", (2e9, 2e9))
    assert qahm("runs", str(tmp_path / "runs")) == 0
    told, doubts = capsys.readouterr()
    head, *lines = told.splitlines()
    assert head.split()[:4] == ["run", "version", "status", "epochs"]
    assert lines[0].split()[:4] == ["other", "3", "training", "5"] and "2.5 s" in lines[0]
    assert lines[1].split()[:4] == ["digits", "1", "finished", "10"]
    assert "-80.00 ± 0.20 [-80.10, -79.90]*" in lines[1] and "90.0 %*" in lines[1]
    assert "1 min 30 s" in lines[2] and "*" not in lines[2] and "2001-09-09" in lines[2]
    assert doubts == "* measured before the run was trained on: evaluate it again\n"
    assert qahm("runs", str(tmp_path / "runs"), "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["version"] for record in records] == [3, 1, 0]
    assert [record["report_is_old"] for record in records] == [False, True, False]
    assert records[2]["folder"] == str(old) and records[2]["nats"]["stderr"] == 0.2


def test_no_runs_and_no_folder_are_told(tmp_path, capsys):
    assert qahm("runs", str(tmp_path)) == 0
    assert capsys.readouterr() == ("", f"no runs in {tmp_path}\n")
    assert qahm("runs", str(tmp_path / "none")) == 1
    assert "none is no folder" in capsys.readouterr().err


def test_a_trained_run_is_listed(fitted, capsys):
    assert qahm("runs", str(fitted.parent.parent), "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    named = [record[name] for name in ("name", "version", "status", "epochs", "updates")]
    assert named == ["digits", 0, "finished", 2, 8]
    assert record["seconds"] > 0 and record["qpu_seconds"] is None and record["nats"] is None


def model(num_samples):
    prior = {"class_path": "QuantumPriorLayer", "init_args": {"num_samples": num_samples}}
    return {"class_path": "MachineModule", "init_args": {"prior": prior, "widths": [4, 2]}}


def test_compared_runs_show_what_differs(tmp_path, capsys):
    callbacks = [{"class_path": "SampleGrid"}]
    a = write_run(tmp_path / "runs" / "a" / "version_0", model=model(8), seed_everything=0)
    b = write_run(
        tmp_path / "runs" / "b" / "version_0",
        nats=-79.0,
        accuracy=0.91,
        model=model(16),
        seed_everything=0,
        trainer={"callbacks": callbacks},
    )
    assert qahm("compare", str(a), str(b), "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["settings"] == {
        "model.prior.num_samples": [8, 16],
        "trainer.callbacks.0": [None, "SampleGrid"],
    }
    rows = {row["name"]: row for row in compared["numbers"]}
    nats = rows["log-likelihood, nats"]
    assert nats["difference"] == 1.0 and nats["beyond_errors"] is True
    accuracy = rows["accuracy, importance weighted"]
    assert accuracy["beyond_errors"] is False
    assert accuracy["a"]["stderr"] == pytest.approx(math.sqrt(0.9 * 0.1 / 400))
    assert rows["seconds of QPU time"]["beyond_errors"] is None
    assert qahm("compare", str(a), str(b)) == 0
    told, doubts = capsys.readouterr()
    assert "-79 ± 0.2 [-79.1, -78.9]" in told and "+1, beyond the errors" in told
    assert "+0.01, within the errors" in told and doubts == ""


def test_what_cannot_be_compared_is_told(tmp_path, capsys):
    a = write_run(tmp_path / "runs" / "a" / "version_0")
    b = write_run(tmp_path / "runs" / "b" / "version_0")
    report = json.loads((b / "evaluation.json").read_text())
    (b / "evaluation.json").write_text(json.dumps({**report, "num_test": 10}))
    qahm("compare", str(a), str(b))
    assert "num_test differ, 400 and 10: other test data" in capsys.readouterr().err
    (b / "evaluation.json").unlink()
    assert qahm("compare", str(a), str(b)) == 0
    assert f"{b} has no evaluation.json: run `qahm evaluate {b}`" in capsys.readouterr().err
    (b / "config.yaml").unlink()
    assert qahm("compare", str(a), str(b)) == 1
    assert "config.yaml does not exist" in capsys.readouterr().err
    assert qahm("compare", str(a), str(tmp_path / "none")) == 1
    assert "none does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gap", "is_beyond"), [(0.5, False), (0.7, False), (0.85, True), (-0.85, True), (-0.7, False)]
)
def test_differences_are_beyond_brackets_by_two_errors(gap, is_beyond):
    # Brackets of 0.1 and 0.2 between the two, and 2 standard errors of 0.15 and 0.2: 0.3 + 0.5.
    a, b = Figure(0.0, -0.1, 0.1, 0.15), Figure(gap, gap - 0.2, gap + 0.2, 0.2)
    assert beyond_errors(a, b) is beyond_errors(b, a) is is_beyond
    assert beyond_errors(a, b._replace(stderr=None)) is None
