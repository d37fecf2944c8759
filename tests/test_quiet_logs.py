r"""The log of D-Wave's client tells no credentials, whoever listens and since whenever."""

import io
import logging
import subprocess
import sys

import pytest
from cloud_service import CloudService, scrub_environment, within
from models import random_ising
from small_runs import ENVIRONMENT
from token_search import Captured, TokenSearch, device_of

from qahm_torch import AnnealerSampler, CouplingGraph
from qahm_torch.device.quiet_logs import hush
from qahm_torch.device.redaction import remember

TOKEN = "LOGGED-8a2d-credential"
DEADLINE = 30  # seconds
TRACE = 5


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    with CloudService(shape=[2], token=TOKEN) as service:
        yield service


def draw(service):
    sampler = AnnealerSampler(device_of(service), beta=2.0)
    return within(DEADLINE, sampler.sample, random_ising(CouplingGraph.complete(4)), 10)


@pytest.mark.parametrize("level", [logging.DEBUG, TRACE, 1])
def test_at_each_level_there_are_answers_and_no_token(service, level):
    search = TokenSearch(TOKEN)
    with Captured(search, level):
        assert len(draw(service).spins) == 10
    assert search.num_records > (50 if level < logging.DEBUG else 20)
    assert search.found == []


def test_handlers_of_each_logger_see_what_is_clean(service):
    search = TokenSearch(TOKEN)
    names = ("dwave.cloud", "dwave.cloud.client.base", "dwave.cloud.api.client", "urllib3")
    before = {name: logging.getLogger(name).level for name in names}
    handler, printed = Captured(search), io.StringIO()
    stream = logging.StreamHandler(printed)
    try:
        for name in names:
            logging.getLogger(name).addHandler(handler)
            logging.getLogger(name).addHandler(stream)
            logging.getLogger(name).setLevel(1)
        draw(service)
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).removeHandler(stream)
            logging.getLogger(name).setLevel(before[name])
    search.text(printed.getvalue(), "the stream")
    assert search.num_records > 50 and "X-Auth-Token" in printed.getvalue()
    assert search.found == []


# The client is made by the user, before anything of ours has been used, under another token than
# that of the environment; handlers are there from the beginning.
ALONE = """
import io, logging
printed = io.StringIO()
logging.basicConfig(level=1, stream=printed)
import qahm_torch
qahm_torch.AnnealerSampler
from dwave.system import DWaveSampler
sampler = DWaveSampler(endpoint={endpoint!r}, token={token!r}, config_file=False)
chip = qahm_torch.AnnealerSampler(sampler).chip
text = printed.getvalue()
assert "'X-Auth-Token': [credentials]" in text, text[:2000]
print(len(text.splitlines()), text.count({token!r}), chip.num_qubits)
"""


def test_a_client_of_the_users_own_tells_nothing_either(service, tmp_path):
    code = ALONE.format(endpoint=service.endpoint, token=TOKEN)
    names = [name for name in ENVIRONMENT if name.startswith("DWAVE")]
    environment = {k: v for k, v in ENVIRONMENT.items() if k not in names}
    environment |= {"NO_PROXY": "127.0.0.1", "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    num_lines, num_tokens, num_qubits = map(int, done.stdout.split())
    assert num_lines > 20 and num_tokens == 0 and num_qubits > 0


@pytest.fixture
def logged():
    r"""Returns a function that logs something for the client, and returns what a handler gets."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("dwave.cloud.later.than.that")
    logger.propagate = False
    logger.addHandler(handler)
    logger.setLevel(1)
    remember(TOKEN)
    hush()

    def log(*args, **kwargs):
        logger.warning(*args, **kwargs)
        return records.pop()

    yield log
    logger.removeHandler(handler)


def test_a_record_is_only_what_it_says(logged):
    class Session:
        headers = {"X-Auth-Token": TOKEN}

    record = logged("%s and %r", "text", Session(), extra={"session": Session.headers, "n": 3})
    assert record.args == () and "Session object" in record.getMessage() and record.n == 3
    search = TokenSearch(TOKEN)
    search.record(record)
    assert search.found == []
    record = logged("a message of %d\n%s", 2, f"lines, {TOKEN}\x1b[2J")
    assert record.getMessage() == r"a message of 2\nlines, [credentials]\x1b[2J"
    assert record.funcName == "log" and record.name == "dwave.cloud.later.than.that"


def test_a_record_that_does_not_fit_is_told_without_its_arguments(logged):
    record = logged("%d qubits", TOKEN)
    assert record.getMessage() == "%d qubits (its arguments do not fit)"


def test_an_error_is_told_as_text(logged):
    try:
        raise ValueError(f"Invalid header value {TOKEN!r}")
    except ValueError:
        record = logged("it failed", exc_info=True)
    text = logging.Formatter().format(record)
    assert record.exc_info is None and "Traceback" in text and "Invalid header" in text
    assert TOKEN not in text and len(text.splitlines()) > 3


def test_other_loggers_are_left_alone():
    logger = logging.getLogger("somebody.else")
    assert logger.filters == [] and logging.getLogger().filters == []
