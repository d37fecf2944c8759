r"""Curves that go on: metrics.csv of a run that was cut, and goes on from a step."""

import csv

import pytest

from qahm_torch.training.curves import ContinuedCurves


def logged(folder, rows, cut=None):
    logger = ContinuedCurves(folder, "run", "version_0", flush_logs_every_n_steps=2)
    if cut is not None:
        logger.cut(cut)
    for step, metrics in rows:
        logger.log_metrics(metrics, step)
    logger.finalize("success")
    return folder / "run" / "version_0" / "metrics.csv"


def values(path, key):
    with open(path, newline="") as file:
        return [(int(r["step"]), float(r[key])) for r in csv.DictReader(file) if r.get(key)]


FIRST = [
    (0, {"loss": 5.0}),
    (1, {"loss": 4.0}),
    (1, {"accuracy": 0.5}),
    (2, {"beta": 1.1}),  # after the checkpoint at 2, and made again
    (2, {"log_z": 7.0}),  # before it, with its number of updates
    (2, {"loss": 3.0}),
    (3, {"loss": 99.0}),
]
AGAIN = [(2, {"beta": 1.2}), (2, {"loss": 3.5}), (3, {"loss": 2.5}), (3, {"new": 1.0})]


def test_each_value_of_a_resumed_run_is_there_once(tmp_path):
    logged(tmp_path, FIRST)
    path = logged(tmp_path, AGAIN, cut=2)
    assert values(path, "loss") == [(0, 5), (1, 4), (2, 3.5), (3, 2.5)]
    assert values(path, "accuracy") == [(1, 0.5)]
    assert values(path, "beta") == [(2, 1.2)]
    assert values(path, "log_z") == [(2, 7)]
    assert values(path, "new") == [(3, 1)]


def test_without_further_updates_what_was_known_stays(tmp_path):
    logged(tmp_path, FIRST)
    path = logged(tmp_path, [], cut=2)
    assert values(path, "log_z") == [(2, 7)]
    assert max(step for step, _ in values(path, "loss")) == 2


def test_nothing_changes_before_the_cut(tmp_path):
    path = logged(tmp_path, FIRST)
    before = path.read_bytes()
    logger = ContinuedCurves(tmp_path, "run", "version_0")
    assert logger.experiment.metrics == []
    logger.finalize("failed")
    assert path.read_bytes() == before


def test_a_row_that_was_cut_short_is_left_out(tmp_path):
    path = logged(tmp_path, FIRST[:3])
    with open(path, "a") as file:
        file.write("0.")
    again = logged(tmp_path, [(2, {"loss": 1.0})], cut=2)
    assert values(again, "loss") == [(0, 5), (1, 4), (2, 1)]


@pytest.mark.parametrize("cut", [None, 3])
def test_a_first_run_begins_a_file(cut, tmp_path):
    path = logged(tmp_path, AGAIN, cut=cut)
    assert values(path, "loss") == [(2, 3.5), (3, 2.5)]
