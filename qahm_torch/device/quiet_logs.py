r"""The log of D-Wave's client and of what it speaks through, without credentials."""

from __future__ import annotations

__all__ = ["hush"]

import functools
import importlib.util
import logging
import traceback
from pathlib import Path
from typing import Any

from qahm_torch.device.redaction import cleaned, without_credentials

# With all loggers below them.
FAMILIES = ("dwave.cloud", "dwave.system", "requests", "urllib3")
# What the logging module itself says of a record, which is no text of somebody else.
OWN = ("name", "levelname", "pathname", "filename", "module", "funcName", "threadName")


def hush() -> None:
    r"""Lets the loggers of the client say nothing secret.

    Each record is cleaned before any handler has it, whatever handlers there are and whenever they
    were installed: filters of a logger come first. But they see only what this very logger is
    given, not what comes up from the loggers below it; so each gets the filter, also those whose
    modules have not been imported. Called again whenever the client is about to be used, for
    loggers that have come since.
    """
    known = list(logging.root.manager.loggerDict)
    for name in {*FAMILIES, *_names_to_come(), *filter(_is_below, known)}:
        logger = logging.getLogger(name)
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)


class _Cleaning(logging.Filter):
    r"""Leaves of a record what it says, and nothing of what it says it with."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Objects among the arguments may hold a session, as an error holds its request.
        record.msg, record.args = cleaned(without_credentials(_said(record)), None), ()
        if record.exc_info:
            told = record.exc_text or "".join(traceback.format_exception(*record.exc_info))
            record.exc_text = _lines_cleaned(told)
            # Its frames hold whatever they were busy with.
            record.exc_info = None
        for name, value in list(vars(record).items()):
            if name not in (*OWN, "msg", "args", "exc_text"):
                setattr(record, name, _plain(value))
        return True


_FILTER = _Cleaning()


@functools.cache
def _names_to_come() -> list[str]:
    r"""Returns the loggers of the client by its files, which is not imported for that."""
    spec = importlib.util.find_spec("dwave")
    homes = [Path(home) for home in (spec.submodule_search_locations if spec else None) or ()]
    files = [file.relative_to(home) for home in homes for file in home.glob("cloud/**/*.py")]
    return [".".join(("dwave", *file.with_suffix("").parts)) for file in files]


def _is_below(name: str) -> bool:
    return name.startswith(tuple(f"{family}." for family in FAMILIES))


def _said(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} (its arguments do not fit)"


def _lines_cleaned(text: str) -> str:
    return "\n".join(cleaned(line, None) for line in without_credentials(text).splitlines())


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _lines_cleaned(value if isinstance(value, str) else repr(value))
