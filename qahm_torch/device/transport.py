r"""Requests to the cloud service, one at a time, each within its deadline."""

from __future__ import annotations

__all__ = ["Transport", "Trouble", "retry_after"]

import contextlib
import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from qahm_torch.device.errors import CredentialsError, RejectedError, ServiceError
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.device.quiet_logs import hush
from qahm_torch.device.redaction import redacted_bytes

if TYPE_CHECKING:
    import requests
    from dwave.system import DWaveSampler

    from qahm_torch.device.line import Line

MEDIA = "application/vnd.dwave.sapi."
NOT_JSON = object()
BEGINNING = 65536  # bytes that are kept of a flood


class Trouble(Exception):  # noqa: N818
    r"""A request that gave nothing to go on with; never leaves the conversation."""

    def __init__(
        self,
        what: str,
        status: int | None = None,
        *,
        left: bool = True,
        wait: float | None = None,
        is_told: bool = False,
        is_flood: bool = False,
        is_elsewhere: bool = False,
    ):
        super().__init__(what)
        self.status = status  # of the answer, if there was one
        self.left = left  # False if not a byte of the request has left for the service
        self.wait = wait  # seconds, where the service asks for patience
        self.is_told = is_told  # whether the status is in the body, too, in the service's own form
        self.is_flood = is_flood  # whether there was more than can be an answer
        self.is_elsewhere = is_elsewhere  # whether the service sends to another host


