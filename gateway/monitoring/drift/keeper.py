"""The keeper of drift: takes chunks in, closes windows, remembers both at once.

Every chunk is taken once, in one transaction of the store with all that it changed; what was not
remembered did not happen. A window ends when no chunk is left, sealed or not, that could hold rows
of it. So a monitor that is killed at any moment closes the same windows when it runs again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from gateway.chunks import Chunk, ChunkFile, ChunkKey
from gateway.monitoring.drift.book import Book
from gateway.monitoring.drift.closing import Closing
from gateway.monitoring.drift.documents import document, summary
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.reading import Reading
from gateway.monitoring.layout import Segment, segment_path
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.names import Branch
from gateway.state import write_atomically
from gateway.store import Store

log = logging.getLogger(__name__)

#: The part of a chunk that drift takes.
PART = "drift"


class Drift:
    """The windows of every stream. Used by the monitor's one thread."""

    def __init__(
        self,
        settings: MonitorSettings,
        store: Store,
        files: BranchFiles,
        clock: Callable[[], float],
    ) -> None:
        self._open = partial(Book, settings, store, files, clock)
        self._state_dir = settings.state_dir
        self._store = store
        self._taken: set[ChunkKey] = set()
        self._shown: dict[Branch, bytes] = {}
        self._book = self._open()

    def holds(self, key: ChunkKey) -> bool:
        """Is the chunk still to be taken?"""
        if key not in self._taken and self._store.has(key, PART):
            self._taken.add(key)
        return key not in self._taken

    def take(self, file: ChunkFile, settings: MonitorSettings, every: int = 1) -> None:
        """Count a sealed chunk's rows, of one request in `every`.

        Raises NotYet if a reference must be waited for: then nothing was taken.
        """
        try:
            with Chunk(file.path, every=every) as chunk:
                reading = Reading(self._book, settings, chunk.header)
                for record in chunk:
                    reading.add(record)
                changes = reading.finish()
                self._book.left_out += chunk.left_out
            changes |= self._book.saved(reading.touched)
            self._store.remember(changes, taken=(file.key, PART))
        except BaseException:
            self._book = self._open()
            raise
        self._taken.add(file.key)

    def pass_over(self, key: ChunkKey) -> None:
        """Take a chunk without counting it: it cannot be read, or is gone."""
        self._store.remember({}, taken=(key, PART))
        self._taken.add(key)

    def close(self, watermark: float, settings: MonitorSettings) -> None:
        """Close the windows that end by then (Unix time), and hand in what is written of them."""
        book = self._book
        closing = Closing(book, settings)
        try:
            closing.close(watermark)
            if not closing.closed:
                return
            outgoing = self._segments(closing)
            changes = book.saved(closing.closed, closing.reported) | book.forget_old(watermark)
            self._store.remember(changes, outgoing=outgoing)
        except BaseException:
            self._book = self._open()
            raise

    def _segments(self, closing: Closing) -> list[Segment]:
        """All that this closing writes, under one number."""
        key = self._book.next_key()
        opened = datetime.fromtimestamp(closing.latest, UTC)
        return [
            Segment(
                key, kind, branch, segment_path(kind, branch, opened, key), rows.encode(), len(rows)
            )
            for (kind, branch), rows in sorted(closing.written.items())
        ]

    def show(self, branches: Iterable[Branch], settings: MonitorSettings) -> None:
        """Write down how each branch stands, where it changed, for the front to show."""
        for branch in {*branches, *self._book.newest}:
            content = json.dumps(document(self._book, settings, branch)).encode()
            if self._shown.get(branch) == content:
                continue
            path = report_path(self._state_dir, branch)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, content)
            self._shown[branch] = content

    def status(self, settings: MonitorSettings, lag_rows: int) -> dict[str, Any]:
        """What /metrics needs of it."""
        return summary(self._book, settings, lag_rows)


def report_path(state_dir: Path, branch: Branch) -> Path:
    """Where it stands how a branch drifts."""
    return state_dir / "drift" / f"{branch.folder}.json"
