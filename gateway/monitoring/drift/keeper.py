"""The keeper of drift: takes chunks in, closes windows, remembers both at once.

Every chunk is taken once, in one transaction of the store with all that it changed; what was not
remembered did not happen. A window ends when no chunk is left, sealed or not, that could hold rows
of it. So a monitor that is killed at any moment closes the same windows when it runs again.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Container, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from gateway.chunks import Chunk, ChunkFile, ChunkKey
from gateway.errors import StateError
from gateway.layout import Segment, segment_path
from gateway.monitoring.drift.book import ROOMS, Book
from gateway.monitoring.drift.closing import Closing
from gateway.monitoring.drift.documents import document, summary
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.reading import Reading
from gateway.monitoring.drift.references import Changes
from gateway.monitoring.drift.tries import Tries
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
        self._open = partial(Book, settings, store, files, Tries(clock))
        self._state_dir = settings.state_dir
        self._store = store
        self._taken: set[ChunkKey] = set()
        self._shown: dict[Branch, dict[str, Any]] = {}
        self._opened: Book | None = None

    @property
    def _book(self) -> Book:
        if self._opened is None:
            try:
                self._opened = self._open()
            except (StateError, OSError):
                raise
            except Exception:
                # Such as what a later version left. Publishing must not end for it.
                log.exception("what was remembered of drift cannot be read, and is begun anew")
                self._forget_all()
                self._opened = self._open()
        return self._opened

    def _forget_all(self) -> None:
        recall = self._store.recall
        self._store.remember({(room, name): None for room in ROOMS for name in recall(room)})

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[Book]:
        """Change the book. What fails leaves one that says more than the store: it is dropped."""
        try:
            yield self._book
        except BaseException:
            self._opened = None
            raise

    def holds(self, key: ChunkKey) -> bool:
        """Is the chunk still to be taken?"""
        if key not in self._taken and self._store.has(key, PART):
            self._taken.add(key)
        return key not in self._taken

    def take(self, file: ChunkFile, settings: MonitorSettings, every: int = 1) -> None:
        """Count a sealed chunk's rows, of one request in `every`.

        Raises NotYet if a reference must be waited for: then nothing was taken.
        """
        with self._all_or_nothing() as book, Chunk(file.path, every=every) as chunk:
            reading = Reading(book, settings, chunk.header)
            for record in chunk:
                reading.add(record)
            changes = reading.finish()
            book.left_out += chunk.left_out
            self._take(file.key, changes | book.saved(reading.touched))

    def pass_over(self, key: ChunkKey, rows: int) -> None:
        """Take a chunk without counting it; its rows are left out."""
        with self._all_or_nothing() as book:
            book.left_out += rows
            self._take(key, book.saved(()))

    def _take(self, key: ChunkKey, changes: Changes) -> None:
        if not self._store.remember(changes, taken=(key, PART)):
            self._opened = None
        self._taken.add(key)

    def forget_all_but(self, keys: Container[ChunkKey]) -> None:
        """Nobody will ask for other chunks any more."""
        self._taken = {key for key in self._taken if key in keys}

    def close(
        self,
        watermark: float,
        settings: MonitorSettings,
        is_over: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Close the windows that end by then (Unix time), and hand in what is written of them.

        False if there is more, since the time `is_over`.
        """
        with self._all_or_nothing() as book:
            closing = Closing(book, settings)
            is_all = closing.close(watermark, is_over)
            if closing.changed:
                outgoing = self._segments(book, closing)
                changes = book.saved(closing.changed, closing.reported)
                self._store.remember(changes | book.forget_old(watermark), outgoing=outgoing)
        return is_all

    @staticmethod
    def _segments(book: Book, closing: Closing) -> list[Segment]:
        """All that this closing writes, under one number."""
        if not closing.written:
            return []
        key = book.next_key()
        opened = datetime.fromtimestamp(closing.latest, UTC)
        return [
            Segment(
                key, kind, branch, segment_path(kind, branch, opened, key), rows.encode(), len(rows)
            )
            for (kind, branch), rows in sorted(closing.written.items())
        ]

    def show(self, settings: MonitorSettings, trouble: str | None = None) -> None:
        """Write down how each branch stands, where it changed, for the front to show.

        `trouble` is why drift stands still.
        """
        for branch in {*settings.branches, *self._book.newest}:
            found = document(self._book, settings, branch)
            if trouble is not None:
                found["trouble"] = trouble
            if self._shown.get(branch) == found:
                continue
            path = report_path(self._state_dir, branch)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, json.dumps(found).encode())
            self._shown[branch] = found

    def status(self, settings: MonitorSettings, lag_rows: int) -> dict[str, Any]:
        """What /metrics needs of it."""
        return summary(self._book, settings, lag_rows)


def report_path(state_dir: Path, branch: Branch) -> Path:
    """Where it stands how a branch drifts."""
    return state_dir / "drift" / f"{branch.folder}.json"
