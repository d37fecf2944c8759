import pytest

from qahm_torch.systems import QuantumGibbs, reproduce


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(QuantumGibbs.small(), tmp_path_factory.mktemp("quantum_gibbs"))


def fields(report, arm, gamma):
    (row,) = (r for r in report["fields"] if (r["arm"], r["gamma"]) == (arm, gamma))
    return row


def test_the_bound_gives_way_as_the_field_grows(report):
    assert 0.2 < fields(report, "bound", 0.3)["slack"] < 0.5
    assert fields(report, "bound", 2.0)["slack"] > 8


def test_the_likelihood_is_no_worse_trained_on_itself(report):
    for gamma in (0.3, 2.0):
        exact, bound = (fields(report, arm, gamma)["nats"] for arm in ("exact", "bound"))
        assert exact > bound - 1e-3


def test_only_a_field_that_learns_moves(report):
    for gamma in (0.3, 2.0):
        assert abs(fields(report, "exact", gamma)["field"] - gamma) < 1e-6
        assert abs(fields(report, "learned", gamma)["field"] - gamma) > 5e-3


def test_the_sampled_gradient_is_within_its_errors(report):
    (row,) = report["gradients"]
    assert 0.6 < row["rms_z"] < 1.6
    assert row["largest_error_of_bound"] > 0.05


def test_the_headline_is_of_the_rows(report):
    (quantum,) = (row for row in report["machines"] if row["arm"] == "quantum")
    assert f"as a prior on digits {quantum['nats']:.2f}," in report["headline"]
