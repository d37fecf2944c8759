r"""Finding a solver of the cloud service by D-Wave's client, within a deadline."""

from __future__ import annotations

__all__ = ["connected", "renewed"]

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

from dwave.cloud import events

from qahm_torch.device.discreet import RedirectError, discreet, discreetly
from qahm_torch.device.errors import (
    AnnealerError,
    CredentialsError,
    DeadlineError,
    DeviceOfflineError,
    ServiceError,
)
from qahm_torch.device.line import Line, OversizeError
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.device.quiet_logs import hush
from qahm_torch.device.redaction import quoted, remember_config
from qahm_torch.device.transport import retry_after

# Patience of D-Wave's client while it looks for a solver; its own defaults add up to 10 minutes.
# Its cache knows a chip for an hour as it was, which refuses problems if it has changed since.
CLIENT_DEFAULTS = {"request_timeout": 10, "http_retry_total": 2, "cache_enabled": False}
# The description of all solvers of a service, in bytes: each has a few millions at most.
LARGEST = 2**26
# What may pass: the service is busy, or was not reached.
FOR_NOW = (429, 500, 502, 503, 504)
# Broken by what will not change.
LASTING = (
    "SSLError",
    "ResourceBadResponseError",
    "InvalidAPIResponseError",
    "InvalidHeader",
    "OversizeError",
)
# What a `DWaveSampler` has worked out of its solver, in whatever version.
LEARNED = ("_properties", "_parameters", "_nodelist", "_edgelist", "_adjacency")


def connected(
    kind: Any, arguments: dict[str, Any], name: str, policy: RetryPolicy, clock: Clock
) -> Any:
    r"""Returns a `DWaveSampler` that has found its solver.

    Where the service is busy or not reached, it is asked again, since looking costs nothing. Of
    an attempt that fails, the threads of its client and its sockets go with it.

    Arguments:
        kind: The class.
        arguments: Its keywords.
        name: What it is called in messages.
        policy: Retries.
        clock: The deadline.

    Raises:
        AnnealerError: If there is none.
    """

    def attempt() -> Any:
        with discreetly(), _Opening(clock, policy):
            return kind(**{**CLIENT_DEFAULTS, **arguments})

    return _persist(attempt, name, policy, clock)


def renewed(sampler: Any, policy: RetryPolicy, clock: Clock) -> Any:
    r"""Returns a copy of a `DWaveSampler` on a solver that is online now, as it is now.

    It has what was asked for when the sampler was made, and is the same one if that is online.

    Raises:
        AnnealerError: If there is none.
    """
    filters = copy.deepcopy(dict(sampler.client.config.solver or {}))
    order = filters.pop("order_by", "avg_load")

    def attempt() -> Any:
        with _on_line(sampler.client, clock, policy):
            found = sampler.client.get_solvers(refresh=True, order_by=order, **filters)
        return sorted(found, key=lambda solver: solver.name != sampler.solver.name)

    found = _persist(attempt, type(sampler).__name__, policy, clock)
    if not found:
        raise _none_fits(type(sampler).__name__)
    fresh = copy.copy(sampler)
    for name in LEARNED:
        vars(fresh).pop(name, None)
    fresh.solver = found[0]
    return fresh


def _persist(attempt: Callable[[], Any], name: str, policy: RetryPolicy, clock: Clock) -> Any:
    r"""Returns what an attempt does, which is made again while its failure may pass."""
    tries = 0
    hush()
    while True:
        try:
            return attempt()
        except Exception as error:
            problem, wait = _explained(error, name), _wait(error)
        if clock.left <= 0:
            problem = DeadlineError(
                f"the device was not opened within {clock.timeout:g} s: {problem}. Try again later"
            )
            wait = None
        if wait is None or tries >= policy.retries:
            # Outside of the handler: the client's error holds the request with its credentials.
            raise problem
        clock.sleep(policy.pause(tries, wait))
        tries += 1


