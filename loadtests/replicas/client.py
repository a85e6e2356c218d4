"""A client that asks replicas as fast as they answer, over connections that stay open."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles

import uvloop

USERS = 20_000
_COLUMNS = 30


def requests(count: int = 5_000) -> list[bytes]:
    """Whole requests of as many users who return, a row of 30 numbers each."""
    found = []
    for number in range(count):
        row = [round((number * 31 + k * 17) % 997 / 7, 4) for k in range(_COLUMNS)]
        body = json.dumps({"instances": [row]}, separators=(",", ":")).encode()
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-User-Id: user-{number % USERS}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


@dataclass
class Load:
    """What came of it. Times in seconds."""

    answered: int = 0
    refused: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    @property
    def p99(self) -> float:
        return quantiles(self.times, n=100)[-1]


def load(
    ports: Sequence[int],
    connections: int,
    seconds: float,
    asked: Sequence[bytes],
    rest: float = 0.0,
) -> Load:
    """Ask all of them at the same time for so long; `connections` in all, shared out.

    Each rests for so many seconds before it asks again.
    """
    return uvloop.run(_load(ports, connections, seconds, asked, rest))


async def _load(
    ports: Sequence[int], connections: int, seconds: float, asked: Sequence[bytes], rest: float
) -> Load:
    found = Load()
    turns = itertools.cycle(asked)
    begun = time.perf_counter()
    until = begun + seconds

    async def ask(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.perf_counter()) < until:
            writer.write(next(turns))
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length:") + 15
            await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            if head.startswith(b"HTTP/1.1 200"):
                found.answered += 1
                found.times.append(time.perf_counter() - sent)
            else:
                found.refused += 1
            if rest:
                await asyncio.sleep(rest)
        writer.close()

    await asyncio.gather(*(ask(ports[number % len(ports)]) for number in range(connections)))
    found.seconds = time.perf_counter() - begun
    return found
