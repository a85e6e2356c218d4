"""Drift's turns: which chunks are taken when, how far time has come, what is done when it is late.

Never in the way of publishing: a turn is short, and what cannot be measured is passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from gateway.chunks import BEFORE_HEADER, ChunkError, ChunkKey
from gateway.errors import StateError
from gateway.monitoring.backlog import Backlog, Waiting
from gateway.monitoring.drift.keeper import Drift
from gateway.monitoring.drift.tries import NotYet
from gateway.monitoring.monitor_settings import MonitorSettings

log = logging.getLogger(__name__)

#: Seconds of one turn.
_TURN = 2.0
#: Rows that may wait; of more, only a part is counted.
MOST_LAG = 1_000_000


class Measuring:
    """Feeds the keeper of drift from the backlog."""

    def __init__(self, drift: Drift, backlog: Backlog, clock: Callable[[], float]) -> None:
        self._drift = drift
        self._backlog = backlog
        self._clock = clock
        self._lag = 0
        self._trouble: str | None = None
        #: There was no time for all that waits.
        self.is_behind = False

    def step(self, settings: MonitorSettings, watermark: float, stop: Callable[[], bool]) -> None:
        """Take chunks for a while, then close the windows that are over.

        All rows before `watermark` (Unix time) are in sealed chunks that the backlog knows.
        """
        self.is_behind = False
        until = self._clock() + _TURN
        chunks = self._backlog.chunks()
        self._drift.forget_all_but({one.file.key for one in chunks})
        waiting = [one for one in chunks if self.holds(one.file.key)]
        self._lag = sum(one.rows for one in waiting)
        self._trouble = None
        for taken, one in enumerate(waiting):
            if stop() or self._clock() > until or not self._take(one, settings):
                begun = min(left.opened.timestamp() for left in waiting[taken:])
                watermark = min(watermark, begun - BEFORE_HEADER)
                break
            self._lag -= one.rows
        self.is_behind = self._lag > 0 and self._trouble is None
        try:
            is_all = self._drift.close(watermark, settings, lambda: self._clock() > until)
            self.is_behind |= not is_all
            self._drift.show(settings, self._trouble)
        except (StateError, OSError):
            raise
        except Exception as error:
            # A defect of ours must not keep rows from git.
            log.exception("drift stands still")
            self._trouble = f"drift stands still: {error!r}"

    def holds(self, key: ChunkKey) -> bool:
        """Is the chunk still needed?"""
        return self._drift.holds(key)

    def without(self, deleted: Iterable[Waiting]) -> None:
        """There was no room to keep these chunks; the rows that were still needed are left out."""
        for one in deleted:
            if self.holds(one.file.key):
                log.warning(
                    "chunk %s had to go: its %d rows are left out of drift", one.file.key, one.rows
                )
                self._drift.pass_over(one.file.key, one.rows)

    def status(self, settings: MonitorSettings) -> dict[str, Any]:
        """For the monitor's document."""
        return {**self._drift.status(settings, self._lag), "trouble": self._trouble}

    def _take(self, one: Waiting, settings: MonitorSettings) -> bool:
        """False if it has to wait, and all that comes after it."""
        every = max(1, ceil(self._lag / MOST_LAG))
        key = one.file.key
        try:
            self._drift.take(one.file, settings, every)
        except NotYet as error:
            self._trouble = f"rows wait for a reference: {error}"
            return False
        except (ChunkError, FileNotFoundError) as error:
            log.warning("chunk %s is left out of drift: %s", key, error)
            self._drift.pass_over(key, one.rows)
        except (StateError, OSError):
            raise
        except Exception:
            # A defect of ours met one chunk: it must not hold up all the others.
            log.exception("chunk %s is left out of drift", key)
            self._drift.pass_over(key, one.rows)
        return True