def _wait(error: Exception) -> float | None:
    r"""Returns the seconds that a failure asks to wait, None if it will not pass."""
    code = getattr(error, "error_code", None)
    if code in FOR_NOW:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        return retry_after(headers.get("Retry-After")) or 0.0
    is_broken = code is None and isinstance(error, OSError)
    return 0.0 if is_broken and type(error).__name__ not in LASTING else None


class _Opening:
    r"""A client that this thread is making: it is on a line, and is closed if that fails."""

    def __init__(self, clock: Clock, policy: RetryPolicy):
        self.clock = clock
        self.policy = policy
        self.client: Any = None
        self._off_line = contextlib.ExitStack()

    def take(self, client: Any) -> None:
        self.client = client
        self._off_line.enter_context(_on_line(client, self.clock, self.policy))

    def __enter__(self) -> _Opening:
        _HERE.opening = self
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        _HERE.opening = None
        self._off_line.close()
        if kind is not None and self.client is not None:
            self.client.close(wait=True)  # there are no jobs, and its threads are waited for


_HERE = threading.local()


def _on_new_client(event: str, obj: Any, exception: object = None, **_: Any) -> None:
    opening = getattr(_HERE, "opening", None)
    if opening is not None and exception is None:
        opening.take(obj)


def _on_client_to_be(event: str, args: Any, **_: Any) -> None:
    remember_config(args.get("kwargs") or {})


events.add_handler("before_client_init", _on_client_to_be)
# The client tells of each that is made, and there is no other way to one that finds no solver.
events.add_handler("after_client_init", _on_new_client)


@contextlib.contextmanager
def _on_line(client: Any, clock: Clock, policy: RetryPolicy) -> Iterator[None]:
    r"""Lets a client look for solvers on a line."""
    session = discreet(client.solvers_session.session)
    before = dict(session.adapters)
    silence = client.config.request_timeout
    timeout = silence if isinstance(silence, (int, float)) else policy.request_timeout
    line = Line(clock, timeout, LARGEST)
    for scheme in before:
        session.mount(scheme, line)
    try:
        yield
    finally:
        line.close()
        session.adapters.update(before)


def _none_fits(name: str) -> DeviceOfflineError:
    return DeviceOfflineError(
        f"{name}: there is no solver online that fits the request; `dwave solvers` lists those "
        "there are"
    )


def _explained(error: Exception, name: str) -> AnnealerError:
    from dwave.cloud import exceptions

    kind = type(error).__name__
    is_refused = isinstance(error, exceptions.SolverAuthenticationError) or kind in (
        "ResourceAuthenticationError",
        "ResourceAccessForbiddenError",
        "InvalidHeader",
        "ValidationError",
    )
    # What an older requests lets through, http.client refuses.
    if is_refused or (isinstance(error, ValueError) and "Invalid header value" in str(error)):
        return CredentialsError(
            f"{name}: the service does not accept the credentials ({kind}); check them with "
            "`dwave ping`. A token that was read from a file may end with a line break"
        )
    if isinstance(error, ValueError) and "not defined" in str(error):
        return CredentialsError(
            f"{name}: {error}; put the credentials into D-Wave's own configuration with "
            "`dwave config create`, or DWAVE_API_TOKEN into the environment"
        )
    if isinstance(error, RedirectError):
        return ServiceError(f"{name}: {error}")
    if isinstance(error, OversizeError):
        return ServiceError(f"{name}: {error}; check the endpoint")
    if isinstance(error, exceptions.SolverNotFoundError):
        return _none_fits(name)
    code = getattr(error, "error_code", None)
    if code is not None:
        return ServiceError(
            f"{name}: the service answered with status {quoted(code, 40)}; check the endpoint, or "
            "try again later"
        )
    if kind in ("ResourceBadResponseError", "InvalidAPIResponseError"):
        return ServiceError(f"{name}: the answer is not of the cloud protocol; check the endpoint")
    if isinstance(error, OSError):
        return DeviceOfflineError(
            f"{name}: the service cannot be reached ({kind}); check the network and the endpoint"
        )
    return AnnealerError(f"{name}: the device cannot be opened ({kind}); check its init_args")
