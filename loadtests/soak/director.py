"""Does what the plan says, at its times, each deed beside the others that are still under way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gateway.errors import GatewayError
from loadtests.gateway_process import GatewayProcess
from loadtests.repository import DidNotLand
from loadtests.soak.ledger import Excuse, Ledger
from loadtests.soak.plan import Deed, Event
from loadtests.soak.project import CANDIDATE, OWN, PROD, WEIGHTS, Team
from loadtests.soak.traffic import Traffic

#: They wait for one another: a machine too slow for the plan would have ever more of them waiting.
_IN_TURN = (Deed.TRAIN, Deed.MERGE, Deed.REWRITE, Deed.BREAK, Deed.WEIGH)
_WEIGHTS = (10.0, 15.0, 25.0, 40.0)


@dataclass
class Deeds:
    """What was done, the seconds until each was in force, and what went wrong."""

    done: Counter[Deed] = field(default_factory=Counter)
    took: dict[Deed, list[float]] = field(default_factory=lambda: defaultdict(list))
    troubles: list[str] = field(default_factory=list)
    #: Left out, as the last of their kind was still under way.
    left_out: Counter[Deed] = field(default_factory=Counter)


class Director:
    """Has the plan done; what does not come into force in time is a trouble.

    Two deeds on one branch wait for one another, and a process is killed only while a front runs
    that can be asked for its number; all else overlaps as it comes.
    """

    def __init__(
        self,
        gateway: GatewayProcess,
        team: Team,
        traffic: Traffic,
        ledger: Ledger,
        say: Callable[[str], None],
    ) -> None:
        self._gateway = gateway
        self._team = team
        self._traffic = traffic
        self._ledger = ledger
        self._say = say
        self._branch = {name: asyncio.Lock() for name in WEIGHTS}
        self._front, self._weights, self._clone = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._under_way: Counter[Deed] = Counter()
        self.deeds = Deeds()

    async def run(self, events: Iterable[Event]) -> None:
        """Until every deed is done and in force."""
        begun = self._ledger.clock()
        tasks = []
        for event in events:
            await asyncio.sleep(max(0.0, begun + event.at - self._ledger.clock()))
            if event.deed in _IN_TURN and self._under_way[event.deed]:
                self.deeds.left_out[event.deed] += 1
                continue
            tasks.append(asyncio.create_task(self._do(event)))
        await asyncio.gather(*tasks)

    async def _do(self, event: Event) -> None:
        deeds: dict[Deed, Callable[[random.Random], Awaitable[float]]] = {
            Deed.TRAIN: self._train,
            Deed.MERGE: self._merge,
            Deed.REWRITE: self._rewrite,
            Deed.BREAK: self._break,
            Deed.WEIGH: self._weigh,
            Deed.BURST: self._burst,
            Deed.KILL_WORKER: partial(self._kill_worker, event.sparing),
            Deed.KILL_MONITOR: self._kill_monitor,
            Deed.KILL_FRONT: self._kill_front,
        }
        chance = random.Random(event.chance)
        self._say(f"{event.at:6.1f} s  {event.deed}")
        self._under_way[event.deed] += 1
        try:
            self.deeds.took[event.deed].append(await deeds[event.deed](chance))
            self.deeds.done[event.deed] += 1
        except (DidNotLand, GatewayError, OSError, KeyError) as error:
            self.deeds.troubles.append(f"{event.deed} at {event.at:.1f} s: {error!r}")
            self._say(self.deeds.troubles[-1])
        finally:
            self._under_way[event.deed] -= 1

    # Models and code. Each returns the seconds from the push to the answers.

    async def _train(self, chance: random.Random) -> float:
        async with self._branch[CANDIDATE]:
            return await self._new_candidate(chance)

    async def _new_candidate(self, chance: random.Random) -> float:
        return await self._landed(CANDIDATE, lambda: self._team.train(chance))

    async def _merge(self, chance: random.Random) -> float:
        async with self._branch[CANDIDATE], self._branch[PROD]:
            await self._new_candidate(chance)
            return await self._landed(PROD, self._team.merge)

    async def _rewrite(self, chance: random.Random) -> float:
        async with self._branch[OWN]:
            return await self._landed(OWN, lambda: self._team.rewrite(chance))

    async def _break(self, chance: random.Random) -> float:
        """Refused, while the old one serves; then mended."""
        async with self._branch[CANDIDATE]:
            async with self._clone:
                await asyncio.to_thread(self._team.break_candidate, chance)
            begun = time.monotonic()

            def is_refused() -> bool:
                state = self._gateway.branches()[CANDIDATE]
                return bool(state["quarantined"] and state["serving"])

            await asyncio.to_thread(self._gateway.until, is_refused, "the candidate is refused")
            took = time.monotonic() - begun
            await self._new_candidate(chance)
            return took

    async def _landed(self, branch: str, push: Callable[[], str]) -> float:
        async with self._clone:
            commit = await asyncio.to_thread(push)
        begun = time.monotonic()
        await asyncio.to_thread(self._gateway.until_served, branch, commit)
        return time.monotonic() - begun

    async def _weigh(self, chance: random.Random) -> float:
        async with self._weights:
            weights = {OWN: chance.choice(_WEIGHTS[:3]), CANDIDATE: chance.choice(_WEIGHTS[1:])}
            weights = {PROD: 100.0 - sum(weights.values()), **weights}
            begun = time.monotonic()
            await asyncio.to_thread(self._gateway.weigh, weights)
            await asyncio.to_thread(self._gateway.until_weighed, weights)
            return time.monotonic() - begun

    # Load and kills

    async def _burst(self, chance: random.Random) -> float:
        begun = time.monotonic()
        await self._traffic.overload(chance.getrandbits(32))
        return time.monotonic() - begun

    async def _kill_worker(self, sparing: bool, chance: random.Random) -> float:
        branch = chance.choice((PROD, CANDIDATE) if sparing else (PROD, CANDIDATE, OWN))

        def workers() -> list[int]:
            return [each["pid"] for each in self._gateway.branches()[branch]["workers"]]

        return await self._kill(chance, workers, f"{branch} has a new worker")

    async def _kill_monitor(self, chance: random.Random) -> float:
        def monitor() -> list[int]:
            recording: dict[str, Any] = self._gateway.get("/branches")["recording"]
            return [recording["monitor_pid"]] if recording["monitor_pid"] else []

        return await self._kill(chance, monitor, "there is a new monitor")

    async def _kill(self, chance: random.Random, pids: Callable[[], list[int]], what: str) -> float:
        """Seconds until another is there."""
        async with self._front:
            victim = await asyncio.to_thread(self._strike, chance, pids, what)
        begun = time.monotonic()

        def is_replaced() -> bool:
            now = pids()
            return bool(now) and victim not in now

        await asyncio.to_thread(self._gateway.until, is_replaced, what)
        return time.monotonic() - begun

    def _strike(self, chance: random.Random, pids: Callable[[], list[int]], what: str) -> int:
        """kill -9 one of these; which it was."""
        struck: list[int] = []

        def has_struck() -> bool:
            # One that has just ended by itself may be named still: only what is ours is killed.
            found = sorted({*pids()} & {*self._gateway.tree.members()})
            if found:
                victim = chance.choice(found)
                os.kill(victim, signal.SIGKILL)
                struck.append(victim)
            return bool(found)

        self._gateway.until(has_struck, f"one can be killed before {what}")
        return struck[0]

    async def _kill_front(self, chance: random.Random) -> float:
        async with self._front:
            with self._ledger.excused(Excuse.FRONT_KILLED):
                await asyncio.to_thread(self._gateway.kill)
                begun = time.monotonic()
                await asyncio.to_thread(self._gateway.start)
            return time.monotonic() - begun
