"""Reload: a changed configuration is put in force once every branch it weights is ready.

Only configuration reloads; models swap. A bad file keeps the old one in force and says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.access.audit import audit
from gateway.access.keys_file import LOCAL
from gateway.config import RESTART_ONLY, BranchConfig, Config
from gateway.errors import ConfigError
from gateway.metrics import Metrics
from gateway.names import Branch
from gateway.routing import Routing
from gateway.sources import Source
from gateway.timestamps import rfc3339
from gateway.workers.fleet import Fleet

log = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
#: Seconds after which what changed is to be the same still.
_STANDS = 0.2


class Reload:
    """The keeper of the configuration's source."""

    def __init__(
        self,
        source: Source,
        *,
        routing: Routing,
        fleet: Fleet,
        metrics: Metrics,
        prepare: Callable[[Config], Awaitable[None]],
        put_in_force: Callable[[Config], None],
        applied: Callable[[Config], Awaitable[None]],
        decided: Callable[[str, str, dict[str, str | None]], None],
        trouble: Callable[[Branch], str | None],
    ) -> None:
        """`prepare` makes the keepers want what both files name; `put_in_force` switches, at once;
        `applied` leaves only what the new one names; `decided(decision, reason, place)` is
        recorded; `trouble` is what the repository says is wrong with a branch.
        """
        self._source = source
        self._routing = routing
        self._fleet = fleet
        self._metrics = metrics
        self._prepare = prepare
        self._put_in_force = put_in_force
        self._applied = applied
        self._decided = decided
        self._trouble = trouble
        self._before = routing.config
        self._seen: bytes | None = None
        self._pending: Config | None = None
        self._problem: str | None = None
        self._since = time.time()

    def status(self) -> dict[str, Any]:
        """Is what the source says in force, and if not, why."""
        if self._problem is not None:
            state = "refused"
        else:
            state = "waiting" if self._pending is not None else "in_force"
        return {
            **self._source.place,
            "state": state,
            "reason": self._problem,
            "waiting_for": self._unready(self._pending) if self._pending is not None else {},
            "since": rfc3339(self._since),
        }

    async def run(self) -> None:
        """Look each second; the newest file wins over one that still waits."""
        candidate: bytes | None = None
        while True:
            content = await asyncio.to_thread(self._source.content)
            stands, candidate = content == candidate, content
            if content != self._seen and not stands:
                # Whoever writes it may not be at its end yet, and half of it is another file.
                await asyncio.sleep(min(_STANDS, _LOOK_EVERY))
                continue
            if content != self._seen:
                self._seen = content
                await self._changed()
            if self._pending is not None and not self._unready(self._pending):
                try:
                    await self._apply(self._pending)
                except OSError as error:
                    log.warning("%s is not wholly in force yet: %s", self._source.name, error)
            await asyncio.sleep(_LOOK_EVERY)

    async def _changed(self) -> None:
        in_force = self._routing.config
        try:
            config = await asyncio.to_thread(self._source.load)
            _refuse_restart_only(in_force, config, self._source.name)
        except ConfigError as error:
            self._problem = error.message
            await self._forget_pending()
            self._metrics.config_changes_by["refused"].inc()
            log.error("refused, the old one stays in force:\n%s", self._problem)
            self._decided("config_refused", self._problem, self._source.place)
            self._audit("refused", self._source.name)
            return
        self._problem = None
        if config == in_force:
            await self._forget_pending()
            return
        self._pending = config
        await self._prepare(config)
        if unready := self._unready(config):
            self._metrics.config_changes_by["waiting"].inc()
            log.info("the changed %s waits for %s", self._source.name, _told(unready))

    async def _forget_pending(self) -> None:
        """Stop wanting what only the superseded file named."""
        if self._pending is not None:
            self._pending = None
            await self._applied(self._routing.config)

    async def _apply(self, config: Config) -> None:
        """Put it in force; raises OSError, to be called again, while the disk refuses its part."""
        if self._routing.config is not config:
            self._before = self._routing.config
            self._put_in_force(config)
        await self._applied(config)
        await asyncio.to_thread(self._source.remember)
        self._pending = None
        self._since = time.time()
        self._metrics.config_changes_by["applied"].inc()
        words = f"weights {_words(self._before)} became {_words(config)}"
        log.info("%s is in force: %s", self._source.name, words)
        self._decided("config_applied", words, self._source.place)
        self._audit("in_force", words)

    def _audit(self, result: str, say: str) -> None:
        """Who it was only the machine or the repository knows."""
        who = LOCAL if self._source.place["commit"] is None else "repository"
        audit("configuration", who=who, address=who, result=result, say=say)

    def _unready(self, config: Config) -> dict[str, str]:
        """The branches of positive weight that are not loaded, each with the reason."""
        unready: dict[str, str] = {}
        for name, weight in config.weights.items():
            state = self._fleet.slot(name).state
            needed = weight > 0 or name == config.baseline
            if needed and state["serving"] is None:
                trouble = self._trouble(name)
                unready[name] = state["reason"] or trouble or "not loaded yet"
        return unready


def _refuse_restart_only(old: Config, new: Config, name: str) -> None:
    changed = [
        field for field in sorted(RESTART_ONLY) if getattr(old, field) != getattr(new, field)
    ]
    if changed:
        raise ConfigError(
            [f"{name}: {field}: takes effect only by a restart of gateway" for field in changed]
        )


def _told(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _words(config: Config) -> str:
    return ", ".join(f"{name} {_role(branch)}" for name, branch in config.branches.items())


def _role(branch: BranchConfig) -> str:
    if branch.ramp is not None:
        return f"ramp to {branch.ramp.steps[-1]:g}%"
    return "shadow" if branch.shadow else f"{branch.weight:g}"
