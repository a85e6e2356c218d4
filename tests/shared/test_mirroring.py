"""The holder's folder follows Redis, exactly the bytes, whatever was in it before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from doorinmemory import InMemoryDoor, Memory, RememberedCuts
from replicajournal import Replica

from gateway.chunks import ChunkKey, sealed_chunks
from gateway.shared import mirroring
from gateway.shared.held import Held
from gateway.shared.mirroring import Mirror
from gateway.shared.shipping import Shipper

A, B = "a1b2c3d4", "00000002"


def never() -> bool:
    return False


class Holder:
    def __init__(self, folder: Path, memory: Memory) -> None:
        self.folder = folder
        self.door = InMemoryDoor(memory)
        self.wanted: set[ChunkKey] = set()
        self.cuts = RememberedCuts()
        self.restart()

    def restart(self) -> None:
        self.mirror = Mirror(self.door, self.folder, wanted=self.wanted.__contains__)

    def step(self) -> bool:
        return self.mirror.step(never, self.cuts)

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    def read(self) -> int:
        """Bytes that were asked for since the last question."""
        found = sum(size for name, _, _, size in self.door.calls if name == "read")
        self.door.calls.clear()
        return found


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    return Replica(tmp_path / "journal")


@pytest.fixture
def holder(tmp_path: Path, replica: Replica) -> Holder:
    return Holder(tmp_path / "shared" / "journal", replica.door.memory)


def test_the_folder_is_a_journal_of_all_replicas(
    tmp_path: Path, replica: Replica, holder: Holder
) -> None:
    other = Replica(tmp_path / "other", writer=B)
    other.door = InMemoryDoor(replica.door.memory)
    other.restart()
    sealed = [replica.sealed(3), other.sealed(2)]
    replica.write(2)
    replica.ship()
    other.ship()
    assert holder.step()
    assert holder.files() == replica.on_disk() | other.on_disk()
    assert {file.key for file in sealed_chunks(holder.folder)} == set(sealed)


def test_an_open_chunk_grows_and_is_sealed(replica: Replica, holder: Holder) -> None:
    for _ in range(3):
        replica.write(4)
        replica.ship()
        assert holder.step()
        assert holder.files() == replica.on_disk()
    replica.journal.seal()
    replica.ship()
    holder.door.calls.clear()
    assert holder.step()
    assert holder.files() == replica.on_disk()
    assert [name for name, *_ in holder.door.calls] == ["chunks"]
    assert not list(holder.folder.glob("*/*.open"))


def test_a_sealed_file_is_on_the_disk_before_it_is_called_whole(
    replica: Replica, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = replica.sealed()
    replica.ship()
    seen: list[tuple[str, int]] = []

    def fsync(fd: int) -> None:
        seen.extend((path.suffix, path.stat().st_size) for path in holder.folder.glob("*/*"))

    monkeypatch.setattr(os, "fsync", fsync)
    holder.step()
    assert seen == [(".open", len(replica.on_disk()[chunk.file]))]


def test_a_mirror_that_was_killed_half_way_goes_on(
    replica: Replica, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "_PIECE", 100)
    replica.sealed(50)
    replica.ship()
    answers = iter([False] * 5 + [True] * 5)
    assert not holder.mirror.step(lambda: next(answers), holder.cuts)
    [(name, half)] = holder.files().items()
    assert name.endswith(".open")
    assert 0 < len(half) < replica.door.memory.size()
    holder.restart()
    holder.read()
    assert holder.step()
    assert holder.files() == replica.on_disk()
    assert holder.read() < len(half) * 2 + replica.door.memory.size() - len(half)


def test_a_step_has_a_bound_and_the_next_one_goes_on(
    replica: Replica, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "_STEP_BYTES", 20_000)
    monkeypatch.setattr(mirroring, "_PIECE", 1000)
    for _ in range(3):
        replica.sealed(200, size=200)
    replica.ship()
    steps = 0
    while not holder.step():
        assert holder.read() <= 21_000
        steps += 1
    assert steps > 1
    assert holder.files() == replica.on_disk()


def begins(file: Path) -> None:
    """As another chunk would, and as long."""
    content = file.read_bytes()
    file.write_bytes(b"#" * 50 + content[50:])


def ends(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-50] + b"\0" * 50)


def is_longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more\n")


def is_shorter(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize("other", [begins, ends, is_longer, is_shorter])
def test_a_sealed_file_of_another_lineage_is_begun_anew(
    replica: Replica, holder: Holder, other: Callable[[Path], None]
) -> None:
    chunk = replica.sealed(200)
    replica.ship()
    holder.step()
    other(holder.folder / chunk.file)
    holder.restart()
    assert holder.step()
    assert holder.files() == replica.on_disk()


@pytest.mark.parametrize("other", [begins, ends])
def test_an_open_file_of_another_lineage_is_begun_anew(
    replica: Replica, holder: Holder, other: Callable[[Path], None]
) -> None:
    replica.write(200)
    replica.ship()
    holder.step()
    [file] = holder.folder.glob("*/*.open")
    other(file)
    replica.write(3)
    replica.ship()
    holder.restart()
    assert holder.step()
    assert holder.files() == replica.on_disk()


def test_an_open_file_longer_than_the_sealed_chunk_is_begun_anew(
    replica: Replica, holder: Holder
) -> None:
    replica.write(20)
    replica.ship()
    holder.step()
    [file] = holder.folder.glob("*/*.open")
    is_longer(file)
    replica.journal.seal()
    replica.ship()
    assert holder.step()
    assert holder.files() == replica.on_disk()


def test_what_redis_lost_stays_here_until_it_is_done(replica: Replica, holder: Holder) -> None:
    replica.sealed(9)
    replica.write(9)
    replica.ship()
    holder.step()
    there = holder.files()
    replica.door.memory.empty()
    assert holder.step()
    assert holder.files() == there
    assert replica.door.chunks() == {}


def test_what_redis_loses_while_it_is_compared_stays(
    replica: Replica, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.write(9)
    replica.ship()
    holder.step()
    there = holder.files()
    real = InMemoryDoor.read

    def lose_then_read(self: InMemoryDoor, key: ChunkKey, offset: int, most: int) -> bytes:
        self.memory.empty()
        return real(self, key, offset, most)

    holder.restart()
    monkeypatch.setattr(InMemoryDoor, "read", lose_then_read)
    assert not holder.step()
    assert holder.files() == there


def test_whole_chunks_come_first(replica: Replica, holder: Holder) -> None:
    replica.write(5)
    sealed = ChunkKey("f0000000", 1)
    replica.ship()
    replica.door.memory.ship(sealed, 0, b"{}\n", sealed=True, cap=1 << 30)
    answers = iter([False, False, True, True])
    assert not holder.mirror.step(lambda: next(answers), holder.cuts)
    assert set(holder.files()) == {sealed.file}


def test_files_stay_as_they_are_while_an_emptied_redis_is_filled(
    replica: Replica, holder: Holder
) -> None:
    chunk = replica.sealed(30)
    replica.write(9)
    replica.ship()
    holder.step()
    there = holder.files()
    memory = replica.door.memory
    whole = {key: bytes(data) for key, data in memory.chunks.items()}
    memory.empty()
    for key, data in whole.items():
        memory.ship(key, 0, data[: len(data) // 2], sealed=False, cap=1 << 30)
    assert holder.step()
    assert holder.files() == there
    replica.write(3)
    replica.ship()
    assert holder.step()
    assert holder.files() == replica.on_disk()
    assert chunk.file in holder.files()


def test_done_chunks_go_but_for_those_still_wanted(replica: Replica, holder: Holder) -> None:
    chunks = [replica.sealed() for _ in range(3)]
    replica.ship()
    holder.step()
    holder.wanted.add(chunks[1])
    replica.door.memory.call_done(chunks)
    holder.restart()
    holder.step()
    assert set(holder.files()) == {chunks[1].file}
    holder.wanted.clear()
    holder.step()
    assert list(holder.folder.iterdir()) == []


def test_half_a_chunk_that_another_holder_finished_goes(replica: Replica, holder: Holder) -> None:
    replica.write(5)
    replica.ship()
    holder.step()
    replica.journal.seal()
    replica.ship()
    replica.door.memory.call_done([ChunkKey(A, 1)])
    holder.step()
    assert holder.files() == {}


def test_a_replica_that_holds_no_more_removes_what_another_finished(
    replica: Replica, holder: Holder
) -> None:
    done = replica.sealed()
    replica.write(5)
    replica.ship()
    holder.step()
    replica.door.memory.call_done([done])
    replica.write(5)
    replica.sealed()
    replica.ship()
    there = holder.files()
    holder.mirror.tidy(never)
    assert holder.files() == {name: there[name] for name in there if name != done.file}
    holder.door.away = True
    holder.mirror.tidy(never)
    assert len(holder.files()) == 1


def test_a_chunk_that_goes_while_it_is_read_leaves_the_rest_for_later(
    replica: Replica, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = replica.sealed(9), replica.sealed(9)
    replica.ship()
    real = InMemoryDoor.read

    def finish_then_read(self: InMemoryDoor, key: ChunkKey, offset: int, most: int) -> bytes:
        self.memory.call_done([first])
        return real(self, key, offset, most)

    monkeypatch.setattr(InMemoryDoor, "read", finish_then_read)
    assert not holder.step()
    monkeypatch.undo()
    assert holder.step()
    assert set(holder.files()) == {second.file}


@pytest.mark.parametrize(
    "name",
    [
        ChunkKey("../../..", 1),
        ChunkKey("../a1b2c3", 1),
        ChunkKey("A1B2C3D4", 1),
        ChunkKey("/tmp/xyz", 1),
        ChunkKey("a1b2c3d4\n", 1),
        ChunkKey("a1b2c3d", 1),
        ChunkKey(A, -1),
        ChunkKey(A, 10**16),
    ],
)
def test_a_name_from_redis_leads_nowhere_else(
    tmp_path: Path, replica: Replica, holder: Holder, name: ChunkKey
) -> None:
    good = replica.sealed()
    replica.ship()
    replica.door.memory.chunks[name] = bytearray(b"evil\n")
    replica.door.memory.sealed.add(name)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert holder.step()
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert new == {holder.folder / good.file}


def test_what_a_reader_put_aside_is_not_brought_again(replica: Replica, holder: Holder) -> None:
    chunk = replica.sealed()
    replica.ship()
    holder.step()
    file = holder.folder / chunk.file
    file.rename(file.with_suffix(".unreadable"))
    assert holder.step()
    assert [path.suffix for path in holder.folder.glob("*/*")] == [".unreadable"]
    assert holder.mirror.aside == {chunk}
    replica.door.memory.call_done([chunk])
    holder.step()
    assert holder.mirror.aside == frozenset()
    assert [path.suffix for path in holder.folder.glob("*/*")] == [".unreadable"]


def test_without_redis_the_folder_stays(replica: Replica, holder: Holder) -> None:
    replica.sealed()
    replica.ship()
    holder.step()
    holder.door.away = True
    there = holder.files()
    assert not holder.step()
    assert holder.mirror.trouble == "chunks of other replicas wait: redis: connection refused"
    assert holder.files() == there
    holder.door.away = False
    assert holder.step()
    assert holder.mirror.trouble is None


def test_files_of_others_in_the_folder_are_left_alone(replica: Replica, holder: Holder) -> None:
    (holder.folder / "notes").mkdir(parents=True)
    note = holder.folder / "notes" / "00000001.jsonl"
    note.write_bytes(b"mine\n")
    replica.door.memory.call_done([ChunkKey("notes", 1)])
    holder.step()
    assert holder.files() == {"notes/00000001.jsonl": b"mine\n"}


def test_an_empty_chunk_is_followed_too(replica: Replica, holder: Holder) -> None:
    replica.door.memory.ship(ChunkKey(A, 7), 0, b"", sealed=True, cap=0)
    assert replica.door.chunks() == {ChunkKey(A, 7): Held(0, sealed=True)}
    assert holder.step()
    assert holder.files() == {f"{A}/00000007.jsonl": b""}


def test_shipper_and_mirror_may_share_a_machine(replica: Replica, holder: Holder) -> None:
    """The holder ships its own journal too, and copies it back."""
    shipper = Shipper(holder.door, replica.folder, 1 << 30)
    replica.sealed()
    shipper.step(never)
    holder.step()
    assert holder.files() == replica.on_disk()
