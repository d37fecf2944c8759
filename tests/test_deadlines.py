r"""Deadlines by the clock on the wall, and what is left behind once they have passed: nothing."""

import os
import socket
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from cloud_faults import packed_zeros
from cloud_service import CloudService, scrub_environment
from dwave.system import DWaveSampler
from fault_runs import native_model

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    CouplingGraph,
    ProgramSettings,
    RetryPolicy,
)
from qahm_torch.device import CredentialsError, DeadlineError, ServiceError

TIMEOUT = 1.5
# Of a machine that does other things as well.
SLACK = 0.5
PAIR = CouplingGraph.complete(2)
SLOW = ("stall", "drip_head", "drip_status", "drip_body")
POLICY = RetryPolicy(timeout=TIMEOUT, request_timeout=0.4, retries=1, backoff=0.01, settle=0.1)


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    with CloudService(shape=[2]) as service:
        monkeypatch.setenv("DWAVE_API_TOKEN", service.token)
        yield service


def annealer(service):
    device = DWaveSampler(**service.client_options())
    single = ProgramSettings(num_gauges=0)
    return AnnealerSampler(device, beta=2.0, policy=POLICY, programming=single)


def unopened(service, **options):
    options = {k: v for k, v in {**service.client_options(), **options}.items() if k != "token"}
    spec = {"class_path": "dwave.system.DWaveSampler", "init_args": options}
    return AnnealerSampler(spec, beta=2.0, policy=POLICY)


def client_sockets(service):
    r"""Returns the sockets of this process that speak to the service, not those of the service."""
    port = f":{int(service.endpoint.split(':')[2].split('/')[0]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    to_service = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(port)}
    return {name for name in map(_linked, Path("/proc/self/fd").iterdir()) if name in to_service}


def _linked(path):
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def client_threads(service):
    r"""Returns the threads that are not those of the service."""
    return {
        thread
        for thread in threading.enumerate()
        if "process_request" not in thread.name
        and getattr(getattr(thread, "function", None), "__self__", None) is not service
    }


class Left:
    r"""What a call leaves behind, and how long it took."""

    def __init__(self, service):
        self.service = service

    def __enter__(self):
        self.before = client_threads(self.service), client_sockets(self.service)
        self.start = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.start
        self.threads = client_threads(self.service) - self.before[0]
        self.sockets = client_sockets(self.service) - self.before[1]


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts what is open")


@needs_proc
@pytest.mark.parametrize("step", ["submit", "poll", "load", "list", "cancel"])
@pytest.mark.parametrize("kind", SLOW)
def test_a_call_ends_at_its_deadline_and_leaves_nothing_behind(service, kind, step):
    sampler = annealer(service)
    ising = native_model(sampler.chip)
    if step == "list":
        service.fault("submit", "accept_then_drop", times=None)
    if step == "cancel":
        service.fault("submit", "pending_forever")
    service.fault(step, kind, times=None)
    service.fault("list", "empty_list", times=None)
    with Left(service) as left, pytest.raises(AnnealerError) as caught:
        sampler.sample(ising, 10)
    assert left.seconds < TIMEOUT + SLACK
    assert not left.threads and not left.sockets
    assert caught.value.may_have_run and "`recover`" in str(caught.value)


@needs_proc
def test_a_call_that_succeeds_leaves_nothing_behind(service):
    sampler = annealer(service)
    ising = native_model(sampler.chip)
    with Left(service) as left:
        sampler.sample(ising, 10)
    assert not left.threads and not left.sockets


@needs_proc
def test_what_is_left_would_be_counted(service):
    # The twin of the tests above.
    port = int(service.endpoint.split(":")[2].split("/")[0])
    gate = threading.Event()
    with Left(service) as left:
        thread = threading.Thread(target=gate.wait)
        thread.start()
        open_one = socket.create_connection(("127.0.0.1", port))
    gate.set()
    thread.join()
    open_one.close()
    assert left.threads == {thread} and len(left.sockets) == 1


def test_the_error_tells_what_is_left_running(service):
    sampler = annealer(service)
    ising = native_model(sampler.chip)
    service.fault("submit", "pending_forever", times=2)
    with pytest.raises(DeadlineError, match="problem .* was cancelled") as caught:
        sampler.sample(ising, 10)
    assert not caught.value.may_have_run and sampler.account.spent == 0
    service.fault("cancel", "status", times=None, code=500)
    with pytest.raises(DeadlineError, match="problem .* may still run") as caught:
        sampler.sample(ising, 10)
    assert caught.value.may_have_run and sampler.account.spent > 0


# Opening.


@needs_proc
@pytest.mark.parametrize("kind", SLOW)
def test_opening_ends_at_its_deadline_and_leaves_nothing_behind(service, kind):
    sampler = unopened(service)
    service.fault("metadata", kind, times=None)
    with Left(service) as left, pytest.raises(AnnealerError):
        sampler.site(PAIR)
    assert left.seconds < TIMEOUT + SLACK
    assert not left.threads and not left.sockets


@needs_proc
@pytest.mark.parametrize(
    ("fault", "error"), [({"code": 401}, CredentialsError), ({"code": 503}, ServiceError)]
)
def test_opening_that_fails_leaves_nothing_behind(service, fault, error):
    sampler = unopened(service)
    service.fault("metadata", "status", times=None, **fault)
    with Left(service) as left, pytest.raises(error):
        sampler.site(PAIR)
    assert not left.threads and not left.sockets


# Floods.

SIZE = 2**27


def peak_of(call):
    r"""Returns the most bytes that were in use while a call failed for a body too large."""
    tracemalloc.start()
    try:
        with pytest.raises(AnnealerError, match=r"more than \d+ bytes"):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("step", ["submit", "poll", "load", "list"])
def test_a_body_that_expands_without_end_is_left_at_the_limit(service, step, coding):
    packed_zeros(SIZE, coding)
    sampler = annealer(service)
    ising = native_model(sampler.chip)
    # What is planned first strikes; the listing is asked for where a submission is lost.
    service.fault(step, "bomb", times=None, num_bytes=SIZE, coding=coding)
    service.fault("list", "empty_list", times=None)
    if step == "list":
        service.fault("submit", "accept_then_drop")
    assert peak_of(lambda: sampler.sample(ising, 10)) < SIZE / 8


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_description_that_expands_without_end_is_left_at_the_limit(service, coding):
    packed_zeros(2 * SIZE, coding)
    sampler = unopened(service)
    service.fault("metadata", "bomb", times=None, num_bytes=2 * SIZE, coding=coding)
    assert peak_of(lambda: sampler.chip) < SIZE
