"""HTTP connections: uvicorn's, with a short way for POST /predict and bounds on slow callers.

A request to that path is handed over as soon as its body is whole, without a task, an ASGI scope
or events; everything else is uvicorn's. The server looks at all of them by one clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import BodyTooLarge
from gateway.web.errors import error_body
from gateway.web.headers import LINES
from gateway.web.predict import PATH, Predict


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection may take: seconds in each state, and the size of a request's head."""

    idle: float = 75.0
    head: float = 10.0
    body: float = 60.0
    #: While its request is computed it waits for us.
    answer: float = inf
    #: For a refused caller to read why; what it still sends is thrown away.
    linger: float = 5.0
    #: For a caller to read on, while answers wait in memory.
    unread: float = 60.0
    head_bytes: int = 64 * 1024
    fields: int = 256
    #: At once, all together.
    connections: int = 10_000


_PATH = PATH.encode()
_STATUS = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


class _Nobody:
    """Nobody waits for a direct request's events: each is acted upon at once."""

    def set(self) -> None:
        pass


class DirectCycle:
    """One request to `Predict` and its response, with what uvicorn's protocol asks of a cycle."""

    __slots__ = (
        "_connection",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, connection: Connection, keep_alive: bool) -> None:
        self._connection = connection
        self.body = bytearray()
        self.more_body = True
        self.message_event = _NOBODY
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Write the response whole, and be ready for the next request."""
        self.response_complete = True
        if self.disconnected:
            return
        connection = self._connection
        last = self.more_body or not self.keep_alive or connection.ending()
        connection.transport.write(
            b"%scontent-type: application/json\r\ncontent-length: %d\r\n%s%s\r\n%s"
            % (
                _STATUS[status],
                len(body),
                lines,
                b"connection: close\r\n" if last else b"",
                body,
            )
        )
        if self.more_body:
            connection.linger()
            return
        if last:
            connection.transport.close()
        connection.on_response_complete()


_NOBODY = _Nobody()


class Connection(HttpToolsProtocol):
    """One connection. `state` names its bound in time, and `since` is when it began."""

    #: Set by `connections_to`.
    predict: Predict
    ending: Callable[[], bool]
    bounds: Bounds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._now = self.loop.time
        self.since, self.state = self._now(), "idle"
        self._head_bytes = 0
        self._unread_since: float | None = None
        self.predict.metrics.connections.inc()
        if len(self.connections) > self.bounds.connections:
            message = f"{self.bounds.connections} connections are open, which is the bound"
            self._refuse(503, "unavailable", message, "connections")
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.predict.metrics.connections.dec()
        self._let_go()

    def _let_go(self) -> None:
        """Give back what came; the connection itself waits for a far-off garbage collection."""
        self.headers = []
        cycle: Any = self.cycle
        if type(cycle) is DirectCycle:
            cycle.body = bytearray()

    # From the parser

    def data_received(self, data: bytes) -> None:
        if self.state == "linger":
            return
        super().data_received(data)
        if self.state == "head":
            self._head_bytes += len(data)
            if self._head_bytes > self.bounds.head_bytes:
                message = f"the head is larger than {self.bounds.head_bytes} bytes"
                self._refuse(431, "too_large", message, "too_large")

    def on_message_begin(self) -> None:
        # The scope is made when it is known to be needed.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.since, self.state, self._head_bytes = self._now(), "head", 0

    def on_headers_complete(self) -> None:
        if len(self.headers) > self.bounds.fields:
            message = f"more than {self.bounds.fields} header fields"
            self._refuse(431, "too_large", message, "too_large")
        if self.state == "linger":
            return
        self.state = "body"
        parser = self.parser
        if (
            self.url == _PATH
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and (self.cycle is None or self.cycle.response_complete)
        ):
            self.cycle = DirectCycle(self, parser.should_keep_alive())  # type: ignore[assignment]
            return
        url, headers, expects, since = self.url, self.headers, self.expect_100_continue, self.since
        super().on_message_begin()
        self.url, self.expect_100_continue, self.since = url, expects, since
        self.headers += headers
        super().on_headers_complete()
        if self.cycle is not None and self.ending():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if type(cycle) is not DirectCycle:
            super().on_body(body)
            return
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > self.predict.most_bytes:
            error = BodyTooLarge(f"at most {self.predict.most_bytes} bytes", where="body")
            self.predict.refuse(error, cycle.respond)

    def on_message_complete(self) -> None:
        if self.state == "linger":
            return
        self.state = "answer"
        cycle: Any = self.cycle
        if type(cycle) is not DirectCycle:
            super().on_message_complete()
        elif not cycle.response_complete:
            cycle.more_body = False
            self.predict.begin(self.headers, cycle.body, cycle.respond, self.client)

    # From the transport

    def pause_writing(self) -> None:
        """Answers that are not read wait in memory, so no more requests are read either."""
        self._unread_since = self._now()
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()
        if not self.pipeline:
            self.flow.resume_reading()

    # Time

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer for each response."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self.flow.write_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.since, self.state = self._now(), "idle"

    def look(self, now: float) -> None:
        """End what takes too long."""
        bounds, state = self.bounds, self.state
        if self._unread_since is not None:
            if now - self._unread_since > bounds.unread:
                self.transport.abort()
        elif now - self.since > (bound := getattr(bounds, state)) and not self._answering:
            if state in ("idle", "linger"):
                self.transport.close()
            else:
                message = f"the {state} did not come within {bound:g} s"
                self._refuse(408, "too_slow", message, "slow")

    @property
    def _answering(self) -> bool:
        """Whether a request that came whole waits for its response."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", "this is not an HTTP request", "malformed")

    def _refuse(self, status: int, kind: str, message: str, reason: str) -> None:
        """Answer what is arriving. Where another response is due first, there is only the end."""
        self.predict.metrics.refused_by[reason].inc()
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if not cycle.more_body or getattr(cycle, "response_started", False):
                self.state = "linger"
                self.transport.close()
                return
        body = error_body(kind, message, "request")
        self.transport.write(
            b"%scontent-type: application/json\r\ncontent-length: %d\r\n%s%s%s%s"
            % (
                _STATUS[status],
                len(body),
                LINES,
                b"retry-after: 1\r\n" if status == 503 else b"",
                b"connection: close\r\n\r\n",
                body,
            )
        )
        self.linger()

    def linger(self) -> None:
        """Close in a while: closed with something unread, the caller would not get its answer."""
        self.since, self.state = self._now(), "linger"
        self._let_go()
        if self.transport.can_write_eof():  # TLS has no such thing
            self.transport.write_eof()


def connections_to(
    predict: Predict, ending: Callable[[], bool], bounds: Bounds | None = None
) -> type[Connection]:
    """The class for uvicorn's `http`; once `ending()`, each response is its connection's last."""
    wired = {"predict": predict, "ending": staticmethod(ending), "bounds": bounds or Bounds()}
    return type("Connection", (Connection,), wired)
