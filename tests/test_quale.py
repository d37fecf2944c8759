import pytest

from qahm_torch.systems import QuALe, reproduce


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(QuALe.small(), tmp_path_factory.mktemp("quale"))


def nats(report, arm, device=""):
    (row,) = (row for row in report["rows"] if (row["arm"], row["device"]) == (arm, device))
    return row["nats"]


def test_learning_at_the_estimated_temperature_is_level_with_cd_100(report):
    for device in ("spread 0.3", "jump"):
        assert nats(report, "QuALe", device) > nats(report, "CD-100") - 0.1


def test_a_wrong_temperature_ruins_the_machine(report):
    assert nats(report, "beta taken 10-fold", "spread 0.3") < report["start"] - 2


def test_the_headline_is_of_the_rows(report):
    assert f"CD-100 {nats(report, 'CD-100'):.2f};" in report["headline"]