class Transport:
    r"""Speaks to the service for one conversation, over one connection of its own.

    Nothing of it is left once it is closed: no socket, and no thread at any time.

    Arguments:
        sampler: The sampler, which gives credentials, endpoint and proxies.
        policy: Deadlines and retries.
        name: What the device is called in messages.
        max_bytes: The largest answer that is read, expanded.
    """

    def __init__(self, sampler: DWaveSampler, policy: RetryPolicy, name: str, max_bytes: int):
        self.sampler = sampler
        self.policy = policy
        self.name = name
        self.max_bytes = max_bytes
        self._session: requests.Session | None = None
        self._last: tuple[str | None, bytes] = (None, b"")
        self._unread: dict[str, bytes] = {}

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self.hang_up()
        if error is not None and self._unread:
            unread = {name: redacted_bytes(body) for name, body in self._unread.items()}
            error.unread = unread  # type: ignore[attr-defined]

    def doubt(self) -> None:
        r"""Keeps what came last, since it cannot be used: it goes along with the error at the end.

        Of each kind of answer the longest is kept, which has lost the least on its way.
        """
        name, body = self._last
        if name is not None and len(body) > len(self._unread.get(name, b"")):
            self._unread[name] = body

    def hang_up(self) -> None:
        r"""Closes the connection; the next request opens another."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def persist(
        self,
        method: str,
        path: str,
        media: str,
        clock: Clock,
        problem_id: str | None = None,
        patience: float = 0.0,
        body_time: float = 0.0,
        **content: Any,
    ) -> Any:
        r"""Returns the body of a request that may be repeated, trying until the deadline."""
        attempt, why = 0, "there was no answer"
        while True:
            clock.check(why, problem_id)
            try:
                body = self.request(
                    method, path, media, clock, content, patience, body_time, problem_id
                )
                if isinstance(body, list if media == "problems" else dict):
                    return body
                self.doubt()
                raise Trouble("its answer is not of the expected kind")
            except Trouble as error:
                trouble = error
            why = f"{trouble}, and there was no answer"
            # A problem that has been accepted is worth all the time there is.
            is_known = problem_id is None or trouble.is_flood or trouble.is_elsewhere
            is_lasting = is_known or trouble.status == 404
            if attempt >= self.policy.retries and is_lasting:
                known = "" if is_known else f", it does not know problem {problem_id}"
                message = f"{self.name}: {trouble}{known}; try again later"
                raise ServiceError(message, problem_id)
            self.pause(attempt, trouble, clock)
            attempt += 1

    def pause(self, attempt: int, trouble: Trouble, clock: Clock) -> None:
        r"""Waits before the next attempt, as `RetryPolicy.pause` says."""
        clock.sleep(self.policy.pause(attempt, trouble.wait))

    def request(
        self,
        method: str,
        path: str,
        media: str,
        clock: Clock,
        content: Mapping[str, Any],
        patience: float = 0.0,
        body_time: float = 0.0,
        problem_id: str | None = None,
    ) -> Any:
        r"""Makes one request and returns the body of the answer, if it is one.

        Arguments:
            method: What is asked for.
            path: Of what.
            media: The kind of the answer.
            clock: The deadline, beyond which the request is cut.
            content: The rest of the request.
            patience: The seconds that the service may take beyond the time of a request.
            body_time: The least seconds that a large body may take on its way.
            problem_id: The problem it is about, for messages.

        Raises:
            CredentialsError, RejectedError: For what a repetition would not change.
            Trouble: For everything else.
        """
        import requests
        import urllib3

        from qahm_torch.device.discreet import RedirectError
        from qahm_torch.device.line import OversizeError

        session, line = self._connected(clock)
        session.set_accept(  # type: ignore[attr-defined]
            media_type=f"{MEDIA}{media}+json", accept_version="~=3.0", ask_version="3.0.0"
        )
        line.clock, line.timeout = clock, self.policy.request_timeout + patience
        line.limit = max(line.timeout, body_time)
        name = _name(method, media, problem_id)
        try:
            # No redirects, wherever they lead: nothing is to be submitted twice.
            response = session.request(method, path, allow_redirects=False, **content)
            status, headers, body = response.status_code, response.headers, response.content
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            is_flood = isinstance(error, OversizeError)
            trouble = Trouble(_cause(error), left=line.has_sent, is_flood=is_flood)
            # Of what is larger than any answer, the beginning says enough.
            self._last = (name, bytes(line.body[:BEGINNING] if is_flood else line.body))
            self.doubt()
        except RedirectError as error:
            trouble = Trouble(str(error), is_elsewhere=True)
        else:
            self._last = (name, body)
            return self._judged(method, status, body, headers, problem_id)
        self.hang_up()
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
                wait=retry_after(headers.get("Retry-After")),
                is_told=_told_status(body) == status,
            )
        content = _parsed(body)
        if content is NOT_JSON:
            self.doubt()
            raise Trouble("its answer is not JSON")
        return content

    def _connected(self, clock: Clock) -> tuple[requests.Session, Line]:
        from qahm_torch.device.discreet import discreet
        from qahm_torch.device.line import Line

        session = self._session
        if session is None:
            hush()
            session = discreet(self.sampler.client.create_session())
            new = Line(clock, self.policy.request_timeout, self.max_bytes)
            for scheme in ("http://", "https://"):
                session.mount(scheme, new)
            self._session = session
        line: Any = session.get_adapter("https://")
        return session, line


def _name(method: str, media: str, problem_id: str | None) -> str | None:
    r"""Returns what an answer is called if it may tell of a run, and else None."""
    if method == "POST":
        return "submission"
    if problem_id is None:
        return None
    return "answer" if media == "problem" else "status"


def retry_after(text: Any) -> float | None:
    r"""Returns the seconds that a Retry-After header asks for, in either of its forms.

    None where it says nothing that can be waited for.

    Example:
        >>> [retry_after(text) for text in ("2", "-1", "inf", "nan", "soon", None)]
        [2.0, 0.0, inf, None, None, None]
    """
    try:
        seconds = _seconds(str(text))
    except Exception:
        # Whatever a header can be made of; readers of dates raise many things.
        return None
    # No number is below, above or equal to NaN; who asks for ever waits for the deadline.
    return None if math.isnan(seconds) else max(0.0, seconds)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        return float(text)
    return parsedate_to_datetime(text).timestamp() - time.time()


def _told_status(body: bytes) -> int | None:
    r"""Returns the status that the service itself names in the body of an error."""
    content = _parsed(body)
    code = content.get("error_code") if isinstance(content, dict) else None
    return code if isinstance(code, int) else None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError, MemoryError):
        return NOT_JSON


def _cause(error: BaseException) -> str:
    r"""Returns what broke, in the name of the error alone: its text may quote headers."""
    from qahm_torch.device.line import OversizeError

    name = type(error).__name__
    if name == "ResourceBadResponseError":
        return "its answer is not of the cloud protocol"
    if isinstance(error, OversizeError):
        return str(error)
    return f"the connection broke ({name})"
