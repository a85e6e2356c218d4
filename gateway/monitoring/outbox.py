"""Segments of the monitor's own: in no front's chunk, so the store holds them until pushed.

The other half of what is published, beside the backlog. Under target `none` they are kept as long
as rows are.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from itertools import groupby

from gateway.chunks import ChunkKey
from gateway.layout import Segment, parse_path
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.names import Branch
from gateway.store import Outgoing, Store


class Outbox:
    """What waits in the store to be published."""

    def __init__(self, store: Store, may_go: Callable[[ChunkKey], bool] = lambda key: True) -> None:
        """`may_go` says which keys may be published by now."""
        self._store = store
        self._may_go = may_go

    def branches(self, settings: MonitorSettings) -> list[Branch]:
        """Those with something to publish."""
        if settings.monitoring.target == "none":
            return []
        return sorted({one.branch for one in self._missing() if self._may_go(one.key)})

    def segments(self, branch: Branch, most_bytes: int) -> list[Segment]:
        """What the branch's next commit takes: all of the oldest keys, and of one at least."""
        size = 0
        chosen: list[Segment] = []
        going = (one for one in self._missing() if self._may_go(one.key))
        for key, found in groupby(going, key=lambda one: one.key):
            mine = [one for one in found if one.branch == branch]
            size += sum(one.size for one in mine)
            if chosen and size > most_bytes:
                break
            chosen += self._store.segments(key, branch) if mine else []
        return chosen

    def settle(self, settings: MonitorSettings, now: datetime) -> None:
        """Forget what is wholly in git, or kept long enough where none goes there."""
        missing = {one.key for one in self._missing()}
        for one in self._store.outgoing():
            parsed = parse_path(one.path)
            day = datetime.combine(parsed.day, time.min, UTC) if parsed is not None else now
            is_old = settings.monitoring.target == "none" and day < now - settings.retention
            if one.key not in missing or is_old:
                self._store.forget(one.key)

    def _missing(self) -> list[Outgoing]:
        waiting = self._store.outgoing()
        confirmed = {key: self._store.confirmed(key) for key in {one.key for one in waiting}}
        return [one for one in waiting if one.branch not in confirmed[one.key]]
