"""The local journal, written by the front: append-only chunks, the single source of truth.

Owns `state_dir/journal/<writer>/<number>.open` while it is written and its renaming to `.jsonl`
when it is sealed. Knows nothing of what the lines say beyond the header it puts first; reading
sealed chunks is `chunks`' work. One `write()` per append: a killed process leaves at most one
torn last line, which the next start cuts off.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: A chunk never grows beyond this, whatever is sampled: the monitor reads it whole.
CHUNK_BYTES = 32 * 1024 * 1024


class JournalFull(OSError):
    """The bound of the journal or the disk is reached: nothing was written."""


class Journal:
    """Appends lines to the open chunk and seals it. Not thread-safe but for `sync`."""

    def __init__(
        self, folder: Path, writer: str, *, limit_bytes: int, header: Callable[[], dict[str, Any]]
    ) -> None:
        """`header` gives the settings that the next chunk's segments depend on."""
        self.writer = writer
        self.limit_bytes = limit_bytes
        self.chunk = 0
        self.rows = 0
        self.size = 0
        #: Bytes of sealed chunks still on disk, from the last `measure`.
        self.sealed_bytes = 0
        #: When the oldest of them was last written to, in Unix time; None where there is none.
        self.oldest: float | None = None
        self._folder = folder
        self._mine = folder / writer
        self._header = header
        self._fd = -1
        self._path = self._mine
        self._dirty = False
        self._closing = threading.Lock()

    def recover(self) -> int:
        """Seal what dead writers left open; how many chunks that were.

        Called once, before anything is appended, by the owner of the state directory.
        """
        sealed = 0
        for left in sorted(self._folder.glob("*/*.open")):
            _cut_torn_line(left)
            if left.stat().st_size:
                left.rename(left.with_suffix(".jsonl"))
                sealed += 1
            else:
                left.unlink()
        for writer in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                writer.rmdir()  # only an empty one goes
        self.measure()
        return sealed

    def append(self, data: bytes, rows: int, now: str) -> None:
        """Write whole lines, at once; `now` is RFC 3339 and names a chunk that starts here.

        Raises JournalFull when the bound or the disk is reached; the chunk stays whole.
        """
        if self.sealed_bytes + self.size + len(data) > self.limit_bytes:
            raise JournalFull(f"the journal holds {self.limit_bytes} bytes not yet in git")
        if self._fd < 0:
            self._begin(now)
        self._write(data)
        self.rows += rows

    @property
    def open_chunk(self) -> int:
        """The number of the chunk that is being written, or 0."""
        return self.chunk if self._fd >= 0 else 0

    def seal(self) -> bool:
        """Close the open chunk and hand it over; False if there is none."""
        if self._fd < 0:
            return False
        with self._closing:
            os.close(self._fd)
            self._fd = -1
        self._path.rename(self._path.with_suffix(".jsonl"))
        self.sealed_bytes += self.size
        self.rows = self.size = 0
        self._dirty = False
        return True

    def sync(self) -> None:
        """Force what is written to the disk; may run in another thread than the rest."""
        with self._closing:
            if not self._dirty or self._fd < 0:
                return
            self._dirty = False
            # A duplicate, so that sealing does not wait for the disk.
            fd = os.dup(self._fd)
        try:
            os.fdatasync(fd)
        except OSError:
            self._dirty = True
            raise
        finally:
            os.close(fd)

    def measure(self) -> None:
        """Learn what the monitor has taken away since."""
        sizes, times = [], []
        for sealed in self._folder.glob("*/*.jsonl"):
            with contextlib.suppress(FileNotFoundError):
                found = sealed.stat()
                sizes.append(found.st_size)
                times.append(found.st_mtime)
        self.sealed_bytes, self.oldest = sum(sizes), min(times, default=None)

    def _begin(self, now: str) -> None:
        self.chunk += 1
        header = {"t": "chunk", "v": 1, "writer": self.writer, "chunk": self.chunk, "opened": now}
        line = json.dumps({**header, **self._header()}, separators=(",", ":")).encode() + b"\n"
        try:
            self._mine.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = self._mine / f"{self.chunk:08d}.open"
            self._fd = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600
            )
        except OSError as error:
            self.chunk -= 1
            raise JournalFull(f"no new chunk: {error.strerror}") from error
        self.size = 0
        try:
            self._write(line)
        except JournalFull:
            os.close(self._fd)
            self._fd = -1
            self._path.unlink(missing_ok=True)
            self.chunk -= 1
            raise

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise JournalFull(f"not written: {error.strerror}") from error
        if written != len(data):
            # The disk took a part: half a line must not stay in front of the next one. Whoever
            # reads along may have seen it, so nothing follows in its place; what cannot be cut off
            # is told as torn.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            if self.size:
                self.seal()
            raise JournalFull("the disk took only a part of the record")
        self.size += written
        self._dirty = True


def _cut_torn_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(path, whole)
