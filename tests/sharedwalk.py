"""Replicas, monitors and a Redis, each of which may stop at any moment, by the luck of a seed.

The monitors' consumers remember as the gateway's do: one by (writer, number, offset), as the
experiments do, and one by chunk, as drift does; each piece they take is on their disk at once. What
they have taken reaches Redis as one state, under the lease; only then is a chunk called done.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Protocol, cast

from gateway.chunks import ChunkKey, sealed_chunks
from gateway.journal import Journal
from gateway.monitoring.experiments.tail import journaled
from gateway.shared.cutting import cut_off
from gateway.shared.door import SharedAway
from gateway.shared.held import Head, Held, Lease, Shipped
from gateway.shared.mirroring import Mirror
from gateway.shared.shipping import Shipper

NOW = "2026-11-23T10:00:00.123Z"
_REPLICAS = ("one", "two", "three")
_MOST_ROUNDS = 300


class Redis(Protocol):
    """What the walk needs of a door."""

    def ship(
        self, key: ChunkKey, offset: int, data: bytes, *, sealed: bool, cap: int
    ) -> Shipped: ...
    def chunks(self) -> dict[ChunkKey, Held]: ...
    def read(self, key: ChunkKey, offset: int, most: int) -> bytes: ...
    def take(self, holder: str, seconds: float) -> Lease | None: ...
    def give_up(self, lease: Lease) -> None: ...
    def head(self) -> Head | None: ...
    def blocks(self, indices: Iterable[int]) -> dict[int, bytes]: ...
    def put_state(self, lease: Lease, head: Head, changed: Mapping[int, bytes]) -> bool: ...
    def cut(self, lease: Lease, key: ChunkKey, at: int, size: int | None = None) -> bool: ...
    def call_done(
        self, lease: Lease, keys: Iterable[ChunkKey], cuts: Mapping[ChunkKey, int] | None = None
    ) -> bool: ...


@dataclass
class Record:
    """What a monitor has on its disk of what it took."""

    generation: int = 0
    places: dict[ChunkKey, int] = field(default_factory=dict)
    finished: set[ChunkKey] = field(default_factory=set)
    by_offset: Counter[int] = field(default_factory=Counter)
    taken: set[ChunkKey] = field(default_factory=set)
    by_chunk: Counter[int] = field(default_factory=Counter)
    published: set[ChunkKey] = field(default_factory=set)
    #: Chunks that were seen whole, and how long those are that were cut.
    whole: set[ChunkKey] = field(default_factory=set)
    cuts: dict[ChunkKey, int] = field(default_factory=dict)

    def known(self) -> Mapping[ChunkKey, int]:
        return self.cuts

    def learn(self, key: ChunkKey, cut: int) -> None:
        self.cuts[key] = cut

    def reaches(self, key: ChunkKey) -> float:
        """How much of the chunk was taken, by whom it was most."""
        is_whole = key in self.whole or key in self.finished or key in self.taken
        return inf if is_whole else self.places.get(key, 0)

    def is_finished(self, key: ChunkKey) -> bool:
        return key in self.finished

    def is_settled(self, key: ChunkKey) -> bool:
        return key in self.finished and key in self.taken and key in self.published


class Front:
    """One replica's front and shipper."""

    def __init__(self, walk: Walk, name: str) -> None:
        self._walk = walk
        self.folder = walk.folder / name / "journal"
        self.begin()
        self.restart_shipper()

    def begin(self) -> None:
        """A front starts where another was killed."""
        self._is_torn = False
        self._walk.writers += 1
        writer = f"{self._walk.writers:08x}"
        self.journal = Journal(
            self.folder,
            writer,
            limit_bytes=1 << 30,
            header=lambda: {"sample_rows": "all", "features": "none"},
        )
        self.journal.recover()

    def tear(self) -> None:
        """It is killed in the middle of a line."""
        if not self._is_torn:
            self.journal.append(b'{"n":99', 0, NOW)
            self._is_torn = True

    def seal(self) -> None:
        if self._is_torn:
            self.begin()
        self.journal.seal()

    def write(self) -> None:
        if self._is_torn:
            self.begin()
        lines = []
        for _ in range(self._walk.luck.randint(1, 4)):
            self._walk.lines += 1
            lines.append(b'{"n":%d}\n' % self._walk.lines)
        self.journal.append(b"".join(lines), len(lines), NOW)

    def restart_shipper(self) -> None:
        self.shipper = Shipper(self._walk.unsteady(), self.folder, self._walk.cap)

    def ship(self) -> None:
        self.shipper.step(self._walk.stop())


