"""A replica's chunks on their way to Redis: sent in parts, kept on disk until they are done.

Owns the replica's journal after its front wrote it: what of it Redis has, and when a file may go.
What Redis has is asked anew in every step, so that a killed shipper and an emptied Redis are
nothing special: what is lacking is sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Protocol

from gateway.chunks import BEFORE_HEADER, Chunk, ChunkError, ChunkKey, sealed_chunks
from gateway.shared.cutting import keep_rest
from gateway.shared.door import SharedAway
from gateway.shared.held import Held, Shipped

log = logging.getLogger(__name__)

_PIECE = 512 * 1024
#: Of one step, so that its thread stays free for what else is to be done.
_STEP_BYTES = 4 * 1024 * 1024
#: What a call without bytes takes of that.
_CALL = 4 * 1024
#: A bound that is none, and that Lua's numbers can hold.
_NO_CAP = 2**53


class Ships(Protocol):
    """What is needed of the door."""

    def ship(
        self, key: ChunkKey, offset: int, data: bytes, *, sealed: bool, cap: int
    ) -> Shipped: ...

    def chunks(self) -> dict[ChunkKey, Held]: ...


@dataclass(frozen=True, slots=True)
class ShippedStatus:
    """How the journal stands after a step.

    `chunks` and `bytes` are on disk and not in Redis; `kept` are all chunks on disk. `paused`: the
    cap keeps the rest out. `behind`: there is more to send at once. `unreadable` were put aside.
    """

    chunks: int = 0
    bytes: int = 0
    kept: int = 0
    unreadable: int = 0
    paused: bool = False
    behind: bool = False
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """A chunk on disk, as it was when the step began."""

    key: ChunkKey
    path: Path
    size: int
    sealed: bool


@dataclass(slots=True)
class _Look:
    """One step: its bound, and what it found."""

    left: int
    held: dict[ChunkKey, Held] = field(default_factory=dict)
    #: Whole by what Redis says, and asked all the same: its bytes may have been evicted.
    asked: ChunkKey | None = None
    there: set[ChunkKey] = field(default_factory=set)
    gone: set[ChunkKey] = field(default_factory=set)
    paused: bool = False
    trouble: str | None = None


class Shipper:
    """Sends one journal. Used by one thread."""

    def __init__(
        self, door: Ships, journal: Path, cap: int, *, clock: Callable[[], float] = time.time
    ) -> None:
        """`cap` is how many bytes of chunks, of all replicas, Redis is to hold.

        The oldest chunk of each replica passes it: only a whole chunk can be published, and only
        what is published makes room.
        """
        self.status = ShippedStatus()
        self._door = door
        self._journal = journal
        #: To be changed between two steps.
        self.cap = cap
        self._clock = clock
        self._until = 0.0
        self._unreadable = 0
        self._turn = 0
        #: What Redis had at the last sight, and of which chunks that was all.
        self._has: dict[ChunkKey, int] = {}
        self._whole: set[ChunkKey] = set()

    def step(self, stop: Callable[[], bool]) -> ShippedStatus:
        """Send some of what Redis lacks, the oldest first; delete what is done."""
        began = self._clock()
        look = _Look(_STEP_BYTES)
        files: list[_File] = []
        try:
            files = _files(self._journal)
            look.held = self._door.chunks()
            look.asked = self._in_turn(files)
            self._has = {key: one.size for key, one in look.held.items()}
            self._send_all(files, look, stop)
            self._until = min(began - BEFORE_HEADER, self._first_lacking(files, look))
        except SharedAway as error:
            look.trouble = f"chunks wait on the disk: {error}"
        except OSError as error:
            look.trouble = f"the journal cannot be listed: {error}"
        self.status = self._summed(files, look)
        return self.status

    def shipped_until(self, now: float) -> float:
        """Every row older than this was in Redis, or done, when the last step ended."""
        return min(now, self._until)

    def _in_turn(self, files: list[_File]) -> ChunkKey | None:
        self._turn += 1
        return files[self._turn % len(files)].key if files else None

    def _send_all(self, files: list[_File], look: _Look, stop: Callable[[], bool]) -> None:
        is_oldest = True
        for file in files:
            if stop() or look.left <= 0:
                return
            cap = _NO_CAP if is_oldest and file.sealed else self.cap
            try:
                self._settle(file, look, cap)
            except FileNotFoundError:
                # Sealed since, under another name, or taken away: the next step sees which.
                continue
            except OSError as error:
                look.trouble = f"{file.path} waits: {error.strerror}"
                continue
            is_oldest = is_oldest and file.key in look.gone

    def _settle(self, file: _File, look: _Look, cap: int) -> None:
        """Bring one chunk as far as it goes now."""
        held = look.held.get(file.key)
        start = held.size if held is not None else 0
        is_whole = held is not None and held.sealed
        if held is not None and held.sealed and file.key != look.asked:
            self._is_whole(file, held.size, look)
            return
        if is_whole or file.key in self._whole:
            answer = self._ask(file, look)
            if answer.done:
                self._delete(file, answer.cut, look)
                return
            if answer.has >= _end(file, answer.cut):
                self._is_whole(file, answer.has, look)
                return
            start = answer.has
            self._whole.discard(file.key)
        if look.paused or (start == 0 and file.sealed and self._put_aside(file, look)):
            return
        self._send(file, start, look, cap)

    def _ask(self, file: _File, look: _Look) -> Shipped:
        """What is there, without sending: behind a gap nothing is taken."""
        look.left -= _CALL
        return self._door.ship(file.key, file.size + 1, b"", sealed=False, cap=self.cap)

    def _send(self, file: _File, start: int, look: _Look, cap: int) -> None:
        with file.path.open("rb") as opened:
            while look.left > 0:
                opened.seek(start)
                data = opened.read(min(_PIECE, max(file.size - start, 0)))
                if not file.sealed:
                    data = _whole_lines(data, opened.readline)
                    if not data:
                        look.there.add(file.key)
                        return
                # Redis may have more, if the machine died before all was on its disk.
                is_last = file.sealed and start + len(data) >= file.size
                look.left -= len(data) + _CALL
                most = cap if data else _NO_CAP
                shipped = self._door.ship(file.key, start, data, sealed=is_last, cap=most)
                if shipped.done:
                    self._delete(file, shipped.cut, look)
                    return
                if shipped.full:
                    look.paused = True
                    return
                if shipped.cut is not None and shipped.has >= _end(file, shipped.cut):
                    self._is_whole(file, shipped.has, look)
                    return
                if data and shipped.has == start:
                    look.trouble = (
                        f"{file.path} waits: Redis holds another, shorter chunk {file.key}"
                    )
                    return
                self._has[file.key] = start = shipped.has
                if is_last and start >= file.size:
                    self._is_whole(file, start, look)
                    return

    def _is_whole(self, file: _File, has: int, look: _Look) -> None:
        """Redis takes no more of it; if it was cut, the rest goes when it is done."""
        self._whole.add(file.key)
        self._has[file.key] = has
        if has >= file.size:
            look.there.add(file.key)

    def _delete(self, file: _File, cut: int | None, look: _Look) -> None:
        """Nothing of a sealed chunk is needed that is done, but what was cut off; another one may
        yet grow.
        """
        if not file.sealed:
            return
        has_rest = cut is not None and cut < file.size
        if cut is not None and has_rest:
            keep_rest(file.path, file.key, cut)
        file.path.unlink(missing_ok=True)
        self._whole.discard(file.key)
        if not has_rest:
            look.gone.add(file.key)

    def _put_aside(self, file: _File, look: _Look) -> bool:
        """Under another name, if it is no chunk: nobody could read it, and it stops no other."""
        try:
            with Chunk(file.path):
                return False
        except ChunkError as error:
            log.error("chunk put aside, unread: %s", error)
            file.path.rename(file.path.with_suffix(".unreadable"))
            self._unreadable += 1
            look.gone.add(file.key)
            return True

    def _first_lacking(self, files: list[_File], look: _Look) -> float:
        """From when on Redis may lack rows, for what the journal held when the step began."""
        begun = inf
        for file in files:
            if file.key in look.there or file.key in look.gone:
                continue
            try:
                with Chunk(file.path, sealed=file.sealed) as chunk:
                    begun = min(begun, chunk.header.time.timestamp() - BEFORE_HEADER)
            except FileNotFoundError:
                begun = min(begun, self._until)
            except (ChunkError, OSError):
                # It is said to be in trouble, and may be for ever: time does not wait for it.
                continue
        return begun

    def _summed(self, files: list[_File], look: _Look) -> ShippedStatus:
        kept = [file for file in files if file.key not in look.gone]
        self._whole &= {file.key for file in kept}
        waiting = [file for file in kept if file.key not in look.there]
        lacking = [file.size - self._has.get(file.key, 0) for file in waiting]
        lacking = [size for size in lacking if size > 0]
        return ShippedStatus(
            chunks=len(lacking),
            bytes=sum(lacking),
            kept=len(kept),
            unreadable=self._unreadable,
            paused=look.paused,
            behind=look.left <= 0,
            trouble=look.trouble,
        )


def _files(journal: Path) -> list[_File]:
    """The sealed chunks, the longest waiting first, then those that are being written.

    One that is sealed between the two looks is seen as both, and taken for sealed.
    """
    opened = [
        _File(ChunkKey(path.parent.name, int(path.stem)), path, _size(path), sealed=False)
        for path in sorted(journal.glob("*/*.open"))
        if path.stem.isdigit()
    ]
    sealed = [_File(one.key, one.path, one.size, sealed=True) for one in sealed_chunks(journal)]
    known = {one.key for one in sealed}
    return [*sealed, *(one for one in opened if one.key not in known)]


def _end(file: _File, cut: int | None) -> int:
    return file.size if cut is None else min(file.size, cut)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _whole_lines(data: bytes, rest_of_line: Callable[[], bytes]) -> bytes:
    """Up to the last end of a line; a line that is longer than a piece is read to its end."""
    if data and b"\n" not in data:
        data += rest_of_line()
    return data[: data.rfind(b"\n") + 1]
