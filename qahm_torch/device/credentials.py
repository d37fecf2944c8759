r"""Refusing credentials in what is going to be written down."""

from __future__ import annotations

__all__ = ["refuse_configured", "refuse_credentials"]

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qahm_torch.device.redaction import quoted, redacted

ADVICE = (
    "credentials come only from D-Wave's own configuration (`dwave config create`) or "
    "DWAVE_API_TOKEN"
)
# What ends so is one, in whatever spelling: api_token, X-Auth-Token, ...
ENDINGS = ("token", "password", "secret", "client_cert", "client_cert_key", "headers")
URL_WITH_PASSWORD = re.compile(r"\w[\w+.-]*://[^/]*@")
HEADER = re.compile(r"(x[-_]auth[-_]token|authorization|token)['\"]?\s*[:=]", re.IGNORECASE)


def refuse_credentials(arguments: Any, what: str = "the device") -> None:
    r"""Raises ValueError if a configuration holds credentials, at any depth.

    They are told by the names of entries and by what entries look like, and a token of this
    process wherever it stands.

    Arguments:
        arguments: Anything made of mappings, sequences and plain values.
        what: What it configures, for the error.

    Example:
        >>> refuse_credentials({"solver": "Advantage", "defaults": [{"token": "ABC-0123"}]})
        Traceback (most recent call last):
        ...
        ValueError: the device has 'token' in its init_args, but credentials come only from D-Wave's own configuration (`dwave config create`) or DWAVE_API_TOKEN
    """  # noqa: E501
    place = next(_places(arguments, ""), None)
    if place is not None:
        raise ValueError(f"{what} has {quoted(place, 50)!r} in its init_args, but {ADVICE}")


def refuse_configured(config: Any) -> None:
    r"""Raises ValueError if a whole configuration holds credentials of D-Wave's service.

    What names classes of D-Wave's is held to `refuse_credentials`. Everywhere else other settings
    may have names of that kind, and only a token of this process is refused.
    """
    if isinstance(config, Mapping):
        path = str(config.get("class_path"))
        if path.startswith("dwave."):
            refuse_credentials(config.get("init_args"), path)
        config = [*config, *config.values()]
    if isinstance(config, (list, tuple)):
        for part in config:
            refuse_configured(part)
    elif redacted(str(config)) != str(config):
        raise ValueError(f"the configuration holds a token, but {ADVICE}")


def _places(value: Any, name: str) -> Iterator[str]:
    r"""Yields the names of what holds credentials."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if _is_secret_name(key) and part is not None:
                yield str(key)
            yield from _places(key, str(key))
            yield from _places(part, str(key))
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = list(value)
        # A header or a keyword as a pair.
        if len(parts) == 2 and _is_secret_name(parts[0]):
            yield str(parts[0])
        for part in parts:
            yield from _places(part, name)
    elif isinstance(value, (str, bytes)):
        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        if URL_WITH_PASSWORD.match(text) or HEADER.match(text) or redacted(text) != text:
            yield name


def _is_secret_name(name: Any) -> bool:
    plain = str(name).lower().replace("-", "_").strip()
    return isinstance(name, str) and plain.endswith(ENDINGS)
