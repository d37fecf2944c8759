r"""A search for the bytes of a token, as a crash reporter or a curious colleague would make it.

`search_everything(folder)` trains with the loopback service, lets it fail in many ways, and
returns how much was searched and how often the token was found: for tests, and for reports.
"""

from __future__ import annotations

__all__ = ["Captured", "TokenSearch", "search_everything"]

import base64
import contextlib
import io
import logging
import os
import pickle
import sys
import types
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from cloud_service import CloudService, within
from models import random_ising
from small_runs import fit, small_config

from qahm_torch import AnnealerError, AnnealerSampler, CouplingGraph, RetryPolicy

TESTS = Path(__file__).parent
DEADLINE = 60  # seconds
DEPTH = 7  # how far objects are followed from the locals of a frame
# What is asked of the service for each problem.
STEPS = ("submit", "poll", "load")
DEVICE = "dwave.system.DWaveSampler"
ATOMS = (int, float, complex, bool, type(None), torch.Tensor, type, types.ModuleType)
CODE = (types.FunctionType, types.BuiltinFunctionType)


class TokenSearch:
    r"""Counts what was searched, and where a token was found.

    Arguments:
        token: The token.

    Attributes:
        found: Where it was found, in words.
        num_files, num_records, num_frames, num_objects, num_texts: What was searched.
        num_bytes: The bytes that were searched.
    """

    def __init__(self, token: str):
        self.token = token
        self.found: list[str] = []
        self.num_files = self.num_records = self.num_frames = 0
        self.num_objects = self.num_texts = self.num_bytes = 0
        forms = {token, quote(token, safe=""), token.upper(), token.lower()}
        self._forms = {form.encode() for form in forms}
        self._forms |= {
            base64.b64encode(token.encode()).rstrip(b"=")[:-1],
            token.encode("utf-16-le"),
        }

    @property
    def bytes_found(self) -> int:
        r"""The bytes of the token that were found."""
        return len(self.token.encode()) * len(self.found)

    def counts(self) -> dict[str, int]:
        r"""Returns how much was searched, and the token bytes found."""
        names = ("files", "records", "frames", "objects", "texts", "bytes")
        numbers = {f"{name}_searched": int(getattr(self, f"num_{name}")) for name in names}
        return {**numbers, "token_bytes_found": self.bytes_found}

    def text(self, text: str | bytes, where: str) -> None:
        r"""Searches a text."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        self.num_texts += 1
        self.num_bytes += len(data)
        if any(form in data for form in self._forms):
            self.found.append(where)

    def files(self, folder: Path) -> None:
        r"""Searches the names and the bytes of all files, and of what is packed in them."""
        for path in sorted(folder.rglob("*")):
            self.text(path.name, f"the name {path.name}")
            if not path.is_file():
                continue
            self.num_files += 1
            self.text(path.read_bytes(), str(path.relative_to(folder)))
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    for name in packed.namelist():
                        self.text(packed.read(name), f"{path.name}: {name}")

    def record(self, record: logging.LogRecord) -> None:
        r"""Searches a log record: as it is printed, and all that hangs on it."""
        self.num_records += 1
        where = f"log record of {record.name}:{record.lineno}"
        self.text(logging.Formatter().format(record), where)
        self.thing(vars(record), where)
        if record.exc_info and record.exc_info[1] is not None:
            self.error(record.exc_info[1])

    def error(self, error: BaseException) -> None:
        r"""Searches an error, its causes and contexts, and the locals of all their frames.

        Frames of the tests are left out: they know the token, since they run the service.
        """
        waiting, seen = [error], set()
        while waiting:
            error = waiting.pop()
            if id(error) in seen:
                continue
            seen.add(id(error))
            name = type(error).__name__
            self.thing(vars(error), f"attributes of {name}")
            self.thing(error.args, f"arguments of {name}")
            self.text(str(error) + repr(error), f"text of {name}")
            trace = error.__traceback__
            while trace is not None:
                self._frame(trace.tb_frame, name)
                trace = trace.tb_next
            waiting += [e for e in (error.__cause__, error.__context__) if e is not None]

    def thing(self, thing: Any, where: str) -> None:
        r"""Searches an object and whatever it holds, as far as `vars`, items and `repr` lead."""
        self._walk(thing, where, DEPTH, set())

    def pickled(self, thing: Any, where: str) -> None:
        r"""Searches what is left of an object in a pickle."""
        self.text(pickle.dumps(thing), f"pickle of {where}")

    def _frame(self, frame: types.FrameType, name: str) -> None:
        file = Path(frame.f_code.co_filename)
        if TESTS in file.parents or "_pytest" in file.parts:
            return
        self.num_frames += 1
        for local, value in list(frame.f_locals.items()):
            self.thing(value, f"{name}: {file.name}:{frame.f_code.co_name}: {local}")

    def _walk(self, thing: Any, where: str, depth: int, seen: set[int]) -> None:
        if isinstance(thing, ATOMS) or id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, (str, bytes, bytearray)):
            self.text(thing, where)
            return
        self.num_objects += 1
        self.text(_repr(thing), f"{where} (repr)")
        if depth == 0 or isinstance(thing, CODE):
            return
        for name, part in _parts(thing):
            self._walk(part, f"{where}.{name}", depth - 1, seen)


class Captured(logging.Handler):
    r"""Keeps all log records, of whatever level, while it is entered.

    Its records are searched as they come: later, what hangs on them may have changed.
    """

    def __init__(self, search: TokenSearch, level: int = 1):
        super().__init__(1)
        self.search = search
        self._root_level = level

    def emit(self, record: logging.LogRecord) -> None:
        self.search.record(record)

    def __enter__(self) -> Captured:
        root = logging.getLogger()
        self._before = root.level
        root.setLevel(self._root_level)
        root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._before)


def search_everything(folder: Path, token: str = "MARKED-7f3a-credential-91") -> TokenSearch:
    r"""Trains with the loopback service, fails in many ways, and searches all that is left."""
    search = TokenSearch(token)
    with _environment(folder / "home", token), CloudService(shape=[2], token=token) as service:
        printed = io.StringIO()
        streams = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed)
        with Captured(search), _searched_warnings(search), streams[0], streams[1]:
            work = folder / "work"
            work.mkdir(parents=True)
            fit(work, training_config(service, work / "archive"))
            for number, (step, kind, details) in enumerate(failures(token)):
                _fail(search, service, folder / f"failure-{number}", step, kind, details)
        search.text(printed.getvalue(), "the terminal")
    search.files(folder)
    return search


def failures(token: str) -> list[tuple[str, str, dict[str, Any]]]:
    r"""Returns steps, faults and their details: one for each way in which a step can fail.

    In some of them the service repeats the token, among what a terminal would obey.
    """
    evil = f"\x1b[31m{token}\x1b[0m\r\nforged: a line\x07 {2000 * 'x'}"
    deprecation = f'"a";message="{token} is going";sunset=@4102444800;context="solver"'
    return [
        *(("metadata", kind, {}) for kind in ("drop", "stall", "not_json", "null")),
        *(("metadata", "status", {"code": code, "message": evil}) for code in (401, 403, 500)),
        ("metadata", "with_headers", {"headers": {"X-Deprecation": deprecation}}),
        ("metadata", "with_fields", {"description": evil}),
        *((step, "reset", {}) for step in STEPS),
        *(
            (step, "status", {"code": code, "message": evil})
            for step in STEPS
            for code in (400, 401, 429, 500)
        ),
        *(("submit", kind, {}) for kind in ("stall", "null", "accept_then_drop")),
        ("submit", "refuse", {"error_msg": evil}),
        ("submit", "refuse", {"error_code": evil}),
        ("submit", "fail", {"message": evil}),
        ("submit", "fail", {"message": f"offline {evil}"}),
        *((step, "with_fields", {"id": evil}) for step in STEPS),
        *((step, "with_fields", {"label": evil}) for step in STEPS),
        *((step, "with_fields", {"status": evil}) for step in STEPS),
        *(("poll", kind, {}) for kind in ("not_json", "empty_list")),
        *(("load", kind, {}) for kind in ("truncate", "no_answer")),
        ("load", "with_answer", {"format": evil}),
        ("load", "with_answer", {"solutions": evil}),
        ("load", "with_answer", {"timing": {"qpu_access_time": 1.0, evil: 1.0, "note": evil}}),
    ]


def device_of(service: CloudService, **options: Any) -> dict[str, Any]:
    r"""Returns the specification of the device behind a service."""
    options = {"endpoint": service.endpoint, "config_file": False, **options}
    return {"class_path": DEVICE, "init_args": {"request_timeout": 0.3, **options}}


def training_config(service: CloudService, archive: Path) -> dict[str, Any]:
    r"""Returns the configuration of a small training on the device behind a service."""
    config = small_config()
    config["model"]["init_args"]["machine"]["init_args"]["prior"]["init_args"]["sampler"] = {
        "class_path": "qahm_torch.AnnealerSampler",
        "init_args": {
            "device": device_of(service),
            "beta": 2.0,
            "archive": str(archive),
            "tracking": {"misfit_tolerance": 9.0},
        },
    }
    return config


def _fail(
    search: TokenSearch,
    service: CloudService,
    folder: Path,
    step: str,
    kind: str,
    details: dict[str, Any],
) -> None:
    policy = RetryPolicy(timeout=1.0, request_timeout=0.2, retries=1, backoff=0.01, settle=0.05)
    device = device_of(service)
    sampler = AnnealerSampler(device, beta=2.0, policy=policy, archive=folder / "archive")
    service.fault(step, kind, times=None, **details)
    where = f"{kind} at {step}"
    try:
        within(DEADLINE, sampler.sample, random_ising(CouplingGraph.complete(4)), 10)
    except AnnealerError as error:
        search.error(error)
        search.pickled(error, f"error after {where}")
    finally:
        service.clear_faults()
    search.thing(sampler, f"sampler after {where}")
    search.pickled(sampler, f"sampler after {where}")
    search.pickled(sampler.state_dict(), f"state after {where}")
    search.pickled(list(sampler.archive or []), f"archive after {where}")


@contextlib.contextmanager
def _environment(home: Path, token: str) -> Iterator[None]:
    before = dict(os.environ)
    try:
        for name in list(os.environ):
            if name.upper().startswith("DWAVE_") or name.upper().endswith("_PROXY"):
                del os.environ[name]
        os.environ.update(
            NO_PROXY="127.0.0.1,localhost",
            XDG_CACHE_HOME=str(home),
            XDG_CONFIG_HOME=str(home),
            DWAVE_API_TOKEN=token,
        )
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _searched_warnings(search: TokenSearch) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        search.text(str(warning.message), "a warning")
        search.thing(vars(warning.message), "a warning")


def _repr(thing: Any) -> str:
    try:
        return repr(thing)
    except Exception:
        return ""


def _parts(thing: Any) -> list[tuple[str, Any]]:
    if isinstance(thing, dict):
        return [(str(key), part) for key, part in thing.items()] + [("key", key) for key in thing]
    if isinstance(thing, (list, tuple, set, frozenset)):
        return [(str(k), part) for k, part in enumerate(thing)]
    try:
        return list(vars(thing).items())
    except TypeError:
        return []


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        result = search_everything(Path(name))
    print(*sorted(set(result.found)), result.counts(), sep="\n", file=sys.stdout)
