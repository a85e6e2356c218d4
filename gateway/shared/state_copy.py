"""The holder's store in Redis, and its copy on the disk of every other replica.

Owns which blocks of the file differ, and which generation of the store this replica has. The file
itself is `store/sqlite`'s; it is read here by SQLite's own backup while others write it, and
replaced whole where nobody has it open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import msgspec

from gateway.errors import StateError
from gateway.shared.door import OtherState
from gateway.shared.held import Head, Lease
from gateway.state import write_atomically

log = logging.getLogger(__name__)

BLOCK = 64 * 1024
#: Blocks asked for in one call.
_TOGETHER = 32
#: How often a pull looks again at what to bring, while the holder goes on.
_TRIES = 5
#: A standby spends no more than one part in so many of its time on copies.
_SELDOM = 20


class StateDoor(Protocol):
    """What of `Door` is needed here."""

    def head(self) -> Head | None: ...
    def blocks(self, indices: Iterable[int]) -> dict[int, bytes]: ...
    def put_state(self, lease: Lease, head: Head, changed: Mapping[int, bytes]) -> bool: ...


class _Known(msgspec.Struct, frozen=True):
    """Which state the file is, or came from: written after the file, so it never claims more."""

    generation: int
    digest: str


_NOTHING = _Known(0, "")


class StateCopy:
    """One replica's side of it; of one thread.

    The holder calls `push` beside the store's own connections, and acts upon what it stored only
    after True. A standby calls `pull`. `close` when the lease was lost.
    """

    def __init__(
        self, door: StateDoor, store: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._door = door
        self._store = store
        self._clock = clock
        self._next_pull = 0.0
        self._known = self._read_known()
        #: A put whose end is not known: it may have arrived.
        self._attempt: Head | None = None
        self._reader: sqlite3.Connection | None = None
        self._version = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def generation(self) -> int:
        """Of the state on this disk: 0 for none."""
        return self._known.generation

    def close(self) -> None:
        """Let go of the store's file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def push(self, lease: Lease, *, newest: int = 0) -> bool:
        """True: all that was committed before the call is in Redis. False: lead no more.

        The new generation is above `newest`, which others have or had, so that they will take it.
        """
        there = self._door.head()
        if there is not None and there == self._attempt:
            self._learn(there)
        self._attempt = None
        is_ours = there is not None and _known(there) == self._known
        if there is not None and not is_ours and there.generation >= self.generation:
            return False
        with self._translated():
            version = self._changes()
            same = there if is_ours and newest <= self.generation else None
            if same is not None and version == self._version:
                return True
            with self._snapshot() as file:
                head = _head(file, 1 + max(self.generation, newest))
                is_same = same is not None and same.digests == head.digests
                if not is_same and not self._put(file, lease, head, there):
                    return False
        self._version = version
        return True

    def _put(self, file: BinaryIO, lease: Lease, head: Head, there: Head | None) -> bool:
        # Redis may have evicted blocks that its own head speaks of: then it gets all of them.
        for known in (there.digests if there is not None else (), ()):
            self._attempt = head
            try:
                is_put = self._door.put_state(lease, head, _Changed(file, head, known))
            except OtherState:
                self._attempt = None
                continue
            if is_put:
                self._learn(head)
            self._attempt = None
            return is_put
        return False

    def pull(self, *, now: bool = False, stop: Callable[[], bool] = lambda: False) -> bool:
        """True if the file is another one now, that of Redis; for who does not lead only.

        Without `now`, not sooner after the last time than is cheap. StateError while somebody has
        the file open.
        """
        self.close()
        begun = self._clock()
        if begun < self._next_pull and not now:
            return False
        try:
            return self._pull(stop)
        finally:
            ended = self._clock()
            self._next_pull = ended + _SELDOM * (ended - begun)

    def _pull(self, stop: Callable[[], bool]) -> bool:
        head = self._door.head()
        if head is None or not self._is_news(head):
            return False
        beside = self._beside("pulling")
        if not beside.exists():
            # What is left of a pull that was cut off has more of it, and is never trusted.
            if self._store.exists():
                shutil.copyfile(self._store, beside)
            else:
                beside.touch(0o600)
        with beside.open("r+b") as file:
            whole = self._bring(file, head, stop)
            if whole is None:
                return False
            os.fsync(file.fileno())
        with self._translated():
            self._settle()
        beside.replace(self._store)
        _sync_folder(self._store.parent)
        self._learn(whole)
        return True

    def _bring(self, file: BinaryIO, head: Head, stop: Callable[[], bool]) -> Head | None:
        """Make the file that of Redis; of which head it is then. None: not now."""
        for _ in range(_TRIES):
            file.truncate(head.size)
            missing = [n for n, digest in enumerate(_digests(file)) if digest != head.digests[n]]
            for start in range(0, len(missing), _TOGETHER):
                if stop():
                    return None
                wanted = missing[start : start + _TOGETHER]
                found = self._door.blocks(wanted)
                if not all(_put(file, n, found.get(n, b""), head) for n in wanted):
                    break
            else:
                return head
            # The holder went on meanwhile.
            after = self._door.head()
            if after is None or not self._is_news(after):
                return None
            head = after
        log.warning("the state in Redis could not be brought whole; it is tried again")
        return None

    def _is_news(self, head: Head) -> bool:
        """An older one is none: Redis went back, or whoever leads will go beyond this one."""
        if head.generation < self.generation or _known(head) == self._known:
            return False
        if len(head.digests) != -(-head.size // BLOCK):
            log.warning(
                "the state in Redis has %d blocks for %d bytes", len(head.digests), head.size
            )
            return False
        return True

    def _changes(self) -> int:
        """Another number after each commit of another connection."""
        if self._reader is None:
            uri = f"{self._store.absolute().as_uri()}?mode=rw"
            self._reader = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
            self._version = -1
        found: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        return found

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[BinaryIO]:
        """The store as it is at one instant, in a file that has no other files to it."""
        copy = self._beside("pushing")
        for left in (copy, self._beside("pulling")):
            left.unlink(missing_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target:
                # It need not outlive a crash.
                target.execute("PRAGMA synchronous = OFF")
                target.execute("PRAGMA journal_mode = OFF")
                if self._reader is not None:
                    self._reader.backup(target)
                # Who opens this file only to read makes no `-wal` beside it that could be taken
                # for that of the next one.
                target.execute("PRAGMA journal_mode = DELETE")
            with copy.open("rb") as file:
                yield file
        finally:
            copy.unlink(missing_ok=True)

    def _settle(self) -> None:
        """Have the old file stand alone: the log beside it would be taken for the new one's."""
        sides = [self._store.with_name(self._store.name + end) for end in ("-wal", "-journal")]
        if not any(side.exists() for side in sides):
            return
        try:
            with contextlib.closing(sqlite3.connect(self._store, timeout=0.0)) as db:
                db.execute("PRAGMA journal_mode = DELETE")
                db.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            log.warning("%s was unreadable, and is replaced: %s", self._store, error)
            for side in sides:
                side.unlink(missing_ok=True)

    def _beside(self, word: str) -> Path:
        return self._store.with_name(f"{self._store.name}.{word}")

    def _learn(self, head: Head) -> None:
        known = _known(head)
        write_atomically(self._beside("generation"), msgspec.json.encode(known))
        self._known = known

    def _read_known(self) -> _Known:
        file = self._beside("generation")
        try:
            known = msgspec.json.decode(file.read_bytes(), type=_Known)
        except FileNotFoundError:
            return _NOTHING
        except msgspec.MsgspecError as error:
            log.warning("%s is unreadable, and as good as none: %s", file, error)
            return _NOTHING
        return known if self._store.exists() else _NOTHING

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(f"the store failed: {error}", where=str(self._store)) from error


def _head(file: BinaryIO, generation: int) -> Head:
    digests = tuple(_digests(file))
    return Head(generation, file.tell(), digests)


class _Changed(Mapping[int, bytes]):
    """The blocks whose digests are not the known ones, packed as they are asked for."""

    def __init__(self, file: BinaryIO, head: Head, known: tuple[str, ...]) -> None:
        self._file = file
        # A dict, since their order is to stay.
        self._numbers = dict.fromkeys(
            n for n, digest in enumerate(head.digests) if known[n : n + 1] != (digest,)
        )

    def __getitem__(self, number: int) -> bytes:
        if number not in self._numbers:
            raise KeyError(number)
        self._file.seek(number * BLOCK)
        return zlib.compress(self._file.read(BLOCK), 1)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def _digests(file: BinaryIO) -> Iterator[str]:
    return map(_digest, _blocks(file))


def _digest(block: bytes) -> str:
    return blake2b(block, digest_size=12).hexdigest()


def _put(file: BinaryIO, number: int, packed: bytes, head: Head) -> bool:
    """Write a block where it belongs, if it is the one that the head speaks of."""
    try:
        block = zlib.decompressobj().decompress(packed, BLOCK)
    except zlib.error:
        return False
    if _digest(block) != head.digests[number]:
        return False
    file.seek(number * BLOCK)
    file.write(block)
    return True


def _known(head: Head) -> _Known:
    return _Known(head.generation, blake2b("".join(head.digests).encode()).hexdigest()[:32])


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
