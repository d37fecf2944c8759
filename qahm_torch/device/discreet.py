r"""Sessions of D-Wave's client that stay with their host, and repeat nothing as it is."""

from __future__ import annotations

__all__ = ["RedirectError", "discreet", "discreetly"]

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urljoin

import requests
from dwave.cloud.api.client import DWaveAPIClient
from urllib3.util import parse_url

from qahm_torch.device.redaction import quoted


class RedirectError(Exception):
    r"""The service sends a request, and with it the credentials, to another host."""


def discreet(session: Any) -> Any:
    r"""Returns a session of the client, which from now on refuses redirects to other hosts.

    They would take the credentials along: the session drops an `Authorization` on the way, but not
    the header of D-Wave's tokens. Redirects are followed as before where host, port and encryption
    stay, or where plain text becomes encrypted.

    What the service says of deprecations, which the client repeats in warnings, is cleaned.
    """
    session.get_redirect_target = partial(_target, session)
    session._parse_deprecation_messages = partial(_deprecations, session)
    return session


@contextlib.contextmanager
def discreetly() -> Iterator[None]:
    r"""Makes all sessions discreet that D-Wave's client makes meanwhile in this thread.

    The client makes some that it does not hand out, such as that which looks up a region.
    """
    _HERE.is_discreet = True
    try:
        yield
    finally:
        _HERE.is_discreet = False


_HERE = threading.local()


class _Session(DWaveAPIClient.DefaultSession):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if getattr(_HERE, "is_discreet", False):
            discreet(self)


# The one place where the client looks the class up.
DWaveAPIClient.DEFAULTS["session_class"] = _Session


def _target(session: Any, response: requests.Response) -> str | None:
    r"""Returns where a response leads, if that is the same host."""
    location = requests.Session.get_redirect_target(session, response)
    if location is None:
        return None
    here, there = response.url, urljoin(response.url, location)
    if session.should_strip_auth(here, there) or parse_url(here).host != parse_url(there).host:
        response.close()
        raise RedirectError(
            f"{_host(here)} redirects to {_host(there)} (status {response.status_code}), which is "
            "not followed, since the credentials would go along; if that is the service, make it "
            "the endpoint"
        )
    return location


def _deprecations(session: Any, response: requests.Response) -> list[Any]:
    return [
        told.model_copy(
            update={name: quoted(text) for name, text in told if isinstance(text, str)}
        )
        for told in type(session)._parse_deprecation_messages(session, response)
    ]


def _host(address: str) -> str:
    # Nothing of what else is in it, such as a password.
    parts = parse_url(address)
    port = "" if parts.port is None else f":{parts.port}"
    return quoted(f"{parts.scheme}://{parts.host}{port}", 100)
