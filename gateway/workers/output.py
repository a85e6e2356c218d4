"""What branch code prints: read without end, kept within bounds.

Reading stops for the rest of a second when a worker prints more than a megabyte in it, so that
a flood slows the branch that makes it and not the front.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

_BYTES_A_SECOND = 1024 * 1024
_LINES_A_MINUTE = 100
_LONGEST_LINE = 1000
_TAIL_LINES = 20


class Output(asyncio.Protocol):
    """Reads one worker's stdout and stderr; `tail` is the last lines, for a report of its death."""

    def __init__(self, line: Callable[[str], None], dropped: Callable[[int], None]) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.closed = False
        self.on_close: Callable[[], None] | None = None
        self._line = line
        self._dropped = dropped
        self._transport: asyncio.ReadTransport | None = None
        self._partial = b""
        self._minute = self._second = float("-inf")
        self._lines = self._bytes = 0

    def report_to(self, line: Callable[[str], None], dropped: Callable[[int], None]) -> None:
        """From now on these are told."""
        self._line, self._dropped = line, dropped

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not by isinstance: uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._bound(now, len(data), loop)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > _LONGEST_LINE:
            lines.append(self._partial)
            self._partial = b""
        if now - self._minute >= 60:
            self._minute, self._lines = now, 0
        kept = lines[: max(0, _LINES_A_MINUTE - self._lines)]
        self._lines += len(kept)
        for line in lines[-_TAIL_LINES:]:
            self.tail.append(_text(line))
        for line in kept:
            if line.strip():
                self._line(_text(line))
        if len(lines) > len(kept):
            self._dropped(len(lines) - len(kept))

    def _bound(self, now: float, size: int, loop: asyncio.AbstractEventLoop) -> None:
        if now - self._second >= 1:
            self._second, self._bytes = now, 0
        self._bytes += size
        if self._bytes > _BYTES_A_SECOND and self._transport is not None:
            self._transport.pause_reading()
            loop.call_at(self._second + 1, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._partial:
            self.tail.append(_text(self._partial))
        self.closed = True
        if self.on_close is not None:
            self.on_close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _text(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
