import pytest
import torch

from qahm_torch import exact_posterior
from qahm_torch.ising import all_states
from qahm_torch.systems import QuantumRecognition, reproduce
from qahm_torch.systems.known_machines import known_machine, recognition_by
from qahm_torch.systems.recognition_slack import best_independent, log_joint_table, slack_of

SMALL = QuantumRecognition.small()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(SMALL, tmp_path_factory.mktemp("quantum_recognition"))


def slack(report, arm):
    (row,) = (row for row in report["known"] if (row["parents"], row["arm"]) == (2, arm))
    return row["slack"]


def test_the_derived_recognition_leaves_no_slack_and_independent_spins_do(report):
    assert abs(slack(report, "Boltzmann, derived")) < 1e-5
    assert slack(report, "independent, best per datum") > 0.02
    assert slack(report, "independent") > slack(report, "independent, best per datum")


def test_a_trained_machine_for_each_datum_comes_nearer(report):
    independent = min(slack(report, "independent"), slack(report, "independent, deep"))
    for arm in ("Boltzmann", "Boltzmann, chains"):
        assert 0 < slack(report, arm) < independent / 2


def test_a_device_is_programmed_for_each_datum_or_once_for_all(report):
    calls = {row["arm"]: row for row in report["device"]}
    assert calls["prior, all data"]["problems"] == 1
    each, beside = calls["a problem per datum"], calls["a problem per 6 data"]
    assert (each["problems"], beside["problems"]) == (6, 1)
    assert beside["qpu_seconds"] < each["qpu_seconds"] / 3
    # A mean of 100 reads is off by a tenth where a spin is as often up as down.
    assert max(each["error"], beside["error"]) < 0.2


def test_gains_are_against_independent_spins_of_the_same_seed(report):
    nats = {(r["data"], r["objective"], r["arm"]): r for r in report["learning"]}
    assert len(nats) == 18
    for (data, objective, _), row in nats.items():
        base = nats[data, objective, "independent"]
        assert row["gain"] == pytest.approx(row["nats"] - base["nats"])
        assert row["slack"] > 0 and row["best_independent"] >= 0
    assert (
        f"{nats['digits', 'wake-sleep', 'Boltzmann']['gain']:+.2f} on digits by wake-sleep"
        in (report["headline"])
    )


def test_without_couplings_of_the_prior_one_parent_leaves_independent_spins():
    v = all_states(5, torch.float32)
    torch.manual_seed(0)
    joint = log_joint_table(known_machine(4, 5, 1, 0.0, 10), v)
    torch.testing.assert_close(
        best_independent(joint), torch.zeros(32).double(), atol=1e-6, rtol=0
    )
    coupled = log_joint_table(known_machine(4, 5, 1, 1.0, 10), v)
    assert best_independent(coupled).mean() > 0.02


@pytest.mark.parametrize("arm", ["independent", "autoregressive", "Boltzmann"])
def test_slack_is_what_sampled_bounds_leave(arm):
    torch.manual_seed(0)
    machine = known_machine(4, 5, 3, 0.5, 10)
    machine.recognition = recognition_by(arm, 5, 4)
    v = all_states(5, torch.float32)
    found = slack_of(machine, v)
    assert float(found.log_prob.logsumexp(0)) == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        weights = machine.log_weights(v, 4000)
    error = weights.std(0) / 4000**0.5
    assert ((found.log_prob - found.slack - weights.mean(0)).abs() < 5 * error + 1e-5).all()
    assert (found.slack > 1e-3).all()


def test_the_slack_of_the_posterior_itself_is_none():
    torch.manual_seed(0)
    machine = known_machine(4, 5, 2, 0.5, 10)
    machine.recognition = exact_posterior(machine.generator, machine.prior)
    found = slack_of(machine, all_states(5, torch.float32)).slack
    torch.testing.assert_close(found, torch.zeros(32).double(), atol=1e-5, rtol=0)


def test_an_unknown_arm_is_told():
    with pytest.raises(ValueError, match="arm is 'other', but"):
        recognition_by("other", 5, 4)