class Monitor:
    """One replica's monitor, which may hold the lease, or believe so."""

    def __init__(self, walk: Walk, name: str) -> None:
        self._walk = walk
        self._name = name
        self.folder = walk.folder / name / "shared"
        self.record = Record()
        self.restart()

    def restart(self) -> None:
        """It is killed: what is not on its disk is forgotten, and the lease runs out some time."""
        self.door = self._walk.unsteady()
        self.mirror = Mirror(self.door, self.folder)
        self.lease: Lease | None = None
        self._to_call: set[ChunkKey] = set()
        self._may_go: set[ChunkKey] = set()

    def lead(self) -> None:
        """Take the lease, with the newest state that anybody has."""
        newest = max(one.record.generation for one in self._walk.monitors)
        head = self.door.head()
        there = head.generation if head is not None else 0
        if self.lease is not None or max(there, self.record.generation) < newest:
            return
        lease = self.door.take(self._name, 5.0)
        if lease is None:
            return
        head = self.door.head()
        if head is not None and head.generation > self.record.generation:
            self.record = pickle.loads(self.door.blocks([0])[0])
        elif self.record.generation < newest:
            # Emptied between the two questions.
            self.door.give_up(lease)
            return
        self.lease = lease
        self._to_call = set()
        self._may_go = set()

    def copy(self) -> None:
        if self.lease is None:
            self.mirror.tidy(self._walk.stop())
            return
        self.mirror.step(self._walk.stop(), self.record)
        self.record.whole |= {chunk.key for chunk in sealed_chunks(self.folder)}

    def give_up_chunks(self) -> None:
        """Their replicas live, or are gone for now, or will not come back: that is all the same."""
        if self.lease is None or not self.mirror.held:
            return
        self.push_state()
        for key, one in self.mirror.held.items():
            if self.lease is not None and not one.sealed and self._walk.luck.random() < 0.5:
                taken = self.record.reaches(key)
                if not cut_off(self.door, self.lease, key, one.size, self.folder, taken):
                    self.lease = None

    def cut_again(self) -> None:
        for key, cut in self.mirror.to_cut.items():
            if self.lease is not None and not self.door.cut(self.lease, key, cut):
                self.lease = None

    def take_by_offset(self) -> None:
        """As `experiments.reading` does: some chunks, each as far as it goes."""
        record, stop = self.record, self._walk.stop()
        for chunk in journaled(self.folder) if self.lease is not None else ():
            if stop():
                return
            if record.is_finished(chunk.key):
                continue
            place = record.places.get(chunk.key, 0)
            content = chunk.path.read_bytes()[place:]
            whole = content[: content.rfind(b"\n") + 1]
            record.by_offset.update(numbers(whole))
            if chunk.sealed:
                record.finished.add(chunk.key)
                record.places.pop(chunk.key, None)
            else:
                record.places[chunk.key] = place + len(whole)

    def take_by_chunk(self) -> None:
        """As drift does: each sealed chunk once, whole."""
        record, stop = self.record, self._walk.stop()
        for chunk in sealed_chunks(self.folder) if self.lease is not None else ():
            if stop():
                return
            if chunk.key not in record.taken:
                record.by_chunk.update(numbers(chunk.path.read_bytes()))
                record.taken.add(chunk.key)

    def publish(self) -> None:
        """Any monitor makes the same bytes under the same name, and what is there is success."""
        stop = self._walk.stop()
        for chunk in sealed_chunks(self.folder) if self.lease is not None else ():
            if stop():
                return
            if chunk.key not in self._may_go:
                # Another holder might end it elsewhere.
                continue
            content = chunk.path.read_bytes()
            assert self._walk.git.setdefault(chunk.key.file, content) == content
            self.record.published.add(chunk.key)

    def settle(self) -> None:
        """Delete what nobody needs here any more; it may come again, before it is done."""
        for chunk in sealed_chunks(self.folder) if self.lease is not None else ():
            if self.record.is_settled(chunk.key):
                chunk.path.unlink()

    def push_state(self) -> None:
        if self.lease is None:
            return
        record = self.record
        new = pickle.loads(pickle.dumps(record))
        new.generation += 1
        block = pickle.dumps(new)
        settled = {key for key in record.published if record.is_settled(key)}
        try:
            is_mine = self.door.put_state(
                self.lease, Head(new.generation, len(block), ("",)), {0: block}
            )
        except SharedAway:
            # It may be there: whoever pulls it has all of this, and so has this disk.
            self.record.generation += 1
            raise
        if is_mine:
            self.record.generation += 1
            self._to_call = settled
            self._may_go = set(new.whole)
        else:
            self.lease = None

    def work(self) -> None:
        """Everything in its order, as a holder does that nothing befalls."""
        for step in (
            self.lead,
            self.copy,
            self.take_by_offset,
            self.take_by_chunk,
            self.push_state,
            self.publish,
            self.push_state,
            self.call_done,
        ):
            step()

    def call_done(self) -> None:
        if self.lease is None:
            return
        if not self.door.call_done(self.lease, sorted(self._to_call), self.record.cuts):
            self.lease = None


