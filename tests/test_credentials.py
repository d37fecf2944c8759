r"""Credentials stay where they are: no file, record, error or pickle of a run holds them."""

import logging
import pickle
import traceback
import zipfile
from pathlib import Path

import pytest
import torch
from cloud_service import CloudService, scrub_environment, within
from fault_runs import native_model
from models import random_ising
from small_runs import fit, qahm, small_config, write_config
from token_search import (
    Captured,
    TokenSearch,
    device_of,
    search_everything,
    training_config,
)

from qahm_torch import (
    AnnealerError,
    AnnealerSampler,
    CouplingGraph,
    QuantumPriorLayer,
    RetryPolicy,
)
from qahm_torch.annealer import AnswerArchive
from qahm_torch.training import MaximumLikelihood, load_run

TOKEN = "MARKED-7f3a-credential-91"
DEADLINE = 20  # seconds


@pytest.fixture
def service(monkeypatch, tmp_path):
    scrub_environment(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    with CloudService(shape=[2], token=TOKEN) as service:
        yield service


def annealer(service, **settings):
    policy = RetryPolicy(timeout=0.5, request_timeout=0.2, retries=1, backoff=0.01, settle=0.05)
    return AnnealerSampler(device_of(service), **{"beta": 2.0, "policy": policy, **settings})


def config_on(service, archive):
    config = training_config(service, archive)
    names = ("CSVLogger", "TensorBoardLogger")
    config["trainer"]["logger"] = [
        {
            "class_path": f"pytorch_lightning.loggers.{name}",
            "init_args": {"save_dir": "runs", "name": "digits", "version": "run"},
        }
        for name in names
    ]
    return config


def contents(folder):
    r"""Yields the name and the bytes of every file, and of what is packed in them."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield path.name, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                yield from ((name, packed.read(name)) for name in packed.namelist())


def secret_places(folder):
    return [name for name, data in contents(folder) if TOKEN.encode() in data]


def test_search_finds_what_is_hidden(tmp_path):
    # The twin of the tests below.
    torch.save({"notes": [TOKEN]}, tmp_path / "model.ckpt")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inside", 50 * TOKEN)
    assert {"model.ckpt", "model/data.pkl", "inside"} == set(secret_places(tmp_path))


def test_nothing_that_a_run_writes_has_the_token(service, tmp_path, caplog, recwarn, capfd):
    caplog.set_level(logging.INFO)
    caplog.set_level(0, logger="qahm_torch")
    # The handler takes whatever the loggers let through.
    caplog.handler.setLevel(0)
    folder = tmp_path / "work"
    folder.mkdir()
    run = fit(folder, config_on(service, folder / "archive"))
    written = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert {".yaml", ".ckpt", ".csv", ".qahm"} <= written
    assert any(path.name.startswith("events.out") for path in run.rglob("*"))
    assert service.billed_jobs() > 4
    assert secret_places(folder) == []
    assert TOKEN.encode() not in pickle.dumps(list(AnswerArchive(folder / "archive")))
    assert not any(TOKEN in str(vars(record)) + record.getMessage() for record in caplog.records)
    assert not any(TOKEN in str(warning.message) for warning in recwarn)
    assert TOKEN not in "".join(capfd.readouterr())
    assert_clean(within(DEADLINE, load_run, run, True).module.hparams)


def assert_clean(thing):
    assert TOKEN.encode() not in pickle.dumps(thing)
    assert TOKEN not in repr(thing) + str(thing)


def test_sampler_and_module_that_are_in_use_have_no_token_in_them(service, tmp_path):
    sampler = annealer(service, archive=tmp_path / "archive")
    ising = native_model(within(DEADLINE, lambda: sampler.chip), 4)
    within(DEADLINE, sampler.sample, ising, 10)
    assert_clean(sampler)
    assert_clean(sampler.chip)
    assert_clean(sampler.state_dict())
    layer = QuantumPriorLayer(ising.graph, sampler=sampler, num_samples=10)
    assert_clean(layer)
    assert_clean(MaximumLikelihood(layer))
    copy = pickle.loads(pickle.dumps(sampler))
    assert len(within(DEADLINE, copy.sample, ising, 10).spins) == 10


FAULTS = [
    *(("metadata", kind, {}) for kind in ("drop", "stall", "not_json", "null")),
    *(("metadata", "status", {"code": code}) for code in (401, 403, 500)),
    *((step, "status", {"code": 401}) for step in ("submit", "poll", "load")),
    *((step, "reset", {}) for step in ("submit", "poll", "load")),
    *(("submit", kind, {}) for kind in ("stall", "refuse", "fail")),
    *(("load", kind, {}) for kind in ("truncate", "no_answer")),
]


@pytest.mark.parametrize(("step", "kind", "details"), FAULTS)
def test_errors_have_no_token_in_them(service, tmp_path, caplog, step, kind, details):
    caplog.set_level(logging.INFO)
    archive = tmp_path / "archive"
    sampler = annealer(service, archive=archive)
    service.fault(step, kind, times=None, **details)
    with pytest.raises(AnnealerError) as caught:
        within(DEADLINE, sampler.sample, random_ising(CouplingGraph.complete(4)), 10)
    assert_error_clean(caught.value)
    search = TokenSearch(TOKEN)
    search.thing(sampler, "the sampler")
    assert search.found == [] and search.num_objects > 5
    assert not any(TOKEN in str(vars(record)) + record.getMessage() for record in caplog.records)
    assert secret_places(tmp_path) == []
    assert TOKEN.encode() not in pickle.dumps(list(AnswerArchive(archive)))


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"{TOKEN} and more", f"{TOKEN}é"])
def test_a_token_that_is_no_token_is_not_repeated(service, monkeypatch, token):
    monkeypatch.setenv("DWAVE_API_TOKEN", token)
    with pytest.raises(AnnealerError, match="does not accept|cannot be|was not opened") as caught:
        within(DEADLINE, annealer(service).sample, random_ising(CouplingGraph.complete(4)), 10)
    assert_error_clean(caught.value)


def assert_error_clean(error):
    seen = error
    while seen is not None:
        assert_clean(seen)
        assert not {"request", "response"} & set(dir(seen))
        seen = seen.__cause__ or seen.__context__
    assert TOKEN not in "".join(traceback.format_exception(error))
    search = TokenSearch(TOKEN)
    search.error(error)
    assert search.found == [] and search.num_frames > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("token", TOKEN),
        ("headers", {"X-Auth-Token": TOKEN}),
        ("client_cert", TOKEN),
        ("defaults", {"token": TOKEN}),
        ("proxy", f"http://user:{TOKEN}@proxy:8080"),
        ("defaults", [{"more": ({"token": TOKEN},)}]),
        ("solver", {"name": [f"token {TOKEN}"]}),
    ],
)
def test_credentials_in_a_specification_are_refused_and_not_repeated(service, name, value):
    with pytest.raises(ValueError, match="credentials come only from D-Wave's own") as caught:
        AnnealerSampler(device_of(service, **{name: value}))
    assert TOKEN not in str(caught.value)


CONFIGURED = [
    {"token": TOKEN},
    {"defaults": {"token": TOKEN}},
    {"defaults": {"deep": [{"token": TOKEN}]}},
    {"more": [["X-Auth-Token", TOKEN]]},
]


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("arguments", CONFIGURED, ids=str)
def test_a_run_with_credentials_in_its_configuration_writes_nothing(
    service, tmp_path, monkeypatch, capfd, arguments, is_known
):
    if not is_known:
        monkeypatch.delenv("DWAVE_API_TOKEN")
    config = config_on(service, tmp_path / "archive")
    prior = config["model"]["init_args"]["machine"]["init_args"]["prior"]
    prior["init_args"]["sampler"]["init_args"]["device"]["init_args"].update(arguments)
    path = write_config(tmp_path, config)
    monkeypatch.chdir(tmp_path)
    assert qahm("fit", "--config", path) == 2
    Path(path).unlink()
    told = "".join(capfd.readouterr())
    assert "credentials come only from D-Wave's own" in told and TOKEN not in told
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_token_anywhere_else_in_a_configuration_is_not_written(
    service, tmp_path, monkeypatch, capfd
):
    config = small_config()
    config["name"] = f"run-{TOKEN}"
    path = write_config(tmp_path, config)
    monkeypatch.chdir(tmp_path)
    assert qahm("fit", "--config", path) == 2
    Path(path).unlink()
    told = "".join(capfd.readouterr())
    assert "the configuration holds a token" in told and TOKEN not in told
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.slow
def test_nothing_that_is_left_of_a_run_and_of_its_failures_has_the_token(tmp_path):
    search = search_everything(tmp_path)
    assert search.found == [] and search.counts()["token_bytes_found"] == 0
    assert search.num_files > 40 and search.num_records > 1000 and search.num_frames > 100


def test_that_search_finds_what_is_hidden(tmp_path):
    # The twin.
    search = TokenSearch(TOKEN)

    namespace = {"Secret": Secret}
    code = compile(CODE, "/elsewhere/module.py", "exec")
    exec(code, namespace)
    with pytest.raises(KeyError) as caught:
        namespace["fail"](TOKEN)
    search.error(caught.value)
    assert any("session.deep.0.er.value" in place for place in search.found)
    with Captured(search):
        before = len(search.found)
        logging.getLogger("anybody").log(1, "%r", {"token": TOKEN})
        assert len(search.found) > before
    (tmp_path / "notes").write_text(f"about {TOKEN}")
    search.files(tmp_path)
    assert search.found[-1] == "notes" and search.bytes_found == len(TOKEN) * len(search.found)


class Secret:
    def __init__(self, value):
        self.value = value


CODE = """
def fail(token):
    session = {"deep": [{"er": Secret(token)}]}
    return session["none"]
"""
