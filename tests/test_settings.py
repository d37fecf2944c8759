from types import SimpleNamespace

import pytest

from qahm_torch.annealer import (
    AnnealSettings,
    PlacementSettings,
    ProgramSettings,
    TrackingSettings,
)

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
    ({"anneal_schedule": [[0, 0], [5, 0.5], [5, 1]]}, "but times increase"),
    ({"anneal_schedule": [[0, 0], [5, 0.5]]}, "it ends at 1"),
    ({"anneal_schedule": [[0, 0.5], [5, 1]]}, "starts at 0"),
    ({"anneal_schedule": [[0, 0], [5, 1.5], [6, 1]]}, "within 0 to 1"),
    ({"anneal_schedule": [[0, 0], [5, 0.6], [6, 0.4], [7, 1]]}, "do not fall"),
    ({"reinitialize_state": True}, "reverse anneals"),
]
UNFIT = [
    ({"annealing_time": 0.5}, "0.5 microseconds, but chip takes 1 to 2000"),
    ({"anneal_schedule": [[0, 0], [5000, 1]]}, "5000 microseconds"),
    ({"anneal_schedule": [[t, t / 5] for t in range(6)]}, "6 points, but chip takes 4"),
    ({"readout_thermalization": 3}, "readout_thermalization is 3, but chip has no such"),
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
    ("kind", "settings", "message"),
    [
        (PlacementSettings, {"method": "best"}, "method is 'best', but it is one of auto, native"),
        (PlacementSettings, {"method": "given"}, "embedding is None and method 'given'"),
        (PlacementSettings, {"method": "clique", "embedding": {0: 1}}, "embedding is there"),
        (PlacementSettings, {"copies": 0}, "copies is 0, but it is a positive number"),
        (PlacementSettings, {"copies": 1.5}, "copies is 1.5"),
        (PlacementSettings, {"embedding": {}, "copies": 2}, "copies is 2, but an embedding"),
        (PlacementSettings, {"timeout": 0}, "timeout is 0, but it is positive"),
        (ProgramSettings, {"range_policy": "ignore"}, "range_policy is 'ignore'"),
        (ProgramSettings, {"chain_breaks": "lowest"}, "chain_breaks is 'lowest'"),
        (ProgramSettings, {"chain_strength": -1}, "chain_strength is -1, but it is positive"),
        (ProgramSettings, {"num_gauges": -1}, "num_gauges is -1, but 0 is the least"),
        (TrackingSettings, {"initial_beta": 0}, "initial_beta is 0, but it is positive"),
        (TrackingSettings, {"initial_beta": float("inf")}, "initial_beta is inf"),
        (TrackingSettings, {"drift": -0.1}, "drift is -0.1, but 0 is the least"),
        (TrackingSettings, {"misfit_tolerance": -1}, "misfit_tolerance is -1"),
    ],
)
def test_what_is_not_possible_is_named_at_once(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_an_embedding_stands_for_the_method_given():
    assert PlacementSettings(embedding={0: 1}).method == "auto"
    assert PlacementSettings("given", embedding={0: [1, 2]}, copies="auto").copies == "auto"
