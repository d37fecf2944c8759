r"""No request goes to another host than that of the service, at whatever step it is sent there."""

import io
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from cloud_service import CloudService, scrub_environment, within
from models import random_ising
from token_search import device_of

from qahm_torch import AnnealerError, AnnealerSampler, CouplingGraph, RetryPolicy
from qahm_torch.annealer import AnswerArchive
from qahm_torch.device.discreet import RedirectError, discreet

TOKEN = "REDIRECTED-3c9b-credential"
DEADLINE = 30  # seconds
POLICY = RetryPolicy(timeout=2.0, request_timeout=0.5, retries=1, backoff=0.01, settle=0.05)


@pytest.fixture
def services(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    one, other = (CloudService(shape=[2], token=TOKEN) for _ in range(2))
    with one as service, other as elsewhere:
        yield service, elsewhere


def sent_away(service, elsewhere, step, code, call):
    r"""Returns the error of a call that is redirected at a step."""
    location = f"{elsewhere.endpoint}problems/"
    service.fault(step, "redirect", times=None, location=location, code=code)
    with pytest.raises(AnnealerError) as caught:
        within(DEADLINE, call)
    return caught.value


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("step", ["metadata", "submit", "poll", "load"])
def test_a_redirect_to_another_host_is_refused_at_each_step(services, step, code):
    service, elsewhere = services
    sampler = AnnealerSampler(device_of(service), beta=2.0, policy=POLICY)
    ising = random_ising(CouplingGraph.complete(4))
    error = sent_away(service, elsewhere, step, code, lambda: sampler.sample(ising, 10))
    here, there = (f"http://{s.endpoint.split('/')[2]}" for s in services)
    assert f"{here} redirects to {there}" in str(error) and str(code) in str(error)
    assert elsewhere.requests == [] and TOKEN not in str(error)


def test_a_redirect_at_listing_and_at_cancelling_is_refused(services, tmp_path):
    service, elsewhere = services
    archive = tmp_path / "archive"
    sampler = AnnealerSampler(device_of(service), beta=2.0, policy=POLICY, archive=archive)
    ising = random_ising(CouplingGraph.complete(4))
    service.fault("submit", "drop", times=None)
    error = sent_away(service, elsewhere, "list", 307, lambda: sampler.sample(ising, 10))
    assert "redirects to" in str(error) and error.may_have_run
    service.clear_faults()
    service.fault("submit", "pending_forever", times=None)
    error = sent_away(service, elsewhere, "cancel", 307, lambda: sampler.sample(ising, 10))
    assert "may still run" in str(error)
    assert elsewhere.requests == []
    assert any(step == "DELETE" for step, *_ in service.requests)
    assert list(AnswerArchive(archive))


def test_a_device_of_the_users_own_is_as_discreet(services):
    from dwave.system import DWaveSampler

    service, elsewhere = services
    device = DWaveSampler(**{**service.client_options(), "http_retry_total": 0})
    try:
        sampler = AnnealerSampler(device, beta=2.0, policy=POLICY)
        ising = random_ising(CouplingGraph.complete(4))
        service.fault("submit", "offline")
        with pytest.raises(AnnealerError, match="offline"):
            within(DEADLINE, sampler.sample, ising, 10)
        # It looks for its solver again.
        error = sent_away(service, elsewhere, "metadata", 302, lambda: sampler.sample(ising, 10))
        assert "redirects to" in str(error) and elsewhere.requests == []
    finally:
        device.close()


def test_a_redirect_of_the_look_up_of_regions_is_refused(services):
    service, elsewhere = services
    asked = []

    class Regions(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"{elsewhere.endpoint}problems/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Regions) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        device = device_of(service, region="moon", metadata_api_endpoint=address)
        del device["init_args"]["endpoint"]
        sampler = AnnealerSampler(device, beta=2.0, policy=POLICY)
        with pytest.raises(AnnealerError, match="redirects to"):
            within(DEADLINE, lambda: sampler.chip)
        server.shutdown()
    assert asked and elsewhere.requests == []


def answer(url, location, code=302):
    response = requests.Response()
    response.url, response.status_code, response.raw = url, code, io.BytesIO()
    response.headers["Location"] = location
    return response


ELSEWHERE = [
    ("https://host/a", "http://host/a"),
    ("https://host/a", "https://other/a"),
    ("https://host/a", "//other/a"),
    ("https://host/a", "https://host.other/a"),
    ("https://host/a", "https://user:pass@other/a"),
    ("https://host/a", "https://host@other/a"),
    ("https://host/a", "https://other\\@host/a"),
    ("https://host/a", "https://host:8443/a"),
    ("https://host/a", "http://host:443/a"),
    ("http://host/a", "https://other/a"),
]


@pytest.mark.parametrize(("here", "there"), ELSEWHERE)
def test_what_is_another_host(here, there):
    session = discreet(requests.Session())
    with pytest.raises(RedirectError, match="redirects to") as caught:
        session.get_redirect_target(answer(here, there))
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("https://host/a", "/b"),
        ("https://host/a", "b/"),
        ("https://host/a", "https://host:443/a/"),
        ("https://host/a", "https://HOST/a/"),
        ("http://host/a", "https://host/a"),
    ],
)
def test_what_is_the_same_host(here, there):
    session = discreet(requests.Session())
    assert session.get_redirect_target(answer(here, there)) == there
    assert session.get_redirect_target(answer(here, there, 200)) is None


def test_deprecations_are_told_and_cleaned(services):
    service, _ = services
    told = f'"a";message="{TOKEN} is going";sunset=@4102444800;context="solver"'
    service.fault("metadata", "with_headers", times=1, headers={"X-Deprecation": told})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        within(DEADLINE, lambda: AnnealerSampler(device_of(service), policy=POLICY).chip)
    (message,) = [str(w.message) for w in caught if "is going" in str(w.message)]
    assert message.startswith("[credentials] is going")
