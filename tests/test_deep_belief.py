import dataclasses

import pytest

from qahm_torch.systems import DeepBelief, reproduce


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(DeepBelief.small(), tmp_path_factory.mktemp("deep_belief"))


def rows(report, lr):
    return {row["arm"]: row for row in report["rows"] if row["lr"] == lr}


def test_greedy_training_is_a_good_start(report):
    for lr in DeepBelief.small().lrs:
        of = rows(report, lr)
        for arm in ("stack", "stack, its top by an annealer"):
            assert of[arm]["start"]["mean"] > of["random start"]["start"]["mean"] + 3


def test_wake_sleep_goes_on_from_the_stack(report):
    of = rows(report, 0.003)
    assert of["stack"]["after_fine"]["mean"] > of["stack"]["start"]["mean"] + 0.3


def test_all_arms_have_the_same_total(report):
    assert len({row["updates"][-1] for row in report["rows"]}) == 1
    assert {row["updates"][0] for row in report["rows"]} == {0, 300}


def test_the_headline_is_of_the_rows(report):
    after = rows(report, 0.001)["random start"]["after_all"]["mean"]
    assert f"after the equal total {after:.1f};" in report["headline"]


def test_other_pixels_are_refused():
    system = dataclasses.replace(DeepBelief.small(), num_visible=784)
    with pytest.raises(ValueError, match="num_visible is 784, but optdigits has 64 pixels"):
        system.run_case(arm="stack", seed=0)
