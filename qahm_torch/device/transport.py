r"""Requests to the cloud service, one at a time, each within its deadline."""

from __future__ import annotations

__all__ = ["REFUSED_FOR_NOW", "Transport", "Trouble"]

import contextlib
import json
import os
import queue
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qahm_torch.device.errors import CredentialsError, RejectedError, ServiceError
from qahm_torch.device.patience import Clock, RetryPolicy

if TYPE_CHECKING:
    import requests
    from dwave.system import DWaveSampler

MEDIA = "application/vnd.dwave.sapi."
# The service is too busy to take a problem, and says that it has not.
REFUSED_FOR_NOW = (429,)


class Trouble(Exception):  # noqa: N818
    r"""A request that gave nothing to go on with; never leaves the conversation."""

    def __init__(
        self, what: str, status: int | None = None, *, left: bool = True, wait: float | None = None
    ):
        super().__init__(what)
        self.status = status  # of the answer, if there was one
        self.left = left  # False if the request has not even reached the service
        self.wait = wait  # seconds, where the service asks for patience

    @property
    def may_be_taken(self) -> bool:
        r"""Whether a problem that was submitted with this request may be at the service."""
        return self.left and self.status not in REFUSED_FOR_NOW


class Transport:
    r"""Speaks to the service by the sessions of a `DWaveSampler`.

    Arguments:
        sampler: The sampler, which gives credentials, endpoint and proxies.
        policy: Deadlines and retries.
        name: What the device is called in messages.
    """

    def __init__(self, sampler: DWaveSampler, policy: RetryPolicy, name: str):
        self.sampler = sampler
        self.policy = policy
        self.name = name
        self._sessions: queue.SimpleQueue[tuple[int, requests.Session]] = queue.SimpleQueue()

    def persist(
        self,
        method: str,
        path: str,
        media: str,
        clock: Clock,
        problem_id: str | None = None,
        patience: float = 0.0,
        **content: Any,
    ) -> Any:
        r"""Returns the body of a request that may be repeated, trying until the deadline."""
        attempt, why = 0, "there was no answer"
        while True:
            clock.check(why, problem_id)
            try:
                body = self.request(method, path, media, clock, content, patience, problem_id)
                if isinstance(body, list if media == "problems" else dict):
                    return body
                raise Trouble("its answer is not of the expected kind")
            except Trouble as error:
                trouble = error
            why = f"{trouble}, and there was no answer"
            if attempt >= self.policy.retries and (problem_id is None or trouble.status == 404):
                known = "" if problem_id is None else f", it does not know problem {problem_id}"
                message = f"{self.name}: {trouble}{known}; try again later"
                raise ServiceError(message, problem_id)
            self.pause(attempt, trouble, clock)
            attempt += 1

    def pause(self, attempt: int, trouble: Trouble, clock: Clock) -> None:
        r"""Waits before the next attempt, doubling from the backoff up to 10 s.

        Longer if the service asks for it.
        """
        clock.sleep(max(min(10.0, self.policy.backoff * 2**attempt), trouble.wait or 0.0))

    def request(
        self,
        method: str,
        path: str,
        media: str,
        clock: Clock,
        content: Mapping[str, Any],
        patience: float = 0.0,
        problem_id: str | None = None,
    ) -> Any:
        r"""Makes one request and returns the body of the answer, if it is one.

        Raises:
            CredentialsError, RejectedError: For what a repetition would not change.
            Trouble: For everything else.
        """
        import requests
        import urllib3

        session = self._borrow()
        session.set_accept(  # type: ignore[attr-defined]
            media_type=f"{MEDIA}{media}+json", accept_version="~=3.0", ask_version="3.0.0"
        )
        limit = max(0.05, min(self.policy.request_timeout + patience, clock.left + 0.5))
        seen: list[requests.Response] = []
        hooks = {"response": lambda response, **_: seen.append(response)}
        try:
            # No redirects: the token would go along to wherever they lead.
            options = {"timeout": limit, "stream": True, "allow_redirects": False, "hooks": hooks}
            response = session.request(method, path, **options, **content)  # type: ignore[arg-type]
            status, headers = response.status_code, response.headers
            body = _read(response, clock)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            trouble = Trouble(_cause(error), left=not _never_left(error))
            for response in seen:
                response.close()
        else:
            self._sessions.put((os.getpid(), session))
            return self._judged(method, status, body, headers, problem_id)
        # Outside of the handler, and with the session dropped: the client's errors and sessions
        # hold the request with its credentials.
        raise trouble

    def _judged(
        self, method: str, status: int, body: bytes, headers: Any, problem_id: str | None
    ) -> Any:
        if status in (401, 403):
            raise CredentialsError(
                f"{self.name} does not accept the credentials ({status}); check them with "
                "`dwave ping`, renew them with `dwave config create`",
                problem_id,
            )
        if method == "POST" and status in (400, 404, 405, 409, 413, 422):
            raise RejectedError(
                f"{self.name} refused the problem ({status}). It was not run; change the "
                "settings or the model, or open the device anew"
            )
        if not 200 <= status < 300:
            raise Trouble(
                f"the service answered with status {status}",
                status,
                wait=_retry_after(headers.get("Retry-After")),
            )
        try:
            return json.loads(body)
        except (ValueError, RecursionError, MemoryError):
            reason = Trouble("its answer is not JSON")
        raise reason

    def _borrow(self) -> requests.Session:
        r"""Returns a session that no other thread uses, opened by this process."""
        from requests.adapters import HTTPAdapter

        with contextlib.suppress(queue.Empty):
            while True:
                pid, known = self._sessions.get_nowait()
                if pid == os.getpid():
                    return known
        session: requests.Session = self.sampler.client.create_session()
        for scheme in ("http://", "https://"):
            # Retries are ours: the client's own would hide what has been sent twice.
            session.mount(scheme, HTTPAdapter(max_retries=0))
        return session


def _read(response: requests.Response, clock: Clock) -> bytes:
    r"""Returns the body, which may come in drops but not beyond the deadline."""
    # Older versions of urllib3 have no way to see each drop.
    read = getattr(response.raw, "read1", response.raw.read)
    body = bytearray()
    while part := read(65536, decode_content=True):
        body += part
        if clock.left < -0.5:
            raise TimeoutError("the body drips")
    return bytes(body)


def _retry_after(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


def _cause(error: BaseException) -> str:
    r"""Returns what broke, in the name of the error alone: its text may quote headers."""
    name = type(error).__name__
    if name == "ResourceBadResponseError":
        return "its answer is not of the cloud protocol"
    return f"the connection broke ({name})"


def _never_left(error: BaseException | None) -> bool:
    r"""Whether a request failed before it was sent: refused, unresolved or no route."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (NewConnectionError, ConnectTimeoutError, ConnectionRefusedError)):
            return True
        seen.add(id(error))
        inner = [getattr(error, "reason", None), error.__cause__, error.__context__, *error.args]
        error = next((e for e in inner if isinstance(e, BaseException)), None)
    return False
