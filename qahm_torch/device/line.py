r"""One connection to the service, which a deadline cuts and no body can flood."""

from __future__ import annotations

__all__ = ["Line", "OversizeError"]

import contextlib
import functools
import math
import socket
import threading
import zlib
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from qahm_torch.device.patience import Clock

MOMENT = 0.01  # seconds; a timeout of zero would be none
PIECE = 65536  # bytes of a body that are read at a time


class OversizeError(requests.RequestException):
    r"""A body is larger than anything that was asked for."""


class Line(HTTPAdapter):
    r"""The adapter of a session that makes one request at a time, each within a time of its own.

    A socket's own timeout starts anew with each byte, so that headers or a body in drops, or
    `100 Continue` without end, outlast any. Here a timer shuts the socket itself down, in whatever
    the request is caught: the handshake, sending, headers or body. Only the resolver of names
    cannot be cut; it has the patience of the system.

    Bodies are read here and nowhere else, and are expanded as they come: one that expands beyond
    the limit is left at the limit, however small it was on the way. Nothing is repeated here:
    what has been sent twice would be hidden.

    Arguments:
        clock: The deadline of all requests.
        timeout: The seconds for which the service may be silent.
        max_bytes: The largest body, expanded.

    Attributes:
        clock, timeout: As given; they may be changed between requests.
        limit: The seconds for a request as a whole; infinite, or what was set.
        has_sent: Whether anything of the last request may have left for the service.
        is_cut: Whether the last request was cut, since its time was over.
        body: What has come of the body of the last request, if it was answered with success.
    """

    def __init__(self, clock: Clock, timeout: float, max_bytes: int):
        self.clock = clock
        self.timeout = timeout
        self.limit = math.inf
        self.max_bytes = max_bytes
        self.has_sent = False
        self.is_cut = False
        self.body = bytearray()
        self._handles: dict[socket.socket, Any] = {}
        self._lock = threading.Lock()
        super().__init__(max_retries=0)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        r"""Sends a request and returns the answer, whose body has been read.

        Raises:
            requests.Timeout: If it was cut.
            OversizeError: If the body is too large.
            requests.RequestException, urllib3.exceptions.HTTPError, OSError: If it fails.
        """
        request.headers["Accept-Encoding"] = "gzip, deflate"
        self.has_sent = self.is_cut = False
        self.body = bytearray()
        seconds = max(MOMENT, min(self.limit, self.clock.left))
        timeout = min(self.timeout, seconds)
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        failure: Exception | None = None
        try:
            response = self._received(request, *args, **{**kwargs, "timeout": timeout})
        except Exception as error:
            failure = error
        finally:
            timer.cancel()
            timer.join()
        if self.is_cut:
            # Even a body that seems whole may end where it was cut.
            raise requests.Timeout(f"a request took more than {seconds:.3g} s")
        if failure is not None:
            raise failure
        return response

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._tap(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        known = set(self.proxy_manager)
        manager = super().proxy_manager_for(*args, **kwargs)
        if set(self.proxy_manager) != known:
            self._tap(manager)
        return manager

    def close(self) -> None:
        r"""Closes all connections."""
        super().close()
        # The adapter's own pools are closed once nobody refers to them; an error may for long.
        for connection in list(self._handles.values()):
            connection.close()

    def hold(self, connection: Any, sock: socket.socket) -> socket.socket:
        r"""Returns a second handle of a socket, by which it is shut down when time is up.

        The socket itself may be wrapped, detached or closed meanwhile.
        """
        handle = sock.dup()
        with self._lock:
            self._handles[handle] = connection
            if self.is_cut:
                _shut(handle)
        return handle

    def drop(self, handle: socket.socket | None) -> None:
        r"""Forgets a socket that is closed."""
        if handle is not None:
            with self._lock:
                self._handles.pop(handle, None)
                handle.close()

    def _cut(self) -> None:
        with self._lock:
            self.is_cut = True
            for handle in self._handles:
                _shut(handle)

    def _received(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **{**kwargs, "stream": True})
        try:
            if response.ok:
                _fill(self.body, response, self.max_bytes)
                response._content = bytes(self.body)
            else:
                response._content = bytes(_fill(bytearray(), response, self.max_bytes))
        except BaseException:
            response.close()
            raise
        response._content_consumed = True  # type: ignore[attr-defined]
        return response

    def _tap(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            scheme: functools.partial(_tapped(pool), line=self)
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }


class _Tapped:
    r"""What a connection does more on a line: it hands over its socket, and tells if it sends."""

    def __init__(self, *args: Any, line: Line, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.line = line
        self.handle: socket.socket | None = None

    def _new_conn(self) -> Any:
        sock = super()._new_conn()  # type: ignore[misc]
        self.handle = self.line.hold(self, sock)
        return sock

    def send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        self.line.has_sent = True
        super().send(data)  # type: ignore[misc]

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            self.line.drop(self.handle)
            self.handle = None


@functools.cache
def _tapped(pool: Any) -> Any:
    r"""Returns a class of pools whose connections are on a line."""
    connection = type("TappedConnection", (_Tapped, pool.ConnectionCls), {})
    return type("TappedPool", (pool,), {"ConnectionCls": connection})


def _shut(handle: socket.socket) -> None:
    # It may be gone already, from the other side.
    with contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


def _fill(body: bytearray, response: requests.Response, max_bytes: int) -> bytearray:
    r"""Writes into `body` what comes of an answer, expanded as far as it may go."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise requests.exceptions.ContentDecodingError("a body is in a coding nobody asked for")
    expander = zlib.decompressobj(47) if coding not in ("identity", "") else None
    while piece := response.raw.read(PIECE, decode_content=False):
        # At least one byte more than there may be, since zero would mean no limit.
        body += (
            piece if expander is None else _expanded(expander, piece, max_bytes + 1 - len(body))
        )
        if len(body) > max_bytes:
            raise OversizeError(f"its answer has more than {max_bytes} bytes")
    if expander is not None and body and not expander.eof:
        raise requests.exceptions.ContentDecodingError("a body ends too early")
    return body


def _expanded(expander: Any, piece: bytes, max_bytes: int) -> bytes:
    try:
        expanded: bytes = expander.decompress(piece, max_bytes)
    except zlib.error:
        pass
    else:
        return expanded
    raise requests.exceptions.ContentDecodingError("a body cannot be expanded")
