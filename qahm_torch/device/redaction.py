r"""What others say, as it may be repeated: one line, printable, short, without credentials."""

from __future__ import annotations

__all__ = [
    "cleaned",
    "quoted",
    "redacted",
    "redacted_bytes",
    "remember",
    "remember_config",
    "tidied",
    "without_credentials",
]

import base64
import os
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

HIDDEN = "[credentials]"
# The longest piece of foreign text in a message, and the longest message.
PIECE, MESSAGE = 200, 2000
# Shorter ones are words that stand anywhere; no service gives out such a token.
SHORTEST = 4
# Part of a token with blanks in it, which is none but may be sent.
PART = 8
VARIABLES = ("DWAVE_API_TOKEN", "DWAVE_API_CLIENT_CERT_KEY")
# A credential by its name, in the forms of a header, of a keyword and of a dictionary.
NAMED = re.compile(
    r"(?P<name>(?:x-auth-token|authorization|\w*token|\w*password|client_cert\w*)['\"]?\s*[:=]\s*)"
    r"(?:b?'(?P<single>[^']*)'|b?\"(?P<double>[^\"]*)\"|(?P<bare>(?:Bearer\s+)?[^\s'\",;)}\]{\[(]+))",
    re.IGNORECASE,
)
# What a name of that kind may stand for without being one.
NOTHING = ("", "None", "null", "True", "False", HIDDEN)
PASSWORD = re.compile(r"(\b\w[\w+.-]*://)[^/\s@'\"]*@")


class _Memory:
    r"""The credentials that have been seen, in all forms that they are written in.

    They are behind a slot, where neither `vars` nor `repr` shows them.
    """

    __slots__ = ("_forms", "_lock", "_pattern")

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._lock = threading.Lock()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[Any]) -> None:
        forms = {form for secret in secrets if isinstance(secret, str) for form in _forms(secret)}
        with self._lock:
            if not forms <= self._forms:
                self._forms |= forms
                longest_first = sorted(self._forms, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def hide(self, text: str) -> str:
        # The environment may be filled at any time.
        self.add(os.environ.get(name) for name in VARIABLES)
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


_MEMORY = _Memory()


def remember(*secrets: Any) -> None:
    r"""Keeps credentials in mind, so that no message repeats them; what is no text is left out."""
    _MEMORY.add(secrets)


def remember_config(config: Any) -> None:
    r"""Keeps in mind what is secret in the configuration of a client of D-Wave's service.

    Arguments:
        config: A mapping or an object with `token`, `headers`, `proxy` and `endpoint`.
    """
    told = config if isinstance(config, Mapping) else vars(config)
    headers = told.get("headers")
    remember(told.get("token"), *(headers.values() if isinstance(headers, Mapping) else ()))
    for address in (told.get("proxy"), told.get("endpoint")):
        if isinstance(address, str) and "@" in address:
            remember(urlsplit(address).password)


def redacted(text: str) -> str:
    r"""Returns a text without the credentials that are known."""
    return _MEMORY.hide(text)


def redacted_bytes(data: bytes) -> bytes:
    r"""Returns bytes without the credentials that are known."""
    return redacted(data.decode("latin-1")).encode("latin-1")


def without_credentials(text: str) -> str:
    r"""Returns a text without credentials, known ones and those that are called so in it.

    The latter are known from then on.

    Example:
        >>> without_credentials("{'endpoint': 'https://host', 'X-Auth-Token': 'ABC-0123456789'}")
        "{'endpoint': 'https://host', 'X-Auth-Token': [credentials]}"
    """

    def hide(match: re.Match[str]) -> str:
        value = next(v for v in match.group("single", "double", "bare") if v is not None)
        if value in NOTHING:
            return match[0]
        if len(value) >= PART:
            remember(value.removeprefix("Bearer "))
        return f"{match['name']}{HIDDEN}"

    return redacted(PASSWORD.sub(rf"\1{HIDDEN}@", NAMED.sub(hide, text)))


def cleaned(text: str, limit: int | None = MESSAGE) -> str:
    r"""Returns a text on one line, printable and without the credentials that are known.

    What a terminal would obey, and what would end a line, is written as an escape. What is beyond
    the limit is left out.

    Example:
        >>> print(cleaned("\x1b[31mno such solver\nfatal: all is lost"))
        \x1b[31mno such solver\nfatal: all is lost
    """
    # Whatever is cut is cut after that: half a token is one too many.
    plain = redacted(text)
    if not plain.isprintable():
        plain = redacted("".join(c if c.isprintable() else _escaped(c) for c in plain))
    return plain if limit is None or len(plain) <= limit else f"{plain[: limit - 3]}..."


def quoted(what: Any, limit: int = PIECE) -> str:
    r"""Returns what a service has said, whatever it is, as a piece of a message.

    Example:
        >>> quoted({"code": 7})
        "{'code': 7}"
    """
    return cleaned(what if isinstance(what, str) else _shown(what), limit)


def tidied(values: Any) -> dict[str, Any] | None:
    r"""Returns the numbers, texts and lists of numbers of a mapping; None for anything else.

    Example:
        >>> tidied({"version": "1.0.0", "times": [1.0, 2.0], "more": {"a": 1}})
        {'version': '1.0.0', 'times': [1.0, 2.0]}
    """
    if not isinstance(values, Mapping):
        return None
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or isinstance(value, (int, float)):
            kept[quoted(name)] = value
        elif isinstance(value, str):
            kept[quoted(name)] = quoted(value)
        elif isinstance(value, (list, tuple)):
            kept[quoted(name)] = [v for v in value if isinstance(v, (int, float))]
    return kept


def _shown(what: Any) -> str:
    try:
        return str(what)
    except Exception:
        return f"a {type(what).__name__}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _forms(secret: str) -> set[str]:
    r"""Returns how a secret is written in texts, headers, addresses and representations."""
    parts = {secret, secret.strip(), *(p for p in secret.split() if len(p) >= PART)}
    forms = set(parts)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        forms |= {repr(part)[1:-1], ascii(part)[1:-1], repr(data)[2:-1], quote(data, safe="")}
        forms |= {base64.b64encode(data).decode().rstrip("=")}
    return {form for form in forms if len(form) >= SHORTEST}
