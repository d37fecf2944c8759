import pytest

from qahm_torch.systems import Seeds, reproduce


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(Seeds.small(), tmp_path_factory.mktemp("seeds"))


def error(report, arm, noise=None, sweeps=0, of="weights"):
    (row,) = (
        r for r in report["rows"] if (r["arm"], r["noise"], r["sweeps"]) == (arm, noise, sweeps)
    )
    return row[of]


def test_without_control_errors_reads_are_near_exact_draws(report):
    for of in ("weights", "moments"):
        assert error(report, "device", 0.0, of=of) < 2 * error(report, "exact draws", of=of)


def test_sweeps_do_not_repair_the_weights_of_modes_and_darting_does(report):
    reads, swept = error(report, "device", 0.03), error(report, "device", 0.03, 100)
    assert swept > 0.8 * reads > 4 * error(report, "exact draws")
    assert error(report, "device, darting", 0.03) < 2 * error(report, "exact draws")


def test_random_starts_overtake_a_noisy_device(report):
    for of in ("weights", "moments"):
        assert error(report, "random", None, 0, of) > error(report, "device", 0.03, 0, of)
        assert error(report, "random", None, 10, of) < error(report, "device", 0.03, 10, of)


def test_the_headline_is_of_the_rows(report):
    value = f"{error(report, 'device, darting', 0.03):.2f}"
    assert f"darting {value};" in report["headline"]
