"""What served before a restart serves again, before anything newer is looked for.

A newer commit may be broken, and the repository away: neither must prevent it.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.config import Config
from gateway.names import Branch
from gateway.repositories.following import Following
from gateway.repositories.move import Move
from gateway.routing import Routing
from gateway.served import ServedFile
from gateway.workers.fleet import Fleet

log = logging.getLogger(__name__)

#: Seconds that what served before has for loading, and those that a shadow has: the others' newer
#: commits must not wait long for it.
_SERVED_LOADS = 120.0
_SHADOW_LOADS = 10.0


class Restoring:
    """The branches whose former content is being loaded."""

    def __init__(
        self, routing: Routing, fleet: Fleet, served: ServedFile, arrivals: Following
    ) -> None:
        self._routing = routing
        self._fleet = fleet
        self._served = served
        self._arrivals = arrivals
        self._loading: set[Branch] = set()

    async def offer(self, config: Config) -> None:
        """Have the fleet load what each branch served last, where it is still there."""
        for name in config.branches:
            served = self._served.branches.get(name)
            if served is None or not self._arrivals.snapshots.has(served.fingerprint):
                continue
            why = await asyncio.to_thread(self._arrivals.objection, name, served.fingerprint)
            if why is not None:
                log.warning("what served before is not loaded: %s", why, extra={"branch": name})
                continue
            root = config.state_dir / "snapshots" / served.fingerprint
            known = served.commit_known
            move = Move(name, served.tip, served.commit, known, served.fingerprint, root)
            self._loading.add(name)
            self._fleet.offer(move)

    async def wait(self) -> None:
        """Until all of it has loaded or failed, or has had its time."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._loading and loop.time() < begun + _SERVED_LOADS:
            await asyncio.sleep(0.05)
            config = self._routing.config
            late = loop.time() > begun + _SHADOW_LOADS
            self._loading = {
                name
                for name in self._loading & set(config.branches)
                if self._fleet.slot(name).state["serving"] is None
                and self._fleet.slot(name).state["state"] != "failed"
                and not (late and config.branches[name].shadow)
            }
