"""Spares: workers that have started and imported ahead, waiting for something to load.

What they import is what the branches' own workers were seen to import, so a spare is given only to
a branch that imports all of it anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import Gauge

from gateway.errors import GatewayError
from gateway.names import Branch
from gateway.workers.imports import Imports, Known
from gateway.workers.launch import Launch
from gateway.workers.process import Worker
from gateway.workers.wire import Told

log = logging.getLogger(__name__)

#: Seconds a spare may import for; it yields to all that serves.
_IMPORTS = 300.0
#: Seconds after the last hiring before a spare is started, and how long hiring may put it off.
_REST, _LONGEST_REST = 0.2, 5.0
#: Of what it printed.
_MOST_LINES = 100
#: A spare that has this share of what one started now would have is as good.
_ALIKE = 0.9


class NoSpare(GatewayError):
    """A spare did not come to be; the next try is made with less or later."""


@dataclass(slots=True, eq=False)
class Spare:
    """One waiting worker; what it printed is kept for whoever gets it."""

    launch: Launch
    names: frozenset[str]
    worker: Worker = field(init=False)
    ready: bool = False
    printed: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_LINES))
    dropped: int = 0

    def drop(self, count: int) -> None:
        self.dropped += count

    def hand_over(
        self,
        *,
        logged: Callable[[Told], None],
        line: Callable[[str], None],
        dropped: Callable[[int], None],
    ) -> Worker:
        """The worker, as if it had been started for this taker."""
        self.worker.on_end = None
        self.worker.report_to(logged=logged, line=line, dropped=dropped)
        for text in self.printed:
            line(text)
        if self.dropped:
            dropped(self.dropped)
        return self.worker


class Spares:
    """Keeps `wanted` spares for each way of starting workers; `run` is to be kept running.

    Knows what each branch imports, not what it serves. `gauge` shows how many are ready.
    """

    def __init__(
        self, wanted: int, gauge: Gauge, *, first_wait: float = 0.5, longest_wait: float = 300.0
    ) -> None:
        self._wanted = wanted
        self._gauge = gauge
        self._first_wait, self._longest_wait = first_wait, longest_wait
        self._spares: list[Spare] = []
        self._known = Known()
        self._failures = 0
        self._hiring = 0
        self._wake, self._calm = asyncio.Event(), asyncio.Event()
        self._calm.set()
        gauge.set(0)

    # -- what others call -----------------------------------------------------------------------

    def want(self, count: int) -> None:
        """Keep this many from now on."""
        self._wanted = count
        self._wake.set()

    @contextlib.contextmanager
    def hiring(self) -> Iterator[None]:
        """While a worker is started and loaded, no spare takes the processor from it."""
        self._hiring += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._hiring -= 1
            if not self._hiring:
                self._calm.set()

    def take(self, branch: Branch, launch: Launch) -> Spare | None:
        """The spare that saves the branch most; None if none would go unnoticed."""
        names = self._known.names(branch, launch)
        fit = [
            spare
            for spare in self._spares
            if spare.ready
            and spare.launch == launch
            and spare.names <= names
            and not spare.worker.ended
        ]
        if not fit:
            return None
        spare = max(fit, key=lambda spare: len(spare.names))
        self._spares.remove(spare)
        self._failures = 0
        self._show()
        self._wake.set()
        return spare

    def learn(self, branch: Branch, launch: Launch, modules: Sequence[str]) -> None:
        """What a loaded worker of the branch imported; nothing, if it may have no spare.

        Spares are of the gateway's own environment: a branch's own could not be pruned.
        """
        if launch.interpreter.key is not None:
            self.forget(branch)
            return
        if self._known.learn(branch, Imports.of(launch, modules)):
            self._wake.set()

    def forget(self, branch: Branch) -> None:
        """The branch is served no more."""
        self._known.forget(branch)
        self._wake.set()

    @property
    def pids(self) -> list[int]:
        """Of every spare there is."""
        return [spare.worker.pid for spare in self._spares]

    @property
    def status(self) -> list[dict[str, Any]]:
        """Every spare there is, for people."""
        return [
            {
                "pid": spare.worker.pid,
                "state": "ready" if spare.ready else "importing",
                "modules": len(spare.names),
            }
            for spare in self._spares
        ]

    async def run(self) -> None:
        """Replace what was taken or died, one after the other; stops all when cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._supply()
                except Exception as error:
                    self._failures += 1
                    log.warning("a spare worker could not be started: %s", error)
                    await asyncio.sleep(_REST)
                else:
                    await self._wake.wait()
        finally:
            spares, self._spares = self._spares, []
            self._show()
            await asyncio.gather(*map(_end, spares))

    # -- keeping them ---------------------------------------------------------------------------

    async def _supply(self) -> None:
        """Let go of those that are wanted no more, and start those that are missing."""
        while True:
            wishes = self._known.wishes() if self._wanted else []
            kept: list[Spare] = []
            for wish in wishes:
                alike = [spare for spare in self._spares if _is_like(spare, wish)]
                kept += alike[: self._wanted]
            gone = [spare for spare in self._spares if spare not in kept]
            self._spares = kept
            self._show()
            await asyncio.gather(*map(_end, gone))
            missing = [
                wish
                for wish in wishes
                if sum(spare.launch == wish.launch for spare in kept) < self._wanted
            ]
            if not missing:
                return
            await self._rest()
            await self._start(missing[0])

    async def _rest(self) -> None:
        await asyncio.sleep(max(_REST, self._wait()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_REST):
                while self._hiring:
                    await self._calm.wait()
                    await asyncio.sleep(_REST)

    async def _start(self, wish: Imports) -> None:
        spare = Spare(wish.launch, wish.names)
        worker = spare.worker = Worker(
            wish.launch,
            logged=lambda record: None,  # it keeps them until it knows its branch
            line=spare.printed.append,
            dropped=spare.drop,
        )
        self._spares.append(spare)
        try:
            await worker.start()
            await self._warm(spare, wish)
            spare.ready = True
        finally:
            if not spare.ready:
                self._spares.remove(spare)
        worker.on_end = partial(self._on_end, spare)
        if worker.ended:
            self._on_end(spare)
        self._show()

    async def _warm(self, spare: Spare, wish: Imports) -> None:
        try:
            imported = await spare.worker.warm(wish.modules, _IMPORTS)
            if imported.broken:
                self._known.avoid(imported.broken)
                raise NoSpare(f"{', '.join(imported.broken)} cannot be imported ahead")
        except BaseException:
            await _end(spare)
            raise

    def _on_end(self, spare: Spare) -> None:
        """It ended by itself: the next one comes later, and ever later."""
        if spare in self._spares:
            self._spares.remove(spare)
            self._failures += 1
            log.warning("a spare worker ended: %s", spare.worker.why)
            self._show()
            self._wake.set()

    def _wait(self) -> float:
        if self._failures <= 1:
            return 0.0
        return min(self._longest_wait, self._first_wait * 2.0 ** min(self._failures - 2, 30))

    def _show(self) -> None:
        self._gauge.set(sum(spare.ready for spare in self._spares))


def _is_like(spare: Spare, wish: Imports) -> bool:
    return (
        spare.launch == wish.launch
        and spare.names <= wish.names
        and len(spare.names) >= _ALIKE * len(wish.names)
    )


async def _end(spare: Spare) -> None:
    """There is nothing in it that a kill could spoil."""
    spare.worker.on_end = None
    spare.worker.kill()
    await spare.worker.stop()
