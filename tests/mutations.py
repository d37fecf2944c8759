r"""Bodies of the service, changed at random: in their bytes, or in what they say as JSON."""

from __future__ import annotations

__all__ = ["mutation"]

import json
import random
from typing import Any

STRANGE: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    10**400,
    float("nan"),
    float("inf"),
    1e-320,
    "",
    "A",
    "AAAA",
    "COMPLETED",
    "\x1b[31m\n\u202e",
    "x" * 10_000,
    [],
    [[]],
    {},
    {"error_code": 429},
    {"error_code": {}},
    {"id": []},
]


def mutation(body: bytes, randomness: random.Random) -> bytes:
    r"""Returns a body with one to three changes, of bytes or of its JSON."""
    for _ in range(randomness.randint(1, 3)):
        change = randomness.choice((_bytes, _bytes, _structure, _structure, _structure))
        body = change(body, randomness)
    return body


def _bytes(body: bytes, randomness: random.Random) -> bytes:
    if not body:
        return bytes([randomness.randrange(256)])
    i, j = sorted(randomness.randrange(len(body) + 1) for _ in range(2))
    byte = bytes([randomness.randrange(256)])
    return randomness.choice(
        (
            body[:i] + byte + body[i + 1 :],
            body[:i] + body[j:],
            body[:j] + body[i:],
            body[:i],
            body[:i] + byte * randomness.choice((1, 7, 4096)) + body[i:],
        )
    )


def _structure(body: bytes, randomness: random.Random) -> bytes:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return _bytes(body, randomness)
    places = list(_places(content))
    strange = randomness.choice(STRANGE)
    if not places:
        return json.dumps(strange).encode()
    holder, key = randomness.choice(places)
    what = randomness.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = [holder[key]]
    elif what == 2:
        other, at = randomness.choice(places)
        # Of containers that were taken out by now, nothing is said any more.
        holder[key] = json.loads(json.dumps(other[at]))
    else:
        holder[key] = strange
    return json.dumps(content).encode()


def _places(content: Any) -> Any:
    r"""Yields (container, key) of all there is in a JSON value."""
    if isinstance(content, (dict, list)):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _places(content[key])
