"""Segments of the monitor's own: in no front's chunk, so the store holds them until pushed.

The other half of what is published, beside the backlog. Under target `none` they are kept as long
as rows are.
"""

from __future__ import annotations

from datetime import UTC, datetime, time

from gateway.monitoring.layout import Segment, parse_path
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.names import Branch
from gateway.store import Store


class Outbox:
    """What waits in the store to be published."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def branches(self, settings: MonitorSettings) -> list[Branch]:
        """Those with something to publish."""
        if settings.monitoring.target == "none":
            return []
        return sorted({segment.branch for segment in self._missing()})

    def segments(self, branch: Branch) -> list[Segment]:
        """What the branch's next commit takes."""
        return [segment for segment in self._missing() if segment.branch == branch]

    def settle(self, settings: MonitorSettings, now: datetime) -> None:
        """Forget what is wholly in git, or kept long enough where none goes there."""
        missing = {segment.key for segment in self._missing()}
        for segment in self._store.outgoing():
            parsed = parse_path(segment.path)
            day = datetime.combine(parsed.day, time.min, UTC) if parsed is not None else now
            is_old = settings.monitoring.target == "none" and day < now - settings.retention
            if segment.key not in missing or is_old:
                self._store.forget(segment.key)

    def _missing(self) -> list[Segment]:
        waiting = self._store.outgoing()
        confirmed = {key: self._store.confirmed(key) for key in {one.key for one in waiting}}
        return [segment for segment in waiting if segment.branch not in confirmed[segment.key]]
