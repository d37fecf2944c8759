r"""What was paid for and cannot be read is kept as it came, and asked for again."""

import pickle

import pytest
from cloud_service import CloudService, scrub_environment, within
from dwave.system import DWaveSampler
from fault_runs import READS, TOKEN, native_model

from qahm_torch import AnnealerError, AnnealerSampler, ProgramSettings, ReplaySampler, RetryPolicy
from qahm_torch.annealer import AnswerArchive, unread
from qahm_torch.annealer.unread import set_aside, unread_files
from qahm_torch.device import AnswerError, DeadlineError, SubmissionUnknownError

DEADLINE = 20  # seconds
QUICK = RetryPolicy(timeout=1.0, request_timeout=0.4, retries=1, backoff=0.01, settle=0.05)


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    with CloudService(topology="pegasus", shape=[2], token=TOKEN) as service:
        yield service


def annealer(service, folder, **settings):
    device = within(DEADLINE, DWaveSampler, **service.client_options())
    options = {"beta": 1.0, "policy": QUICK, "programming": ProgramSettings(num_gauges=0)}
    return AnnealerSampler(device, archive=folder, **{**options, **settings})


def failed(sampler, kind):
    r"""Returns the error of a call, and what is set aside of it."""
    with pytest.raises(kind) as caught:
        within(DEADLINE, sampler.sample, native_model(sampler.chip), READS)
    return caught.value, unread_files(sampler.archive)


BROKEN = {
    "not JSON": ("load", "not_json", {}, DeadlineError, b"<html>Bad gateway</html>"),
    "of another kind": ("load", "number", {}, DeadlineError, b"7"),
    "no answer in it": ("load", "empty_object", {}, AnswerError, b"{}"),
    "damaged": ("load", "bad_base64", {}, AnswerError, b'"solutions": "A"'),
    "of another job": ("load", "other_label", {}, AnswerError, b'"label": "of-somebody"'),
    "of another job, at poll": ("poll", "other_label", {}, AnswerError, b"of-somebody"),
    "cut": ("load", "truncate", {"missing": 9}, DeadlineError, b'"format": "qp"'),
    "of another media type": ("load", "wrong_content_type", {}, DeadlineError, b'"format": "qp"'),
    "too large": ("load", "bomb", {"num_bytes": 2**25}, AnnealerError, bytes(100)),
    "of no status": ("poll", "unknown_status", {}, AnnealerError, b"SUPERPOSED"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_kept_as_it_came_and_fetched_again(name, service, tmp_path):
    step, fault, details, kind, expected = BROKEN[name]
    sampler = annealer(service, tmp_path)
    service.fault(step, fault, times=None, **details)
    error, files = failed(sampler, kind)
    (file,) = [path for path in files if expected in path.read_bytes()]
    assert f"What the service sent is kept in {tmp_path}" in str(error) and str(file) in str(error)
    assert file.stat().st_size < 2**17 and not error.unread and pickle.loads(pickle.dumps(error))
    service.clear_faults()
    assert within(DEADLINE, sampler.recover) == service.billed_jobs() == 1
    assert sampler.account.num_problems == len(ReplaySampler(tmp_path)) == 1


def test_a_submission_without_an_id_is_kept(service, tmp_path):
    sampler = annealer(service, tmp_path)
    service.fault("submit", "no_id")
    service.fault("list", "empty_list", times=None)
    error, (file,) = failed(sampler, SubmissionUnknownError)
    assert b'"status": "PENDING"' in file.read_bytes() and str(file) in str(error)


def test_what_was_read_in_the_end_is_not_kept(service, tmp_path):
    sampler = annealer(service, tmp_path)
    service.fault("load", "not_json")
    within(DEADLINE, sampler.sample, native_model(sampler.chip), READS)
    assert unread_files(sampler.archive) == []


def test_the_token_is_not_in_what_is_kept(service, tmp_path):
    sampler = annealer(service, tmp_path)
    service.fault("load", "with_fields", times=None, id=f"x{TOKEN}x")
    error, (file,) = failed(sampler, AnswerError)
    assert b"[credentials]" in file.read_bytes() and TOKEN.encode() not in file.read_bytes()
    assert TOKEN.encode() not in pickle.dumps(error)


def test_recovery_looks_by_label_where_the_id_leads_to_another_job(service, tmp_path):
    other = annealer(service, tmp_path / "other")
    within(DEADLINE, other.sample, native_model(other.chip), READS)
    (foreign,) = service.problems.values()
    sampler = annealer(service, tmp_path / "mine")
    service.fault("submit", "with_fields", id=foreign.id)
    error, _ = failed(sampler, AnswerError)
    assert error.problem_id == foreign.id
    assert within(DEADLINE, sampler.recover) == 1
    (answer,) = ReplaySampler(tmp_path / "mine")
    assert answer.meta["problem_id"] != foreign.id


def test_what_becomes_of_another_job_says_nothing_of_this_one(service, tmp_path):
    other = annealer(service, tmp_path / "other")
    service.fault("submit", "fail")
    with pytest.raises(AnnealerError):
        within(DEADLINE, other.sample, native_model(other.chip), READS)
    service.fault("submit", "pending_forever")
    with pytest.raises(DeadlineError, match="may still run"):
        # Not cancelled: the service does not take that.
        service.fault("cancel", "status", code=500, times=1)
        within(DEADLINE, other.sample, native_model(other.chip), READS)
    for foreign in list(service.problems.values()):
        sampler = annealer(service, tmp_path / foreign.id)
        service.fault("submit", "with_fields", id=foreign.id)
        status = foreign.status
        failed(sampler, AnswerError)
        assert foreign.status == status
        assert within(DEADLINE, sampler.recover) == 1


def test_recovery_says_what_it_found_and_where_the_rest_is(service, tmp_path):
    sampler = annealer(service, tmp_path)
    service.fault("load", "other_format", times=None)
    failed(sampler, AnswerError)
    _, files = failed(sampler, AnswerError)
    service.clear_faults()
    service.fault("load", "other_format", times=2)
    with pytest.raises(AnswerError, match="1 found, 1 not to be had now") as caught:
        within(DEADLINE, sampler.recover)
    assert str(files[0].parent) in str(caught.value)
    # The same bytes are kept once.
    assert unread_files(sampler.archive) == files and len(files) == 2
    assert within(DEADLINE, sampler.recover) == 1


def test_no_more_is_kept_than_there_is_room_for(service, tmp_path, monkeypatch):
    monkeypatch.setattr(unread, "ROOM", 10)
    sampler = annealer(service, tmp_path)
    service.fault("load", "not_json", times=None)
    error, files = failed(sampler, DeadlineError)
    assert "could not be kept" in str(error) and "to make room" in str(error) and not files


def test_nothing_is_kept_of_what_was_not_run(tmp_path):
    archive, error = AnswerArchive(tmp_path), AnnealerError("no", may_have_run=False)
    error.unread = {"submission": b"[]"}
    set_aside(archive, None, error)
    assert unread_files(archive) == [] and str(error) == "no"
