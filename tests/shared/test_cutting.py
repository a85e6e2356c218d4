"""A chunk whose replica is gone: when it is ended, where, and what comes of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from doorinmemory import RememberedCuts
from replicajournal import ROOM, Replica

from gateway.chunks import Chunk, ChunkKey, Log, Schema
from gateway.monitoring.segments import contents_of
from gateway.shared.cutting import Absence, cut_off, keep_rest
from gateway.shared.held import Held, Lease
from gateway.shared.mirroring import Mirror

KEY = ChunkKey("a1b2c3d4", 1)
REST = ChunkKey("a1b2c3d4", 1_000_000_001)
SCHEMA = b'{"t":"schema","fingerprint":"f","columns":["a"]}\n'
LOG = (
    b'{"t":"log","ts":"2025-11-24T16:00:00.000Z","branch":"prod","level":"error","message":"%s"}\n'
)
NOW = "2025-11-24T16:00:00.000Z"


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    return Replica(tmp_path / "journal")


@pytest.fixture
def lease(replica: Replica) -> Lease:
    lease = replica.door.take("me", 60)
    assert lease is not None
    return lease


class Holder:
    """The copy of what a replica shipped, at another one."""

    def __init__(self, replica: Replica, lease: Lease, folder: Path) -> None:
        self.door, self.lease, self.folder = replica.door, lease, folder
        self.cuts = RememberedCuts()
        self.mirror = Mirror(self.door, folder)

    def step(self) -> None:
        assert self.mirror.step(lambda: False, self.cuts)

    def cut(self, taken: float = 0, size: int | None = None) -> bool:
        held = self.mirror.held[KEY].size if size is None else size
        return cut_off(self.door, self.lease, KEY, held, self.folder, taken)

    def done(self) -> None:
        assert self.door.call_done(self.lease, [KEY], self.cuts)


@pytest.fixture
def holder(replica: Replica, lease: Lease, tmp_path: Path) -> Holder:
    return Holder(replica, lease, tmp_path / "shared")


def test_an_open_chunk_is_given_up_when_nobody_has_it_for_long() -> None:
    now = 0.0
    absence = Absence(100.0, lambda: now)
    there: set[str] = {KEY.writer}

    def given_up(size: int = 7, *, sealed: bool = False) -> dict[ChunkKey, int]:
        return absence.look({KEY: Held(size, sealed)}, there.__contains__)

    assert given_up() == {}
    now = 1000.0
    assert given_up() == {}, "its replica is there"
    there.clear()
    assert given_up() == {}
    now += 99
    assert given_up() == {}
    assert given_up(8) == {}, "it grew: somebody writes"
    now += 99
    assert given_up(8) == {}
    there.add(KEY.writer)
    assert given_up(8) == {}, "it came back"
    there.clear()
    assert given_up(8) == {}
    now += 100
    assert given_up(8) == {KEY: 8}
    assert given_up(8, sealed=True) == {}


def test_a_given_up_chunk_counts_as_far_as_it_is_there_and_the_rest_follows(
    replica: Replica, holder: Holder
) -> None:
    replica.write(3)
    replica.ship()
    holder.step()
    assert holder.cut()
    replica.write(2)
    replica.ship()
    holder.step()
    [name] = files(holder.folder)
    assert name == KEY.file
    assert numbers(holder.folder / KEY.file) == [1, 2, 3]
    replica.journal.seal()
    for _ in range(3):
        status = replica.ship()
    assert (status.trouble, status.kept, status.chunks) == (None, 1, 1), "the rest is not there yet"
    began = replica.shipper.shipped_until(replica.now)
    holder.done()
    replica.ship()
    assert replica.shipper.shipped_until(replica.now) == began, "nor while it is made"
    assert files(replica.folder) == [REST.file]
    replica.ship()
    holder.step()
    assert files(holder.folder) == [REST.file]
    assert numbers(holder.folder / REST.file) == [4, 5]
    assert holder.door.call_done(holder.lease, [REST], holder.cuts)
    replica.ship()
    assert files(replica.folder) == []


def test_an_emptied_redis_is_not_believed_to_have_more(replica: Replica, holder: Holder) -> None:
    replica.write(3)
    replica.ship()
    holder.step()
    assert holder.cut()
    holder.step()
    replica.door.memory.empty()
    holder.lease = replica.door.take("me", 60) or holder.lease
    replica.write(2)
    replica.journal.seal()
    replica.ship()
    assert replica.door.chunks()[KEY].cut is None
    holder.step()
    assert numbers(holder.folder / KEY.file) == [1, 2, 3]
    assert holder.mirror.to_cut == holder.cuts
    for key, cut in holder.mirror.to_cut.items():
        assert replica.door.cut(holder.lease, key, cut)
    holder.step()
    assert holder.mirror.to_cut == {}
    assert replica.door.chunks()[KEY] == Held(holder.cuts[KEY], sealed=True, cut=holder.cuts[KEY])
    holder.done()
    replica.ship()
    replica.ship()
    holder.step()
    assert numbers(holder.folder / REST.file) == [4, 5]


@pytest.mark.parametrize("taken", ["more was counted", "all was counted"])
def test_what_was_counted_beyond_what_is_there_is_not_cut_off(
    replica: Replica, holder: Holder, taken: str
) -> None:
    """Of a Redis that was emptied, and is told of it again in part."""
    replica.write(3)
    replica.ship()
    holder.step()
    size = holder.mirror.held[KEY].size
    assert holder.cut(float("inf") if taken.startswith("all") else size + 1)
    assert holder.door.chunks()[KEY] == Held(size, sealed=False)
    assert holder.cut(size)
    assert holder.door.chunks()[KEY] == Held(size, sealed=True, cut=size)


def test_only_what_is_here_whole_is_cut_off(replica: Replica, holder: Holder) -> None:
    replica.write(1)
    replica.ship()
    holder.step()
    replica.write(1)
    replica.ship()
    before = holder.door.chunks()
    assert holder.cut(), "it grew in Redis since"
    assert holder.cut(size=before[KEY].size), "it is here only in part"
    assert holder.door.chunks() == before


def test_a_chunk_ends_behind_a_whole_line_and_without_one_is_forgotten(
    replica: Replica, holder: Holder
) -> None:
    data = b"a line\nand a pa"
    replica.door.ship(KEY, 0, data, sealed=False, cap=ROOM)
    holder.step()
    assert holder.cut()
    assert replica.door.chunks() == {KEY: Held(7, sealed=True, cut=7)}
    holder.step()
    assert (holder.folder / KEY.file).read_bytes() == b"a line\n"
    replica.door.memory.empty()
    holder.lease = replica.door.take("me", 60) or holder.lease
    other = ChunkKey("00000002", 1)
    replica.door.ship(other, 0, b"no line", sealed=False, cap=ROOM)
    holder.step()
    assert cut_off(holder.door, holder.lease, other, 7, holder.folder, 0)
    assert other not in replica.door.chunks()
    assert replica.door.ship(other, 0, b"no line", sealed=False, cap=ROOM).has == 7


def test_only_the_holder_cuts(replica: Replica, holder: Holder) -> None:
    replica.write(1)
    replica.ship()
    holder.step()
    replica.door.memory.expire()
    assert not holder.cut()
    assert not replica.door.chunks()[KEY].sealed


def test_a_rest_has_all_that_its_rows_need(tmp_path: Path, replica: Replica) -> None:
    replica.journal.append(SCHEMA, 0, NOW)
    for word in ("one", "two"):
        replica.journal.append(LOG % word.encode(), 0, NOW)
    path = replica.folder / KEY.file
    replica.journal.seal()
    data = path.read_bytes()
    cut = data.rindex(b"\n", 0, -1) + 1
    keep_rest(path, KEY, cut)
    rest = replica.folder / REST.file
    with Chunk(path) as whole, Chunk(rest) as read:
        assert read.header.time == whole.header.time
        assert read.key == REST
        records = list(read)
    assert [type(one) for one in records] == [Schema, Log]
    with Chunk(rest) as read:
        assert contents_of(read).bad_lines == 0
    before = rest.read_bytes()
    keep_rest(path, KEY, cut)
    assert rest.read_bytes() == before, "made again, it is the same"
    assert files(replica.folder) == [KEY.file, REST.file]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def numbers(path: Path) -> list[int]:
    """Of the lines that the replica wrote."""
    return [
        int(line.partition(b'"n":')[2].partition(b",")[0])
        for line in path.read_bytes().splitlines()
        if b'"n":' in line
    ]
