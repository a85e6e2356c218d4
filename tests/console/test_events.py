"""One stream for all who look on: bounded, never waiting for anybody, and over when told to be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from starlette.requests import Request
from waiting import wait_until_async

from gateway.console.events import Events, TooManyListeners

Message = MutableMapping[str, Any]


class Listener:
    """A page that reads the stream as an ASGI server would hand it over."""

    def __init__(self, events: Events, *, reads: bool = True) -> None:
        self.got = b""
        self._reads = asyncio.Event()
        self._gone = asyncio.Event()
        if reads:
            self._reads.set()
        self.task = asyncio.create_task(self._listen(events))

    async def _listen(self, events: Events) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        response = await events.answer(Request(scope))
        with contextlib.suppress(OSError):
            await response(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._reads.wait()
        self.got += message.get("body", b"")

    def leave(self) -> None:
        self._gone.set()


class Stage:
    """Events whose snapshots are numbers."""

    def __init__(self, most: int) -> None:
        self.made = 0
        self.closing = False
        self.events = Events(self._snapshot, lambda: self.closing, most)

    async def _snapshot(self) -> bytes:
        self.made += 1
        return str(self.made).encode()


@contextlib.asynccontextmanager
async def staged(most: int = 3) -> AsyncIterator[Stage]:
    stage = Stage(most)
    keeper = asyncio.create_task(stage.events.run())
    try:
        yield stage
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


def test_all_listeners_get_the_same_snapshots_at_once_and_each_second() -> None:
    async def plays() -> None:
        async with staged() as stage:
            listeners = [Listener(stage.events), Listener(stage.events)]
            await wait_until_async(lambda: all(b"data: 4\n\n" in one.got for one in listeners))
            # One at once for each; one more for both with each tick.
            assert stage.made <= 5
            assert listeners[0].got.startswith(b"retry: ")
            assert b"event: snapshot\ndata: 1\n\n" in listeners[0].got
            for one in listeners:
                one.leave()
            await asyncio.gather(*(one.task for one in listeners))
            assert stage.events.listeners == 0

    asyncio.run(plays())


def test_nothing_is_made_while_nobody_listens() -> None:
    async def plays() -> None:
        async with staged() as stage:
            listener = Listener(stage.events)
            await wait_until_async(lambda: stage.made == 2)
            listener.leave()
            await listener.task
            made = stage.made
            other = Stage(1)
            keeper = asyncio.create_task(other.events.run())
            ticking = Listener(other.events)
            await wait_until_async(lambda: other.made == 4)
            assert stage.made == made
            ticking.leave()
            await ticking.task
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    asyncio.run(plays())


def test_one_too_many_is_told_to_come_back() -> None:
    async def plays() -> None:
        async with staged(most=2) as stage:
            kept = [Listener(stage.events), Listener(stage.events)]
            await wait_until_async(lambda: all(one.got for one in kept))
            with pytest.raises(TooManyListeners, match="2 pages listen already"):
                await Listener(stage.events).task
            kept[0].leave()
            await kept[0].task
            after = Listener(stage.events)
            await wait_until_async(lambda: after.got)
            for one in (kept[1], after):
                one.leave()
                await one.task

    asyncio.run(plays())


def test_who_does_not_read_makes_nobody_wait_and_nothing_grow() -> None:
    async def plays() -> None:
        async with staged() as stage:
            stuck = Listener(stage.events, reads=False)
            reading = Listener(stage.events)
            await wait_until_async(lambda: b"data: 5\n\n" in reading.got)
            stuck._reads.set()
            await wait_until_async(lambda: stuck.got.count(b"data: ") == 2)
            # Of what came meanwhile the newest alone.
            assert b"data: 3\n\n" not in stuck.got
            for one in (stuck, reading):
                one.leave()
                await one.task

    asyncio.run(plays())


def test_streams_end_when_the_gateway_ends() -> None:
    async def plays() -> None:
        async with staged() as stage:
            listener = Listener(stage.events)
            await wait_until_async(lambda: listener.got)
            stage.closing = True
            await listener.task
            assert stage.events.listeners == 0
            late = Listener(stage.events)
            await late.task
            assert b"data" not in late.got

    asyncio.run(plays())


def test_a_stream_that_nobody_ever_read_is_no_listener_for_ever() -> None:
    async def plays() -> None:
        async with staged() as stage:
            listener = Listener(stage.events, reads=False)
            await wait_until_async(lambda: stage.events.listeners == 1)
            listener.task.cancel()
            await asyncio.gather(listener.task, return_exceptions=True)
            assert stage.events.listeners == 0

    asyncio.run(plays())