class Walk:
    """All of them, and what was written; `redis` is what each new connection is made by."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        connect: Callable[[], Redis],
        empty: Callable[[], None],
        expire: Callable[[], None],
    ) -> None:
        self.folder = folder
        self.luck = random.Random(seed)
        self.lines = 0
        self.writers = 0
        self.cap = self.luck.choice([300, 2000, 1 << 30])
        #: How often chunks are given up, and Redis is emptied.
        self.often = self.luck.choice([(3, 1), (8, 1), (8, 6)])
        self.git: dict[str, bytes] = {}
        self.is_steady = False
        self._connect = connect
        self._empty = empty
        #: The lease runs out, and its holder does not know.
        self._expire = expire
        names = _REPLICAS[: self.luck.randint(1, 3)]
        self.fronts = [Front(self, name) for name in names]
        self.monitors = [Monitor(self, name) for name in names]

    def unsteady(self) -> Redis:
        return cast(Redis, Unsteady(self, self._connect()))

    def stop(self) -> Callable[[], bool]:
        """Asked to stop after some turns."""
        if self.is_steady or self.luck.random() < 0.5:
            return lambda: False
        turns = iter(range(self.luck.randint(1, 8)))
        return lambda: next(turns, None) is None

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self._event()

    def live(self, turns: int) -> None:
        """Mostly as it should be: much gets done, and something befalls it all the same."""
        for _ in range(turns):
            self.go(4)
            leaders = [monitor for monitor in self.monitors if monitor.lease is not None]
            for step in (
                *(front.ship for front in self.fronts),
                *(monitor.work for monitor in leaders or self.monitors),
            ):
                with contextlib.suppress(SharedAway):
                    step()

    def _event(self) -> None:
        front, monitor = self.luck.choice(self.fronts), self.luck.choice(self.monitors)
        events: list[tuple[int, Callable[[], None]]] = [
            (12, front.write),
            (5, front.seal),
            (14, front.ship),
            (2, front.begin),
            (1, front.tear),
            (2, front.restart_shipper),
            (6, monitor.lead),
            (9, monitor.copy),
            (8, monitor.take_by_offset),
            (8, monitor.take_by_chunk),
            (8, monitor.publish),
            (4, monitor.settle),
            (8, monitor.push_state),
            (8, monitor.call_done),
            (self.often[0], monitor.give_up_chunks),
            (2, monitor.cut_again),
            (2, monitor.restart),
            (2, self._expire),
            (self.often[1], self._empty),
        ]
        weights = [weight for weight, _ in events]
        [(_, event)] = self.luck.choices(events, weights)
        with contextlib.suppress(SharedAway):
            event()

    def end(self) -> None:
        """Everything works, nothing more is written: until nothing is left to do."""
        self.is_steady = True
        for front in self.fronts:
            front.seal()
        for turn in range(_MOST_ROUNDS):
            if turn % 10 == 0:
                self._expire()
                for one in self.monitors:
                    one.restart()
            if not self._connect().chunks() and not self.files():
                return
            for front in self.fronts:
                front.ship()
            for monitor in self.monitors if turn // 10 % 2 else self.monitors[::-1]:
                monitor.work()

    def files(self) -> list[str]:
        return [str(path) for path in self.folder.rglob("*") if path.is_file()]

    def check(self) -> None:
        """Every line was taken and published once, and nothing is left."""
        assert self.files() == []
        assert self._connect().chunks() == {}
        once = Counter(range(1, self.lines + 1))
        record = max((one.record for one in self.monitors), key=lambda one: one.generation)
        assert record.by_offset == once
        assert record.by_chunk == once
        assert Counter(numbers(b"".join(self.git.values()))) == once


class Unsteady:
    """A connection that fails by luck: before the work is done, or after it."""

    def __init__(self, walk: Walk, redis: Redis) -> None:
        self._walk = walk
        self._redis = redis

    def __getattr__(self, name: str) -> Callable[..., object]:
        call = getattr(self._redis, name)

        def tried(*args: object, **named: object) -> object:
            luck = self._walk.luck.random() if not self._walk.is_steady else 1.0
            if luck < 0.04:
                raise SharedAway("connection refused", where="redis")
            found = call(*args, **named)
            if luck < 0.08:
                raise SharedAway("no answer within 2 s", where="redis")
            return found

        return tried


def numbers(content: bytes) -> list[int]:
    """Of the lines that are no headers. A torn one would be an error here."""
    found = [json.loads(line) for line in content.splitlines()]
    return [one["n"] for one in found if "n" in one]
