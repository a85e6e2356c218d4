"""Twenty thousand users who come back, what became of them, and a log of all that was said.

Owns the simulated people and their connections. The log is JSON lines of what was sent and answered
and of what the team did; `experiment_recomputed` makes the experiment of it, and of it alone.

Traffic rests while weights or contents change, so that the log knows the epoch of every request;
kills come in the middle of it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import random
import signal
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO
from urllib.parse import urlsplit

from running import Gateway
from waiting import wait_until, wait_until_async

#: How long outcomes count, of every metric here, in seconds.
WINDOW = 5.0
CONNECTIONS, MOST_ITEMS = 16, 500
Item = dict[str, Any]


@dataclass(frozen=True)
class Visit:
    """One request to come. Without a unit it is nobody's; a robot's is no user's."""

    unit: str | None
    instances: list[list[float]]
    robot: bool = False


def visits(rng: random.Random, users: int, *, back: float = 0.5) -> list[Visit]:
    """Each user once, and half as many visits again of users who come back; and a few others."""
    found = []
    for number in range(users):
        times = 1 + sum(rng.random() < back / 2 for _ in range(2))
        for _ in range(times):
            rows = [[round(rng.random(), 6)] for _ in range(1 + (rng.random() < 0.3))]
            found.append(Visit(f"user-{number}", rows))
    found += [Visit(None, [[0.5]]) for _ in range(users // 100)]
    found += [Visit(f"robot-{k}", [[0.5]], robot=True) for k in range(users // 100)]
    rng.shuffle(found)
    return found


class Connection:
    """One keep-alive connection, opened where the gateway listens now."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and JSON; OSError or EOFError if the connection ends before the answer."""
        content = json.dumps(body).encode()
        head = [f"POST {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(content)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if self._streams is None:
            place = urlsplit(self._address())
            assert place.hostname is not None
            self._streams = await asyncio.open_connection(place.hostname, place.port)
        reader, writer = self._streams
        try:
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + content)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = [line.partition(":") for line in lines]
            size = next(int(v) for k, _, v in pairs if k.lower() == "content-length")
            return int(first.split(" ")[1]), json.loads(await reader.readexactly(size))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()


class World:
    """The users, those who tell what became of them, and what they all saw."""

    def __init__(self, gateway: Gateway, log: TextIO, seed: int) -> None:
        self.gateway = gateway
        self._log = log
        self._rng = random.Random(seed)
        self._up = asyncio.Event()
        self._up.set()
        self._telling = asyncio.Lock()
        self._teller = Connection(self._address)
        self._due: list[tuple[float, int, Item]] = []
        self._order = itertools.count()
        self._untold = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.lost = 0
        self.answered = 0
        self._under_way = 0

    def _address(self) -> str:
        """Where the next connection goes."""
        return self.gateway.url

    def note(self, what: str, **said: Any) -> None:
        self._log.write(json.dumps({"t": what, **said}) + "\n")

    # What the team does, while nobody asks

    async def in_force(self, weights: Mapping[str, float], commits: Mapping[str, str]) -> None:
        """Wait until these weights are in force and these commits are served; a new epoch."""

        def found() -> dict[str, Any] | None:
            status: dict[str, Any] = self.gateway.get("/branches").json()
            branches = status["branches"]
            right = all(
                branches[name]["weight"] == weight
                and (branches[name]["serving"] or {}).get("commit") == commits[name]
                for name, weight in weights.items()
            )
            return status if right else None

        status = await asyncio.to_thread(wait_until, found, 120.0, self.gateway.words)
        assert isinstance(status, dict)
        self.note_epoch(status, weights)

    def note_epoch(self, status: dict[str, Any], weights: Mapping[str, float]) -> None:
        """What is in force, as /branches says it."""
        serving = {name: one["serving"]["fingerprint"] for name, one in status["branches"].items()}
        self.note(
            "epoch",
            salt=status["salt"],
            baseline=status["baseline"],
            weights=dict(weights),
            fingerprints=serving,
            epoch=status["epoch"],
        )

    # What the users do

    async def live(
        self, todo: Iterable[Visit], meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """All these visits, over many connections; `meanwhile` happens in the middle of them."""
        waiting = deque(todo)
        half = len(waiting) // 2
        reached = asyncio.Event()

        async def ask() -> None:
            connection = Connection(self._address)
            while waiting:
                await self._up.wait()
                if len(waiting) <= half:
                    reached.set()
                await self._visit(connection, waiting.popleft())
            await connection.close()

        async def happen() -> None:
            await reached.wait()
            if meanwhile is not None:
                await meanwhile()

        await asyncio.gather(happen(), *(ask() for _ in range(CONNECTIONS)))

    async def _visit(self, connection: Connection, visit: Visit) -> bool:
        """Whether it was answered."""
        headers = {"X-User-Id": visit.unit} if visit.unit is not None else {}
        headers["User-Agent"] = "a-robot/1.0" if visit.robot else "people"
        said = {"unit": visit.unit, "rows": len(visit.instances), "robot": visit.robot}
        sent = time.time()
        self._under_way += 1
        try:
            body = {"instances": visit.instances}
            status, answer = await connection.post("/predict", body, headers)
        except (OSError, EOFError):
            self.lost += 1
            self.note("lost", sent=sent, **said)
            await asyncio.sleep(0)
            return False
        finally:
            self._under_way -= 1
        self.answered += 1
        self.note("asked", sent=sent, answered=time.time(), status=status, answer=answer, **said)
        if status == 200:
            self._becomes(visit, answer)
        return True

    # What becomes of them

    def _becomes(self, visit: Visit, answer: Mapping[str, Any]) -> None:
        rng, request = self._rng, answer["request_id"]
        chance = 0.10 if answer["branch"] == "prod" else 0.13
        if rng.random() < chance:
            self._later({"request_id": request, "metric": "conversion", "value": True})
        elif rng.random() < 0.1:
            self._later({"request_id": request, "metric": "conversion", "value": 0})
        for row, (x,) in enumerate(visit.instances):
            if rng.random() < 0.4:
                label = int(x > 0.5) if rng.random() < 0.95 else int(x <= 0.5)
                said: Item = {"metric": "accuracy", "label": label}
                self._later({"request_id": request, "row": row, **said})
        if rng.random() < 0.3:
            spent = round(rng.lognormvariate(1, 0.7), 3)
            self._later({"request_id": request, "metric": "spent", "value": spent})
        if rng.random() < 0.01:
            nobody = str(_uuid7(rng))
            self._later({"request_id": nobody, "metric": "conversion", "value": True})

    def _later(self, item: Item) -> None:
        """Most in time; some too late."""
        rng = self._rng
        late = rng.random() < 0.03
        delay = WINDOW + 2.0 if late else rng.uniform(0.0, WINDOW / 5)
        self._push(delay, item)

    def _push(self, delay: float, item: Item) -> None:
        heapq.heappush(self._due, (time.time() + delay, next(self._order), item))
        self._untold += 1
        self._quiet.clear()

    def _told(self, item: Item, status: str) -> None:
        """Some say it again, and otherwise: the first one counts."""
        if status != "accepted" or self._rng.random() > 0.05 or "again" in item:
            return
        again: Item = {"value": 7.5} if item["metric"] == "spent" else {"value": True}
        if "label" in item:
            again = {"label": 1 - item["label"]}
        kept: Item = {key: item[key] for key in ("request_id", "row", "metric") if key in item}
        self._push(self._rng.uniform(0.0, WINDOW / 8), {**kept, **again, "again": True})

    async def tell(self) -> None:
        """Until it is cancelled: outcomes go out when they are due, many at once."""
        try:
            while True:
                await asyncio.sleep(0.02)
                async with self._telling:
                    if items := self._those_due():
                        await self._send(self._teller, items)
        finally:
            await self._teller.close()

    def _those_due(self) -> list[Item]:
        items: list[Item] = []
        while self._due and self._due[0][0] <= time.time() and len(items) < MOST_ITEMS:
            items.append(heapq.heappop(self._due)[2])
        return items

    async def _send(self, connection: Connection, items: Sequence[Item]) -> None:
        sent = time.time()
        bare = [{k: v for k, v in item.items() if k != "again"} for item in items]
        status, answer = await connection.post("/feedback", {"items": bare}, {})
        assert status == 202, answer
        for item, one, judged in zip(items, bare, answer["items"], strict=True):
            self.note("told", sent=sent, answered=time.time(), status=judged["status"], **one)
            self._told(item, judged["status"])
        self._untold -= len(items)
        if not self._untold:
            self._quiet.set()

    async def all_told(self, deadline: float = 300.0) -> None:
        async with asyncio.timeout(deadline):
            await self._quiet.wait()

    # What befalls the gateway

    async def kill_front(self) -> None:
        """With requests under way; outcomes rest, since nobody can tell which were taken."""
        async with self._telling:
            await self._teller.close()
            await self._until_all_wait()
            self._up.clear()
            self.note("killed", who="front")
            await asyncio.to_thread(self.gateway.kill)
            await asyncio.to_thread(self.gateway.start)
            self._up.set()

    async def _until_all_wait(self) -> None:
        """Every connection has a request under way, and none of them is answered any more."""
        process = self.gateway.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        seen = -1

        def is_still() -> bool:
            nonlocal seen
            before, seen = seen, self.answered
            return self._under_way == CONNECTIONS and seen == before

        await wait_until_async(is_still, describe=self.gateway.words)


def _uuid7(rng: random.Random) -> uuid.UUID:
    """Of now, of a request that nobody made."""
    made = int(time.time() * 1000) << 80 | 0x7 << 76 | rng.getrandbits(12) << 64
    return uuid.UUID(int=made | 0b10 << 62 | rng.getrandbits(62))
