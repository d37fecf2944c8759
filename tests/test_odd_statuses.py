r"""What a service says in its statuses is waited for, booked and told, however odd it is."""

import math
from datetime import datetime, timezone
from email.utils import format_datetime

import pytest
from cloud_service import CloudService, scrub_environment, within
from dwave.system import DWaveSampler
from fault_runs import READS, native_model

from qahm_torch import AnnealerError, AnnealerSampler, ProgramSettings, RetryPolicy
from qahm_torch.device import DeadlineError, ProblemFailedError
from qahm_torch.device.door import access_time
from qahm_torch.device.transport import retry_after

DEADLINE = 20  # seconds
QUICK = RetryPolicy(timeout=0.6, request_timeout=0.3, retries=1, backoff=0.01, settle=0.05)
FAR = format_datetime(datetime(9999, 12, 31, tzinfo=timezone.utc), usegmt=True)
DATES = [FAR, "Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 2001 00:00:00 GMT", "1 1 1", ",,,"]
WAITS = ["nan", "-nan", "inf", "-inf", "-5", "1e400", "1" * 400, "", " ", "\u00b2", *DATES]
CODES = ["[503]", '{"a": 1}', "null", '"503"', "1e999", "NaN", "true", "9" * 300, "[" * 100_000]


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    with CloudService(topology="pegasus", shape=[2]) as service:
        yield service


def annealer(service, policy=QUICK, **settings):
    device = within(DEADLINE, DWaveSampler, **service.client_options())
    programming = ProgramSettings(num_gauges=0)
    return AnnealerSampler(device, beta=1.0, policy=policy, programming=programming, **settings)


def error_of(sampler):
    with pytest.raises(AnnealerError) as caught:
        within(DEADLINE, sampler.sample, native_model(sampler.chip), READS)
    return caught.value


@pytest.mark.parametrize("text", WAITS)
def test_what_is_asked_for_is_a_number_that_can_be_compared(text):
    seconds = retry_after(text)
    assert seconds is None or (seconds >= 0 and not math.isnan(seconds))


@pytest.mark.parametrize("text", ["nan", "inf", "-5", "1e400", FAR])
def test_no_wait_goes_beyond_the_deadline(text, service):
    sampler = annealer(service)
    service.fault("submit", "odd_error", times=None, body="{}", retry_after=text)
    error_of(sampler)


@pytest.mark.parametrize("step", ["submit", "poll", "load", "metadata"])
@pytest.mark.parametrize("code", CODES, ids=lambda code: code[:8])
def test_an_odd_error_code_is_no_foreign_exception(code, step, service, monkeypatch):
    body = f'{{"error_code": {code}, "error_msg": {code}}}'
    if step != "metadata":
        sampler = annealer(service)
        service.fault(step, "odd_error", times=None, body=body)
        assert "what the service said led to" not in str(error_of(sampler))
        return
    monkeypatch.setenv("DWAVE_API_TOKEN", service.token)
    options = {k: v for k, v in service.client_options().items() if k != "token"}
    spec = {"class_path": "dwave.system.DWaveSampler", "init_args": options}
    service.fault("metadata", "odd_error", times=None, body=body)
    with pytest.raises(AnnealerError):
        within(DEADLINE, lambda: AnnealerSampler(spec, policy=QUICK).chip)


@pytest.mark.parametrize("status", [[], {}, None, 7, ["COMPLETED"], {"a": [1]}])
def test_an_odd_status_is_no_foreign_exception(status, service):
    sampler = annealer(service)
    service.fault("submit", "with_fields", status=status)
    service.fault("poll", "with_fields", times=None, status=status)
    assert "what the service said led to" not in str(error_of(sampler))


def test_pauses_stay_numbers_however_long_a_problem_is_waited_for():
    policy = RetryPolicy()
    assert [policy.pause(n) for n in (0, 1, 2, 5000)] == [0.5, 1.0, 2.0, 10.0]
    assert policy.pause(0, 60.0) == 60.0 and policy.pause(0, 0.0) == 0.5


@pytest.mark.parametrize("timeout", [math.inf, math.nan, 1e12])
def test_deadlines_that_no_clock_knows_are_refused(timeout):
    with pytest.raises(ValueError, match="a time is positive and at most 1e"):
        RetryPolicy(timeout=timeout)


@pytest.mark.parametrize("told", [10**400, 1e300, True, -1, math.nan, "1", None, [1]])
def test_times_that_are_none_are_not_booked(told):
    assert access_time({"qpu_access_time": told}) is None
    assert access_time({"qpu_access_time": 2_000_000}) == 2.0


# What is cancelled.


def test_what_was_cancelled_before_it_ran_costs_nothing(service):
    sampler = annealer(service)
    service.fault("submit", "cancel")
    error = error_of(sampler)
    assert isinstance(error, ProblemFailedError) and not error.may_have_run
    assert sampler.account.spent == 0 == service.billed_jobs()


@pytest.mark.parametrize(
    "told",
    [
        {"timing": {"qpu_access_time": 20_000.0}},
        {"answer": {"timing": {"qpu_access_time": 20_000.0}}},
        {"answer": {"timing": None}},
        {"answer": {}},
    ],
)
def test_what_was_cancelled_with_times_or_an_answer_may_have_run(told, service):
    sampler = annealer(service)
    service.fault("submit", "pending_forever")
    service.fault("poll", "with_fields", times=None, status="CANCELLED", **told)
    error = error_of(sampler)
    assert isinstance(error, ProblemFailedError) and error.may_have_run
    assert sampler.account.unconfirmed > 0


def test_what_was_cancelled_after_it_had_begun_may_have_run(service):
    sampler = annealer(service)
    service.fault("submit", "pending_forever")
    service.fault("poll", "with_fields", status="IN_PROGRESS")
    service.fault("poll", "with_fields", times=None, status="CANCELLED")
    error = error_of(sampler)
    assert isinstance(error, ProblemFailedError) and error.may_have_run


def test_what_was_cancelled_at_the_deadline(service, tmp_path):
    sampler = annealer(service, archive=tmp_path)
    service.fault("submit", "pending_forever")
    error = error_of(sampler)
    assert isinstance(error, DeadlineError) and not error.may_have_run
    assert str(error).endswith("was cancelled") and sampler.account.spent == 0
    # The service says that it has begun with it: what it bills then is not documented.
    service.fault("submit", "pending_forever")
    service.fault("cancel", "with_fields", error_code=202)
    error = error_of(sampler)
    assert isinstance(error, DeadlineError) and error.may_have_run
    assert str(error).endswith("may have run") and sampler.account.unconfirmed > 0
    assert within(DEADLINE, sampler.recover) == 0 < sampler.account.unconfirmed
