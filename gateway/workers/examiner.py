"""Finds out on a branch's own workers whether it is to blame for failures, and when it is well.

Leaves the branch out (ejection) and takes it back, and says so. Its rules are `ejection`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from gateway.errors import ModelError, ProbeError
from gateway.metrics import BranchMetrics
from gateway.timestamps import rfc3339
from gateway.workers import probe
from gateway.workers.ejection import Suspicion
from gateway.workers.slot import Slot


class Examiner:
    """Owns one branch's ejection, in force only here: weights and assignments stay as they are."""

    def __init__(
        self,
        slot: Slot,
        *,
        metrics: BranchMetrics,
        decided: Callable[[str, str, dict[str, Any]], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        wait: Callable[[int], float],
        now: Callable[[], datetime],
    ) -> None:
        """`wait(n)` is how long to leave a branch alone before it is tried for the n-th time."""
        self._slot = slot
        self._ejection = slot.failures.ejection
        self._metrics = metrics
        self._decided = decided
        self._spawn = spawn
        self._wait = wait
        self._now = now
        self._task: asyncio.Task[None] | None = None
        self._since: str | None = None
        self._closed = False

    @property
    def story(self) -> dict[str, Any] | None:
        """What status says of an ejection; None while there is none."""
        if self._since is None:
            return None
        return {"since": self._since, "reason": self._ejection.why}

    def suspect(self, suspicion: Suspicion) -> None:
        """Act on what the slot has seen."""
        if self._closed:
            return
        if suspicion is Suspicion.EJECTED:
            self._leave_out("of different users")
        if self._task is None:
            self._task = self._spawn(self._examine())

    def recovered(self) -> None:
        """An ejected branch answered well: what was with it, or what only it can answer."""
        if not self._closed:
            self._take_back("a request was answered")

    def forget(self) -> None:
        """Other content serves from now on."""
        self._stop()
        if self._ejection.forget():
            self._take_back("other content serves")

    def close(self) -> None:
        """Examine no more, and say nothing more."""
        self._closed = True
        self._stop()

    def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # The examination

    async def _examine(self) -> None:
        task = asyncio.current_task()
        try:
            if not self._ejection.ejected:
                await self._confirm()
            while self._ejection.ejected:
                await asyncio.sleep(self._wait(self._ejection.turns + 1))
                if self._ejection.ejected:
                    await self._try()
        finally:
            if self._task is task:
                self._task = None

    async def _confirm(self) -> None:
        """Is it the branch, where one caller's requests may be all that is wrong?"""
        try:
            probed = await self._probe()
        except (ModelError, ProbeError) as error:
            if self._ejection.probe_failed(error.message):
                self._leave_out("and of a row that must work")
        else:
            if probed.rows and not self._ejection.ejected:
                self._ejection.probe_passed()

    async def _try(self) -> None:
        """Is an ejected branch well again?"""
        try:
            probed = await self._probe()
        except (ModelError, ProbeError) as error:
            self._ejection.probe_failed(error.message)
        else:
            if probed.rows:
                if self._ejection.probe_passed():
                    self._take_back(f"probed by {probed.by}")
            elif self._ejection.ejected:
                self._ejection.on_trial()
                self._take_back("on trial: there is nothing to probe it with")

    async def _probe(self) -> probe.Probed:
        seat = await self._slot.borrow()
        try:
            return await probe.again(
                seat.worker, seat.crew.root, list(self._slot.recent), self._slot.bounds.timeout
            )
        finally:
            self._slot.give_back(seat)

    # What follows

    def _leave_out(self, grounds: str) -> None:
        ejection = self._ejection
        self._since = rfc3339(self._now().timestamp())
        self._metrics.ejected.set(1)
        self._metrics.ejections.inc()
        reason = f"{ejection.failures} failures in a row, {grounds}: {ejection.why}"
        self._decided("ejected", reason, {"failures": ejection.failures, "last": ejection.why})
        self._slot.leave_out(f"ejected after {reason}")

    def _take_back(self, reason: str) -> None:
        evidence = {"ejected_since": self._since}
        self._since = None
        self._metrics.ejected.set(0)
        self._slot.take_back()
        self._decided("ejection_ended", reason, evidence)
