"""The measurements: throughput, what a row costs whom, memory, a frozen Redis, a dead holder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.gateway_process import GatewayProcess
from loadtests.replicas.client import Load, load
from loadtests.replicas.setting import PREFIX, Group, Server, Trouble, until

CONNECTIONS = 24
#: Connections that ask while a holder dies, and seconds between their requests: something is to be
#: pushed all the time.
_FEW, _REST = 2, 0.02

Say = Callable[[str], None]


@dataclass
class Figures:
    """All that was measured."""

    #: Requests a second by replicas, a figure a round: on one Redis, and each alone.
    shared: dict[int, list[float]] = field(default_factory=dict)
    alone: dict[int, list[float]] = field(default_factory=dict)
    #: Requests a second and p99 in seconds, of one replica while Redis runs and while it is frozen.
    thawed: list[tuple[float, float]] = field(default_factory=list)
    frozen: list[tuple[float, float]] = field(default_factory=list)
    #: Seconds from a holder's death to the next push.
    pushed_after: list[float] = field(default_factory=list)
    #: The same, while the others are asked as fast as they answer.
    pushed_after_busy: list[float] = field(default_factory=list)
    costs: Costs | None = None
    refused: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Costs:
    """What a prediction costs, by how many were counted; CPU in seconds, all of them together."""

    rows: int
    #: By kind of process; `monitor` is that of replicas that stand by, `holder` of the other.
    cpu: Mapping[str, float]
    redis_cpu: float
    #: Bytes that Redis got and gave.
    received: float
    sent: float
    #: Bytes of chunks, as they were shipped, and what Redis used for them.
    chunk_bytes: float
    memory: float
    #: Bytes of the state and of the documents that Redis keeps.
    state: float
    standing_by: int

    def of_row(self, seconds: float) -> float:
        """Microseconds of a row."""
        return seconds / self.rows * 1e6

    @property
    def shipping(self) -> float:
        """Microseconds of CPU for a row in the monitor that ships it."""
        # Rows are dealt out evenly, and the holder's own are shipped by the holder.
        mine = self.rows * self.standing_by / (self.standing_by + 1)
        return self.cpu["monitor"] / mine * 1e6

    @property
    def holding(self) -> float:
        """Microseconds of CPU for a row in the holder, without the rows that it ships itself."""
        share = 1 / (self.standing_by + 1)
        return self.of_row(self.cpu["holder"]) - share * self.shipping


class Bench:
    """One run. `shared` are replicas of `server`, `alone` as many gateways without it."""

    def __init__(
        self,
        shared: Group,
        alone: Group,
        server: Server,
        asked: Sequence[bytes],
        seconds: float,
        say: Say,
    ) -> None:
        self.figures = Figures()
        self._shared = shared
        self._alone = alone
        self._server = server
        self._asked = asked
        self._seconds = seconds
        self._say = say

    def run(self, rounds: int, deaths: int) -> Figures:
        self._load(self._shared.ports(3), 1.0)  # caches are warm afterwards
        self._load(self._alone.ports(3), 1.0)
        self.throughput(rounds)
        self.frozen(rounds)
        self.costs()
        for _ in range(deaths):
            self.figures.pushed_after.append(self.death(_REST))
        for _ in range(deaths):
            self.figures.pushed_after_busy.append(self.death(0.0))
        return self.figures

    def throughput(self, rounds: int) -> None:
        """One after the other, each when the rows of the last are published."""
        for turn in range(rounds):
            for count in range(1, len(self._shared.replicas) + 1):
                kinds = [(self._shared, self.figures.shared), (self._alone, self.figures.alone)]
                for group, rates in kinds if turn % 2 else kinds[::-1]:
                    rates.setdefault(count, []).append(self._load(group.ports(count)).rate)
            rates = self.figures.shared
            self._say(f"round {turn + 1}: " + ", ".join(f"{r[-1]:,.0f}" for r in rates.values()))

    def frozen(self, rounds: int) -> None:
        """One replica, with a Redis that runs and with one that says nothing, in turn."""
        for _ in range(rounds):
            one = self._load(self._shared.ports(1))
            self.figures.thawed.append((one.rate, one.p99))
            self._server.freeze()
            try:
                one = self._load(self._shared.ports(1), rest=False)
            finally:
                self._server.thaw()
            self._shared.rest()
            self.figures.frozen.append((one.rate, one.p99))
        self._say("a frozen Redis: " + ", ".join(f"{r:,.0f}" for r, _ in self.figures.frozen))

    def costs(self) -> None:
        """Nothing can be pushed at first, so that Redis holds all of it."""
        group, server = self._shared, self._server
        self._until_led()
        group.refuse_pushes()
        before, cpu = group.cpu(), server.cpu()
        used = server.info("memory", "used_memory")
        state = self._state_bytes()
        traffic = [server.info("stats", f"total_net_{way}_bytes") for way in ("input", "output")]
        found = self._load(group.ports(3), self._seconds * 2, rest=False)
        chunks = self._until_shipped()
        memory = server.info("memory", "used_memory") - used - (self._state_bytes() - state)
        group.take_pushes()
        group.rest()
        now = [server.info("stats", f"total_net_{way}_bytes") for way in ("input", "output")]
        self.figures.costs = Costs(
            rows=found.answered,
            cpu={name: used - before.get(name, 0.0) for name, used in group.cpu().items()},
            redis_cpu=server.cpu() - cpu,
            received=now[0] - traffic[0],
            sent=now[1] - traffic[1],
            chunk_bytes=chunks,
            memory=memory,
            state=self._state_bytes(),
            standing_by=len(group.replicas) - 1,
        )
        self._say(f"{found.answered:,} rows are {chunks / found.answered:.0f} bytes each in Redis")

    def death(self, rest: float) -> float:
        """Of the holder, while others are asked; seconds until another one pushed."""
        group = self._shared
        holder = self._until_led()
        ports = [replica.port for replica in group.replicas if replica is not holder]
        asking = threading.Thread(target=load, args=(ports, _FEW, 14.0, self._asked, rest))
        asking.start()
        tips = group.tips()
        until(lambda: group.tips() != tips, "the holder pushes", 30.0)
        at = group.kill(holder)
        # What it sent before may land a moment later.
        until(lambda: time.monotonic() > at + 0.2, "it is dead")
        tips = group.tips()
        until(lambda: group.tips() != tips, "another one pushes", 60.0)
        after = time.monotonic() - at
        self._say(f"pushed {after:.1f} s after the holder's death")
        asking.join()
        holder.start()
        group.rest()
        return after

    def _load(self, ports: Sequence[int], seconds: float = 0.0, *, rest: bool = True) -> Load:
        found = load(ports, CONNECTIONS, seconds or self._seconds, self._asked)
        self.figures.refused += found.refused
        self.figures.requests += found.answered
        if rest:
            self._shared.rest()
            self._alone.rest()
        return found

    def _until_led(self) -> GatewayProcess:
        found = until(self._shared.holder, "a replica leads", 60.0)
        if not isinstance(found, GatewayProcess):
            raise Trouble("nobody leads")
        return found

    def _until_shipped(self) -> float:
        """Until Redis has all; the bytes of the chunks."""
        key = f"{PREFIX}:bytes"

        def shipped() -> float:
            shared = [one.get("/branches")["shared"] for one in self._shared.replicas]
            waiting = any(one["waiting"]["bytes"] for one in shared)
            return 0.0 if waiting else float(self._server.client.get(key) or 0)

        return float(until(shipped, "everything is shipped"))

    def _state_bytes(self) -> float:
        names = ("state", "state:head", "documents")
        used = [self._server.client.memory_usage(f"{PREFIX}:{name}") or 0 for name in names]
        return float(sum(used))
