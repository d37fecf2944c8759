from types import SimpleNamespace

import pytest

from qahm_torch.annealer import AnnealSettings
from qahm_torch.device import RetryPolicy

CHIP = SimpleNamespace(
    name="chip",
    parameters=frozenset({"annealing_time", "anneal_schedule", "reinitialize_state"}),
    annealing_time_range=(1.0, 2000.0),
    max_anneal_schedule_points=4,
)
FORWARD = [[0, 0], [10, 0.5], [20, 1]]
REVERSE = [[0, 1], [5, 0.4], [10, 1]]

WRONG = [
    ({"annealing_time": 0}, "annealing_time is 0"),
    ({"annealing_time": 5, "anneal_schedule": FORWARD}, "give one of the two"),
    ({"anneal_schedule": [[0, 0]]}, "two or more points"),
    ({"anneal_schedule": [[0, 0], [5]]}, "two or more points"),
    ({"anneal_schedule": [[0, 0], [5, 0.5], [5, 1]]}, "do not increase"),
    ({"anneal_schedule": [[0, 0], [5, 0.5]]}, "ends at 1"),
    ({"anneal_schedule": [[0, 0.5], [5, 1]]}, "starts at 0"),
    ({"anneal_schedule": [[0, 0], [5, 1.5], [6, 1]]}, "within 0 to 1"),
    ({"anneal_schedule": [[0, 0], [5, 0.6], [6, 0.4], [7, 1]]}, "do not fall"),
    ({"reinitialize_state": True}, "reverse anneals"),
]
UNFIT = [
    ({"annealing_time": 0.5}, "0.5 microseconds is not within 1 to 2000"),
    ({"anneal_schedule": [[0, 0], [5000, 1]]}, "5000 microseconds"),
    ({"anneal_schedule": [[t, t / 5] for t in range(6)]}, "6 points; chip takes 4"),
    ({"readout_thermalization": 3}, "no parameter 'readout_thermalization'"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_contradictions_are_told_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        AnnealSettings(**settings)


@pytest.mark.parametrize(("settings", "message"), UNFIT)
def test_what_the_chip_does_not_take_is_told(settings, message):
    with pytest.raises(ValueError, match=message):
        AnnealSettings(**settings).check(CHIP)


def test_only_what_is_set_is_sent():
    assert AnnealSettings().parameters() == {}
    settings = AnnealSettings(anneal_schedule=REVERSE, reinitialize_state=False)
    settings.check(CHIP)
    assert settings.is_reverse and settings.duration == 10
    assert settings.parameters() == {
        "anneal_schedule": [[0.0, 1.0], [5.0, 0.4], [10.0, 1.0]],
        "reinitialize_state": False,
    }
    assert not AnnealSettings(anneal_schedule=FORWARD).is_reverse


@pytest.mark.parametrize(
    ("name", "value"), [("timeout", 0), ("request_timeout", -1), ("retries", -1), ("backoff", -1)]
)
def test_patience_is_not_negative(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        RetryPolicy(**{name: value})
