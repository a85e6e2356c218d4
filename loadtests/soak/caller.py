"""One keep-alive connection to a gateway, and what comes of each request on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loadtests.answers import BadAnswer, said
from loadtests.soak.ledger import (
    CUT_OFF,
    NO_RETRY_AFTER,
    NOT_CONNECTED,
    SILENT,
    Outcome,
    digest,
)

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Question:
    """A request as it goes over the wire."""

    rows: int
    message: bytes


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def question(body: Mapping[str, Any], headers: Mapping[str, str]) -> Question:
    content = json.dumps(body, separators=(",", ":")).encode()
    lines = [
        "POST /predict HTTP/1.1",
        "Host: gateway",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return Question(len(body["instances"]), "\r\n".join(lines).encode() + b"\r\n\r\n" + content)


class Caller:
    """Connects when it must, and again after the connection was lost."""

    def __init__(self, port: int, clock: Callable[[], float]) -> None:
        self._port = port
        self._clock = clock
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, asked: Question, *, pieces: int = 1, seconds: float = 0.0) -> Outcome:
        """The outcome, whatever it is; sent in so many pieces over so many seconds."""
        begun = self._clock()
        reply: _Reply | None = None
        try:
            reader, writer = await self.connect()
        except OSError:
            return Outcome(begun, self._clock(), asked.rows, 0, NOT_CONNECTED)
        cause = CUT_OFF
        try:
            await _send(writer, asked.message, pieces, seconds)
            async with asyncio.timeout(_ANSWER_SECONDS):
                reply = await _read(reader)
        except TimeoutError:
            cause = SILENT
        except (OSError, EOFError, ValueError):
            cause = CUT_OFF
        if reply is None or reply.headers.get("connection") == "close":
            await self.close()
        if reply is None:
            return Outcome(begun, self._clock(), asked.rows, 0, cause)
        return _outcome(reply, asked.rows, begun, self._clock())

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection there is, if the gateway has not ended it; else a new one."""
        if self._streams is not None and not self._streams[0].at_eof():
            return self._streams
        await self.close()
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()


async def _send(writer: asyncio.StreamWriter, message: bytes, pieces: int, seconds: float) -> None:
    size = len(message) // pieces + 1
    for start in range(0, len(message), size):
        if start:
            await asyncio.sleep(seconds / pieces)
        writer.write(message[start : start + size])
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> _Reply:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    return _Reply(int(first.split(" ")[1]), body, headers)


def _outcome(reply: _Reply, rows: int, asked: float, ended: float) -> Outcome:
    headers = reply.headers
    identity = headers.get("gateway-request-id", "")
    if reply.status != 200:
        cause = _error_type(reply.body)
        if reply.status == 503 and "retry-after" not in headers:
            cause = NO_RETRY_AFTER
        return Outcome(asked, ended, rows, reply.status, cause, identity)
    try:
        answer = said(reply.status, reply.body, headers.get("gateway-commit"), rows)
    except BadAnswer as error:
        return Outcome(asked, ended, rows, 200, str(error), identity)
    cause = (
        "" if answer.request_id == identity else f"header and body name two requests: {identity}"
    )
    total = sum(digest(at, msgspec.json.encode(each)) for at, each in enumerate(answer.predictions))
    branch, commit = sys.intern(answer.branch), sys.intern(answer.commit)
    return Outcome(asked, ended, rows, 200, cause, answer.request_id, branch, commit, total)


def _error_type(body: bytes) -> str:
    try:
        kind: str = json.loads(body)["error"]["type"]
    except (ValueError, KeyError, TypeError):
        return f"an error of another form: {body[:200]!r}"
    return kind
