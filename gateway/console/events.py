"""GET /console/events: one stream of server-sent events, the same for all who look on.

One snapshot is made a second, and only while somebody listens; whoever reads too slowly misses
some and never makes anything wait. Streams end as soon as the gateway is told to, since uvicorn
waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.errors import UnavailableError

#: Pages that listen at once.
MOST_LISTENERS = 64
#: Seconds between two snapshots, and between two looks whether the end is near.
_EVERY, _STEP = 1.0, 0.2
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class TooManyListeners(UnavailableError):
    """Try again when another page was closed."""


class _Mailbox:
    """Holds the newest snapshot until it is taken; None is the end."""

    def __init__(self) -> None:
        self._filled = asyncio.Event()
        self._content: bytes | None = None

    def put(self, content: bytes | None) -> None:
        self._content = content
        self._filled.set()

    async def take(self) -> bytes | None:
        await self._filled.wait()
        self._filled.clear()
        return self._content


class _Stream(StreamingResponse):
    """The response to one listener; `ended` is called however it ends, also before it began."""

    def __init__(self, mailbox: _Mailbox, ended: Callable[[], None]) -> None:
        super().__init__(_contents(mailbox), headers=_HEADERS, media_type="text/event-stream")
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def _contents(mailbox: _Mailbox) -> AsyncIterator[bytes]:
    # How long a browser waits by itself before it comes back.
    yield b"retry: 2000\n\n"
    while (content := await mailbox.take()) is not None:
        yield content


class Events:
    """The stream's listeners, and the keeper that fills it."""

    def __init__(
        self,
        snapshot: Callable[[], Awaitable[bytes]],
        closing: Callable[[], bool],
        most: int = MOST_LISTENERS,
    ) -> None:
        """`snapshot` is JSON on one line; `closing` says whether the gateway ends."""
        self._snapshot = snapshot
        self._closing = closing
        self._most = most
        self._listeners: set[_Mailbox] = set()

    async def run(self) -> None:
        """The keeper's body."""
        loop = asyncio.get_running_loop()
        following = loop.time()
        try:
            while True:
                await asyncio.sleep(_STEP)
                if self._closing():
                    self._tell(None)
                elif self._listeners and loop.time() >= following:
                    following = loop.time() + _EVERY
                    self._tell(event(await self._snapshot()))
        finally:
            self._tell(None)

    async def answer(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(headers=_HEADERS, media_type="text/event-stream")
        if len(self._listeners) >= self._most:
            text = f"{self._most} pages listen already, which is the bound"
            raise TooManyListeners(text, where="/console/events")
        mailbox = _Mailbox()
        self._listeners.add(mailbox)
        try:
            mailbox.put(None if self._closing() else event(await self._snapshot()))
        except BaseException:
            self._listeners.discard(mailbox)
            raise
        return _Stream(mailbox, lambda: self._listeners.discard(mailbox))

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def _tell(self, content: bytes | None) -> None:
        for mailbox in self._listeners:
            mailbox.put(content)


def event(snapshot: bytes) -> bytes:
    """A snapshot as an event of the stream."""
    return b"event: snapshot\ndata: %s\n\n" % snapshot
