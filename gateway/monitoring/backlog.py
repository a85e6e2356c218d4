"""The sealed chunks that wait on disk: read once, counted once, deleted when all is in git.

Owns the files from their sealing to their deletion and how much of their contents is held in
memory. Publishes nothing. Rows recorded or held under target `none` stay on disk until they are
older than the retention, or the oldest of them when they fill half the journal's bound.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway.chunks import Chunk, ChunkError, ChunkFile, ChunkKey, sealed_chunks
from gateway.layout import Segment
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.segments import Contents, contents_of
from gateway.names import Branch
from gateway.store import Name, Store

log = logging.getLogger(__name__)

_HELD_BYTES = 32 * 1024 * 1024
_COUNTED_PART = "rows"


@dataclass(slots=True)
class Waiting:
    """A chunk on disk. `missing` are its branches that are not confirmed in git."""

    file: ChunkFile
    opened: datetime
    rows: int
    unpublished: bool
    missing: frozenset[Branch]


class Backlog:
    """The chunks below one journal folder, oldest first."""

    def __init__(self, journal: Path, store: Store) -> None:
        self._journal = journal
        self._store = store
        self._waiting: dict[ChunkKey, Waiting] = {}
        self._held: dict[ChunkKey, Contents] = {}
        self._held_bytes = 0
        self.unreadable = 0

    def look(self, stop: Callable[[], bool]) -> None:
        """Take in what was sealed since the last look, until `stop`; count each chunk once."""
        found = sealed_chunks(self._journal)
        for file in found:
            if stop():
                return
            if file.key not in self._waiting:
                self._take_in(file)
        self._waiting = {
            file.key: self._waiting[file.key] for file in found if file.key in self._waiting
        }

    def branches(self, settings: MonitorSettings) -> list[Branch]:
        """Those with something to publish."""
        return sorted({b for waiting in self._to_publish(settings) for b in waiting.missing})

    def segments(self, branch: Branch, settings: MonitorSettings, most_bytes: int) -> list[Segment]:
        """What the branch's next commit takes: its oldest chunks, whole, and at least one."""
        chosen: list[Segment] = []
        size = 0
        for waiting in self._to_publish(settings):
            if branch not in waiting.missing:
                continue
            contents = self._contents(waiting.file)
            mine = [segment for segment in contents.segments if segment.branch == branch]
            size += sum(len(segment.content) for segment in mine)
            if chosen and size > most_bytes:
                break
            chosen += mine
        return chosen

    def chunks(self) -> list[Waiting]:
        """Those on disk, oldest first."""
        return list(self._waiting.values())

    def settle(
        self, settings: MonitorSettings, now: datetime, holds: Callable[[ChunkKey], bool]
    ) -> list[Waiting]:
        """Delete every chunk that is wholly in git, or kept long enough where none goes there.

        One that somebody `holds` stays as long as there is room. Returns what was deleted.
        """
        before = self.chunks()
        room = settings.monitoring.journal_bytes // 2
        size = sum(waiting.file.size for waiting in self._waiting.values())
        for waiting in list(self._waiting.values()):
            confirmed = self._store.confirmed(waiting.file.key).keys()
            waiting.missing -= confirmed
            if not waiting.missing and (size > room or not holds(waiting.file.key)):
                size -= waiting.file.size
                self._delete(waiting)
        kept = [waiting for waiting in self._waiting.values() if self._stays(waiting, settings)]
        size = sum(waiting.file.size for waiting in kept)
        for waiting in kept:
            if waiting.opened < now - settings.retention or size > room:
                size -= waiting.file.size
                self._delete(waiting)
        return [one for one in before if one.file.key not in self._waiting]

    def waiting(self, settings: MonitorSettings) -> tuple[int, int]:
        """Chunks and bytes that are still to be published."""
        sizes = [one.file.size for one in self._to_publish(settings) if one.missing]
        return len(sizes), sum(sizes)

    def _to_publish(self, settings: MonitorSettings) -> Sequence[Waiting]:
        return [w for w in self._waiting.values() if not self._stays(w, settings)]

    @staticmethod
    def _stays(waiting: Waiting, settings: MonitorSettings) -> bool:
        return waiting.unpublished or settings.monitoring.target == "none"

    def _take_in(self, file: ChunkFile) -> None:
        try:
            with Chunk(file.path) as chunk:
                contents = contents_of(chunk)
                opened, unpublished = chunk.header.time, chunk.header.target == "none"
        except FileNotFoundError:
            return
        except ChunkError as error:
            log.error("chunk put aside, unread: %s", error)
            self._put_aside(file)
            return
        except Exception:
            # A defect of ours met one chunk: it must not hold up, or bring down, all the others.
            log.exception("chunk put aside, unread: %s", file.path)
            self._put_aside(file)
            return
        counts: dict[Name, int] = {("rows", *name): n for name, n in contents.counts.items()}
        if self._store.add_counts(file.key, _COUNTED_PART, counts):
            _report(contents)
        missing = contents.branches - self._store.confirmed(file.key).keys()
        rows = sum(contents.counts.values())
        self._waiting[file.key] = Waiting(file, opened, rows, unpublished, missing)
        self._hold(contents)

    def _put_aside(self, file: ChunkFile) -> None:
        """An unreadable chunk is nobody's to delete; under another name it stops no other."""
        file.path.rename(file.path.with_suffix(".unreadable"))
        self.unreadable += 1

    def _contents(self, file: ChunkFile) -> Contents:
        held = self._held.get(file.key)
        if held is not None:
            return held
        with Chunk(file.path) as chunk:
            return contents_of(chunk)

    def _hold(self, contents: Contents) -> None:
        if self._held_bytes + contents.size <= _HELD_BYTES:
            self._held[contents.key] = contents
            self._held_bytes += contents.size

    def _delete(self, waiting: Waiting) -> None:
        key = waiting.file.key
        waiting.file.path.unlink(missing_ok=True)
        # In this order: a chunk without confirmations would be published again, were it there.
        self._store.forget(key)
        del self._waiting[key]
        held = self._held.pop(key, None)
        if held is not None:
            self._held_bytes -= held.size


def _report(contents: Contents) -> None:
    if contents.bad_lines:
        log.error("chunk %s: %d lines are no records", contents.key, contents.bad_lines)
    if contents.skipped:
        log.warning("chunk %s: %d records of a later version", contents.key, contents.skipped)
