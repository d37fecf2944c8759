import dataclasses

import pytest
import torch
import yaml
from small_runs import CONFIGS

from qahm_torch.systems import Transfer, reproduce
from qahm_torch.systems.cases import _settings_of

SCRATCH, NETWORKS, ALL = "from scratch", "networks taken", "networks and prior taken"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(Transfer.small(), tmp_path_factory.mktemp("transfer"))


def starts(report):
    return {row["start"]: row for row in report["tuning"]}


def test_few_labels_are_better_than_none(report):
    rows = {row["arm"]: row for row in report["labels"]}
    assert len(rows) == 3
    for row in rows.values():
        assert 0.35 < row["accuracy"]["mean"] <= 1  # by chance it is 0.1
    for arm in ("machine, Boltzmann prior", "machine, factorial prior"):
        assert rows[arm]["by_features"]["mean"] > 0.5


def test_a_machine_of_other_digits_is_a_good_start(report):
    of = starts(report)
    for start in (NETWORKS, ALL):
        assert of[start]["curve"][0] > of[SCRATCH]["curve"][0] + 5
        assert of[start]["updates_to_scratch"] < of[SCRATCH]["updates_to_scratch"]
        assert of[start]["test_nats"]["mean"] > of[SCRATCH]["test_nats"]["mean"] + 1


def test_a_start_takes_what_it_says(report):
    (runs,) = [r["runs"] for r in report["results"] if r["part"] == "fine-tuning"]
    taken = {run["start"]: run["num_taken"] for run in runs}
    assert (taken[SCRATCH], taken[NETWORKS], taken[ALL]) == (0, 8, 12)


def test_the_curves_have_a_likelihood_for_each_look(report):
    for row in report["tuning"]:
        assert row["updates"] == [0, 20, 40, 60, 80]
        assert len(row["curve"]) == 5 and row["curve"][-1] > row["curve"][0]


def test_the_headline_is_of_the_rows(report):
    net = next(row for row in report["labels"] if row["arm"] == "net")
    assert f"net {100 * net['accuracy']['mean']:.1f}," in report["headline"]
    assert f"from scratch {starts(report)[SCRATCH]['test_nats']['mean']:.2f}" in report["headline"]


def test_a_case_is_the_same_whatever_was_before():
    system = dataclasses.replace(Transfer.small(), arms=("net",))
    case = next(c for c in system.cases() if c["part"] == "few labels")
    first = system.run_case(**case)
    torch.rand(3)
    assert system.run_case(**case) == first


def test_the_configuration_is_that_of_the_system():
    settings = yaml.safe_load((CONFIGS / "transfer.yaml").read_text())["system"]["init_args"]
    assert {"system": "Transfer", **settings} == _settings_of(Transfer())
