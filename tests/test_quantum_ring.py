import pytest

from qahm_torch.systems import QuantumRing, reproduce


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(QuantumRing.small(), tmp_path_factory.mktemp("quantum_ring"))


def test_a_quantum_ring_is_told_by_its_draws(report):
    row = report["rows"][-1]
    assert row["gamma"] == 1
    assert row["ring"]["low"] > 2
    # Of twice a difference of log-likelihoods, whose standard deviation is about that of a
    # chi-square around the prediction.
    spread = 2 * (2 * row["predicted"]["high"] + 4) ** 0.5
    assert abs(row["ring"]["mean"] - row["predicted"]["mean"] - 1) < 2 * spread


def test_there_is_no_false_victory_without_a_transverse_field(report):
    row = report["rows"][0]
    assert row["gamma"] == 0
    assert row["predicted"]["mean"] == pytest.approx(-2, abs=1e-3)
    # One number more gains a chi-square of one degree of freedom: below 11 in 999 of 1000.
    assert -2 - 1e-3 <= row["ring"]["low"] <= row["ring"]["high"] < 9


def test_classical_couplings_between_all_imitate_it(report):
    assert report["rows"][-1]["complete"]["mean"] < report["rows"][-1]["ring"]["mean"]
    assert abs(report["rows"][-1]["complete"]["mean"]) < 4


def test_many_draws_find_the_true_field(tmp_path):
    system = QuantumRing(num_spins=4, gammas=(1.0,), J_scale=1.0, num_draws=1_000_000, num_seeds=1)
    (row,) = reproduce(system, tmp_path)["rows"]
    assert row["gamma_on_ring"]["mean"] == pytest.approx(1.0, abs=0.1)
    assert row["ring"]["mean"] == pytest.approx(row["predicted"]["mean"], rel=0.1)
