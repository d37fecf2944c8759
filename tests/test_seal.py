r"""What holds credentials is out of sight, and errors do not lead to it."""

import copy
import pickle
from types import SimpleNamespace

import dimod
import pytest
import requests
from models import random_ising
from token_search import TokenSearch

from qahm_torch import AnnealerError, AnnealerSampler, CouplingGraph
from qahm_torch.device.seal import Sealed, bare, has_met_client
from qahm_torch.samplers import GibbsSampler

TOKEN = "SEALED-77d1-credential"


def places(thing):
    search = TokenSearch(TOKEN)
    if isinstance(thing, BaseException):
        search.error(thing)
    else:
        search.thing(thing, "it")
    return search.found


def test_what_is_sealed_is_used_and_not_seen():
    client = SimpleNamespace(config=SimpleNamespace(token=TOKEN), ask=lambda: 7)
    assert places(client)  # the twin
    sealed = Sealed(client)
    assert places(sealed) == [] and places({"device": [sealed]}) == []
    assert sealed.config.token == TOKEN and sealed.ask() == 7
    assert getattr(sealed, "state_dict", None) is None
    assert repr(sealed) == "Sealed(SimpleNamespace)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(sealed)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(sealed)


def nested():
    try:
        session = {"X-Auth-Token": TOKEN}
        raise KeyError(session)
    except KeyError as error:
        raise AnnealerError("it failed", "an-id") from error


def caught(function):
    try:
        function()
    except AnnealerError as error:
        return error
    return None


def test_a_bare_error_leads_nowhere():
    assert places(caught(nested))  # the twin
    error = bare(caught(nested))
    assert places(error) == []
    assert error.__traceback__ is error.__cause__ is error.__context__ is None
    assert (str(error), error.problem_id) == ("it failed", "an-id")


def test_an_error_of_the_client_is_known_by_its_frames():
    with pytest.raises(requests.RequestException) as direct:
        requests.get("nothing://at.all")
    with pytest.raises(AnnealerError) as caused:
        try:
            requests.get("nothing://at.all")
        except requests.RequestException as error:
            raise AnnealerError("it failed") from error
    with pytest.raises(ValueError) as ours:
        GibbsSampler(-1)
    assert has_met_client(direct.value) and has_met_client(caused.value)
    assert not has_met_client(ours.value) and not has_met_client(AnnealerError("new"))


class SpeakingAtOnce(dimod.Sampler):
    r"""A sampler of somebody else that speaks to a service, in its own way, when it is made."""

    parameters = properties = {}

    def __init__(self):
        requests.get("nothing://at.all", headers={"X-Auth-Token": TOKEN})

    def sample(self, bqm, **parameters):
        raise NotImplementedError


def test_a_device_that_speaks_when_it_is_opened_is_left_out_of_errors():
    with pytest.raises(requests.RequestException) as twin:
        SpeakingAtOnce()
    assert places(twin.value)
    sampler = AnnealerSampler({"class_path": "test_seal.SpeakingAtOnce"})
    with pytest.raises(AnnealerError, match=r"cannot be opened \(InvalidSchema\)") as raised:
        _ = sampler.chip
    assert places(raised.value) == []


def test_a_device_that_speaks_to_a_service_by_itself_is_left_out_of_errors(monkeypatch):
    from dwave.system.testing import MockDWaveSampler

    class Speaking(MockDWaveSampler):
        def sample(self, *args, **kwargs):
            requests.get("nothing://at.all", headers={"X-Auth-Token": TOKEN})

    class Broken(MockDWaveSampler):
        def sample(self, *args, **kwargs):
            raise ValueError("it is broken")

    def error_of(kind):
        sampler = AnnealerSampler(kind(topology_type="chimera", topology_shape=[2]), beta=2.0)
        with pytest.raises(AnnealerError, match="MockDWaveSampler|failed") as raised:
            sampler.sample(random_ising(CouplingGraph.complete(4)), 10)
        return raised.value

    assert places(error_of(Speaking)) == []
    assert isinstance(error_of(Broken).__cause__, ValueError)  # others are told why
