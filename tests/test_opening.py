r"""Whatever goes wrong while a device is opened is an error of ours, and the fallback is asked."""

import pytest
import torch
from cloud_service import CloudService, scrub_environment, within
from dwave.system import DWaveSampler
from dwave.system.testing import MockDWaveSampler

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    CouplingGraph,
    Fallback,
    FallbackWarning,
    GibbsSampler,
    Ising,
    RetryPolicy,
)
from qahm_torch.device import Chip

DEADLINE = 20  # seconds
QUICK = RetryPolicy(timeout=5, request_timeout=1, retries=1, backoff=0.01)
ISING = Ising(CouplingGraph.complete(2), torch.ones(2), torch.ones(1))


class OddError(Exception):
    r"""An error that cannot even be printed."""

    def __str__(self):
        raise KeyError("str")


ERRORS = [KeyError("qubits"), RecursionError(), TypeError("odd"), ValueError("odd"), OddError()]
ERRORS += [AttributeError("gone"), MemoryError(), UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")]


class OfTheUser(DWaveSampler):
    r"""A subclass of the client that raises, when it is made, asked or closed."""

    when = "init"

    def __init__(self, when, number=0, **options):
        super().__init__(**options)
        self.when, self.error = when, ERRORS[number]
        if when == "init":
            raise self.error
        if when == "close":
            self.client.close = lambda **_: 1 / 0

    @property
    def properties(self):
        if self.when == "properties":
            raise self.error
        return super().properties


class OnThisMachine:
    r"""A sampler of this machine of which something cannot be read."""

    edgelist, sample, properties = (), print, {}

    def __init__(self, error):
        self.error = error

    @property
    def nodelist(self):
        raise self.error


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path)
    with CloudService(shape=[2]) as service:
        monkeypatch.setenv("DWAVE_API_TOKEN", service.token)
        yield service


def stands_in(device):
    r"""Asserts that the fallback samples in place of a device, and returns why."""
    sampler = Fallback(AnnealerSampler(device, beta=1.0, policy=QUICK), GibbsSampler(2))
    with pytest.warns(FallbackWarning) as caught:
        assert within(DEADLINE, lambda: len(sampler.sample(ISING, 5).spins)) == 5
    return str(next(w.message for w in caught if w.category is FallbackWarning))


def cloud(service):
    return {**spec(service), "class_path": "dwave.system.DWaveSampler"}


def spec(service, **more):
    options = {k: v for k, v in service.client_options().items() if k != "token"}
    return {"class_path": "test_opening.OfTheUser", "init_args": {**options, **more}}


@pytest.mark.parametrize("number", range(len(ERRORS)))
@pytest.mark.parametrize("when", ["init", "properties"])
def test_a_subclass_of_the_client_may_raise_anything(when, number, service):
    device = spec(service, when=when, number=number)
    assert f"cannot be opened ({type(ERRORS[number]).__name__}" in stands_in(device)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_sampler_that_is_given_may_raise_anything(error):
    if isinstance(error, AttributeError):
        with pytest.raises(TypeError, match="a sampler with qubits and couplers is needed"):
            AnnealerSampler(OnThisMachine(error))
    else:
        reason = stands_in(OnThisMachine(error))
        assert f"cannot be opened ({type(error).__name__}" in reason


ODD = {
    "h_range": [1],
    "j_range": ["a", "b"],
    "extended_j_range": [2.0, -2.0],
    "num_reads_range": [0, 0],
    "topology": {"type": "pegasus", "shape": ["a"]},
    "annealing_time_range": 7,
    "max_anneal_schedule_points": {},
    "problem_timing_data": 7,
    "num_qubits": -1,
    "couplers": [[0, 0]],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_properties_are_told_by_name(name, monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path)
    with CloudService(shape=[2]) as service:
        monkeypatch.setenv("DWAVE_API_TOKEN", service.token)
        service.chip.properties[name] = ODD[name]
        assert "cannot be opened" in stands_in(cloud(service))


@pytest.mark.parametrize("name", sorted(set(ODD) - {"num_qubits", "couplers"}))
def test_a_chip_names_what_is_odd(name):
    device = MockDWaveSampler(topology_type="chimera", topology_shape=[2])
    device.properties[name] = ODD[name]
    with pytest.raises(ValueError, match=f"^{name} of the device is "):
        Chip.of(device)


def test_an_odd_timing_model_is_told_before_anything_is_sent(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path)
    with CloudService(shape=[2]) as service:
        monkeypatch.setenv("DWAVE_API_TOKEN", service.token)
        service.chip.properties["problem_timing_data"]["typical_programming_time"] = -1e9
        assert "by its own timing data" in stands_in(cloud(service))


def test_what_was_typed_wrong_is_no_matter_of_the_fallback():
    for more, kind in (({"no_such": 1}, TypeError), ({"topology": "moebius"}, ValueError)):
        device = {"class_path": "qahm_torch.SimulatedAnnealer", "init_args": more}
        sampler = Fallback(AnnealerSampler(device), GibbsSampler(2))
        with pytest.raises(kind) as raised:
            sampler.sample(ISING, 5)
        assert not isinstance(raised.value, AnnealerError)


def test_a_device_that_cannot_be_closed_does_not_hide_why_it_is_given_up(service):
    sampler = AnnealerSampler(spec(service, when="close"), beta=1.0, policy=QUICK)
    within(DEADLINE, lambda: sampler.chip)
    service.fault("submit", "refuse")
    with pytest.raises(AnnealerError, match="refused the problem"):
        within(DEADLINE, sampler.sample, ISING, 5)
