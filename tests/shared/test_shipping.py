"""A replica's chunks reach Redis whole, and leave the disk only when they are done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from doorinmemory import InMemoryDoor
from replicajournal import BEGUN, WRITER, Replica

from gateway.chunks import BEFORE_HEADER, ChunkKey
from gateway.shared import shipping
from gateway.shared.held import Held
from gateway.shared.shipping import ShippedStatus
from gateway.timestamps import rfc3339


def never() -> bool:
    return False


def key(number: int, writer: str = WRITER) -> ChunkKey:
    return ChunkKey(writer, number)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    return Replica(tmp_path / "journal")


def test_sealed_and_open_chunks_arrive_byte_by_byte(replica: Replica) -> None:
    replica.sealed(3)
    replica.write(2)
    status = replica.ship()
    assert replica.door.memory.files() == replica.on_disk()
    assert (status.chunks, status.bytes, status.kept) == (0, 0, 2)
    assert not status.paused
    assert not status.behind
    assert status.trouble is None


def test_only_what_is_new_is_sent_again(replica: Replica) -> None:
    replica.write(100)
    replica.ship()
    replica.door.sent()
    replica.write(1)
    before = replica.door.memory.size()
    replica.ship()
    assert replica.door.sent() == replica.door.memory.size() - before > 0
    replica.journal.seal()
    replica.ship()
    assert replica.door.sent() == 0
    assert replica.door.memory.files() == replica.on_disk()


def test_a_line_that_is_being_written_waits_for_its_end(replica: Replica) -> None:
    replica.write(1)
    replica.journal.append(b'{"t":"log","torn', 1, rfc3339(replica.now))
    replica.ship()
    [sent] = replica.door.memory.chunks.values()
    assert sent.endswith(b"}\n")
    assert b"torn" not in sent
    replica.journal.append(b'":1}\n', 1, rfc3339(replica.now))
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()


def test_a_line_longer_than_a_piece_is_sent_whole(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "_PIECE", 50)
    replica.write(3, size=170)
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()
    replica.sealed(1, size=333)
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()


def test_a_torn_line_that_the_next_front_cuts_off_was_never_sent(replica: Replica) -> None:
    replica.write(2)
    replica.journal.append(b'{"t":"log","torn', 1, rfc3339(replica.now))
    replica.ship()
    replica.begin("00000002")
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()
    assert b"torn" not in replica.door.memory.chunks[key(1)]


def test_what_redis_has_beyond_the_disk_of_a_machine_that_died_stays(replica: Replica) -> None:
    replica.write(5)
    replica.ship()
    all_of_it = bytes(replica.door.memory.chunks[key(1)])
    opened = next(replica.folder.glob("*/*.open"))
    os.truncate(opened, all_of_it.index(b"\n") + 1)
    replica.begin("00000002")
    replica.ship()
    assert replica.door.chunks() == {key(1): Held(len(all_of_it), sealed=True)}
    assert replica.door.memory.chunks[key(1)] == all_of_it


def test_a_chunk_stays_until_it_is_done_and_goes_then(replica: Replica) -> None:
    first, second = replica.sealed(), replica.sealed()
    replica.ship()
    replica.ship()
    assert set(replica.on_disk()) == {first.file, second.file}
    replica.door.memory.call_done([second])
    replica.door.sent()
    assert replica.ship().kept == 1
    assert set(replica.on_disk()) == {first.file}
    assert replica.door.sent() == 0
    replica.door.memory.call_done([first])
    assert replica.ship() == ShippedStatus()
    assert replica.on_disk() == {}


def test_a_shipper_that_was_killed_learns_what_is_done(replica: Replica) -> None:
    done = replica.sealed()
    replica.ship()
    replica.door.memory.call_done([done])
    replica.restart()
    replica.ship()
    assert replica.on_disk() == {}
    assert replica.door.chunks() == {}


def test_an_open_chunk_is_not_deleted_whatever_is_said_to_be_done(replica: Replica) -> None:
    replica.write()
    replica.ship()
    replica.door.memory.call_done([key(1)])
    replica.ship()
    replica.write()
    assert len(replica.on_disk()) == 1


def test_a_redis_that_was_emptied_gets_everything_again(replica: Replica) -> None:
    replica.sealed()
    replica.sealed(size=3000)
    replica.write()
    replica.ship()
    replica.door.memory.empty()
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()


def test_bytes_that_redis_evicted_are_noticed_and_sent_again(replica: Replica) -> None:
    lost = [replica.sealed(9), replica.sealed(9)]
    replica.ship()
    there = replica.door.memory.files()
    for one in lost:
        replica.door.memory.chunks[one].clear()
    replica.door.chunks = lambda: {one: Held(len(there[one.file]), True) for one in lost}  # type: ignore[method-assign]
    replica.door.memory.sealed.clear()
    for _ in lost:
        replica.ship()
    assert replica.door.memory.files() == there


def test_an_answer_that_was_lost_doubles_nothing(replica: Replica) -> None:
    replica.sealed(3)
    replica.door.lost_answers = 1
    status = replica.ship()
    assert status.trouble == "chunks wait on the disk: redis: no answer within 2 s"
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()


def test_without_redis_everything_waits_and_says_so(replica: Replica) -> None:
    replica.sealed()
    replica.write()
    replica.door.away = True
    before = replica.on_disk()
    status = replica.ship()
    assert status.trouble == "chunks wait on the disk: redis: connection refused"
    assert (status.chunks, status.bytes) == (2, sum(map(len, before.values())))
    assert not status.behind
    assert replica.on_disk() == before
    replica.door.away = False
    assert replica.ship() == ShippedStatus(kept=2)
    replica.door.away = True
    assert (replica.ship().chunks, replica.ship().bytes) == (0, 0)


def test_one_that_was_sealed_between_two_looks_is_taken_for_sealed(replica: Replica) -> None:
    chunk = replica.sealed(3)
    file = replica.folder / chunk.file
    file.with_suffix(".open").write_bytes(file.read_bytes())
    assert replica.ship().kept == 1
    assert replica.door.chunks()[chunk].sealed


def test_at_the_cap_the_rest_waits_but_the_oldest_goes_on(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "journal", cap=3000)
    first = replica.sealed(size=5000)
    second = replica.sealed()
    replica.write()
    status = replica.ship()
    assert replica.door.chunks() == {first: Held(len(replica.on_disk()[first.file]), True)}
    assert status.paused
    assert status.chunks == 2
    # Whole and in nobody's hands but the holder's: the next one has no right to more room.
    status = replica.ship()
    assert status.paused
    assert second not in replica.door.chunks()
    replica.door.memory.call_done([first])
    status = replica.ship()
    assert not status.paused
    assert replica.door.memory.files() == replica.on_disk()


def test_an_open_chunk_never_passes_the_cap(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "journal", cap=3000)
    replica.write(size=5000)
    assert replica.ship().paused
    assert replica.door.chunks() == {}


def test_a_small_chunk_does_not_pass_a_large_one_that_waits(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "journal", cap=3000)
    first = replica.sealed(size=1000)
    replica.sealed(size=5000)
    replica.sealed()
    assert replica.ship().chunks == 2
    assert set(replica.door.chunks()) == {first}


def test_a_chunk_that_cannot_be_read_leaves_its_right_of_way_to_the_next(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "journal", cap=3000)
    bad, good = replica.sealed(), replica.sealed(size=5000)
    (replica.folder / bad.file).unlink()
    (replica.folder / bad.file).mkdir()
    replica.ship()
    assert set(replica.door.chunks()) == {good}


def test_a_chunk_that_is_there_is_sealed_also_at_the_cap(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "journal", cap=3000)
    first = replica.sealed()
    replica.write()
    replica.ship()
    replica.journal.seal()
    replica.door.memory.chunks[key(1, "00000009")] = bytearray(9000)
    replica.ship()
    assert replica.door.chunks()[first].sealed
    assert replica.door.chunks()[key(2)].sealed


def test_a_paused_shipper_still_deletes_what_is_done(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "journal", cap=3000)
    chunks = [replica.sealed(size=1000) for _ in range(5)]
    assert replica.ship().paused
    replica.door.memory.call_done([chunks[1]])
    replica.door.memory.chunks[key(1, "00000009")] = bytearray(3000)
    assert replica.ship().paused
    assert chunks[1].file not in replica.on_disk()


def test_a_step_has_a_bound_and_the_next_one_goes_on(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "_STEP_BYTES", 20_000)
    monkeypatch.setattr(shipping, "_PIECE", 1000)
    for _ in range(4):
        replica.sealed(120, size=200)
    steps = 1
    while replica.ship().behind:
        assert replica.door.sent() <= 20_000 + 1000
        steps += 1
    assert steps > 1
    assert replica.door.memory.files() == replica.on_disk()


def test_it_stops_when_it_is_told(replica: Replica) -> None:
    for _ in range(3):
        replica.sealed()
    answers = iter([False, True, True])
    status = replica.shipper.step(lambda: next(answers))
    assert len(replica.door.chunks()) == 1
    assert status.chunks == 2


def test_a_file_that_cannot_be_read_holds_up_no_other(replica: Replica) -> None:
    bad, good = replica.sealed(), replica.sealed()
    (replica.folder / bad.file).unlink()
    (replica.folder / bad.file).mkdir()
    status = replica.ship()
    assert set(replica.door.chunks()) == {good}
    assert status.trouble == f"{replica.folder / bad.file} waits: Is a directory"
    (replica.folder / bad.file).rmdir()
    assert replica.ship().trouble is None


@pytest.mark.parametrize("content", [b"", b"nothing\n", b'{"t":"chunk","v":1}\n'])
def test_what_is_no_chunk_is_put_aside(replica: Replica, content: bytes) -> None:
    bad, good = replica.sealed(), replica.sealed()
    (replica.folder / bad.file).write_bytes(content)
    status = replica.ship()
    assert set(replica.door.chunks()) == {good}
    assert status.unreadable == 1
    assert set(replica.on_disk()) == {bad.file.replace(".jsonl", ".unreadable"), good.file}
    assert replica.ship().kept == 1


def test_a_chunk_that_is_sealed_under_its_hands_is_sent_by_the_next_step(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.write()
    real = InMemoryDoor.chunks

    def seal_then_look(self: InMemoryDoor) -> dict[ChunkKey, Held]:
        replica.journal.seal()
        return real(self)

    monkeypatch.setattr(InMemoryDoor, "chunks", seal_then_look)
    replica.ship()
    assert replica.shipper.shipped_until(BEGUN) == 0.0
    monkeypatch.undo()
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()
    assert replica.shipper.shipped_until(BEGUN) == BEGUN - BEFORE_HEADER


def test_a_chunk_that_grows_or_goes_while_it_is_read_is_no_trouble(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replica.sealed()
    replica.write()
    real = InMemoryDoor.ship

    def ship(self: InMemoryDoor, *args: object, **named: object) -> object:
        replica.write()
        return real(self, *args, **named)  # type: ignore[arg-type]

    real_chunks = InMemoryDoor.chunks

    def delete_then_look(self: InMemoryDoor) -> dict[ChunkKey, Held]:
        (replica.folder / gone.file).unlink(missing_ok=True)
        return real_chunks(self)

    monkeypatch.setattr(InMemoryDoor, "ship", ship)
    monkeypatch.setattr(InMemoryDoor, "chunks", delete_then_look)
    assert replica.ship().trouble is None
    monkeypatch.undo()
    replica.ship()
    assert replica.door.memory.files() == replica.on_disk()


def test_redis_with_another_chunk_of_that_name_is_named(replica: Replica) -> None:
    mine = replica.sealed(5)
    replica.door.memory.chunks[mine] = bytearray(b"short\n")
    replica.door.memory.sealed.add(mine)
    status = replica.ship()
    assert status.trouble is not None
    assert "Redis holds another, shorter chunk" in status.trouble
    assert mine.file in replica.on_disk()


class TestShippedUntil:
    def test_before_the_first_step_nothing_is_promised(self, replica: Replica) -> None:
        assert replica.shipper.shipped_until(BEGUN) == 0.0

    def test_all_before_the_step_but_what_may_be_under_way(self, replica: Replica) -> None:
        replica.sealed()
        replica.write()
        replica.now += 60
        replica.ship()
        assert replica.shipper.shipped_until(replica.now) == replica.now - BEFORE_HEADER
        # It is a promise about the past, whenever it is asked for.
        assert replica.shipper.shipped_until(replica.now + 99) == replica.now - BEFORE_HEADER
        assert replica.shipper.shipped_until(BEGUN) == BEGUN

    def test_a_chunk_that_waits_holds_it_at_its_beginning(self, tmp_path: Path) -> None:
        replica = Replica(tmp_path / "journal", cap=300)
        replica.sealed(size=500)
        replica.now += 60
        replica.write(size=500)
        replica.now += 60
        replica.ship()
        assert replica.shipper.shipped_until(replica.now) == BEGUN + 60 - BEFORE_HEADER

    def test_without_redis_it_stands_still(self, replica: Replica) -> None:
        replica.ship()
        replica.door.away = True
        replica.now += 60
        replica.write()
        replica.ship()
        assert replica.shipper.shipped_until(replica.now) == BEGUN - BEFORE_HEADER

    def test_an_emptied_redis_takes_it_back(self, replica: Replica) -> None:
        replica.write()
        replica.now += 60
        replica.ship()
        replica.door.memory.empty()
        replica.shipper.step(lambda: True)
        assert replica.shipper.shipped_until(replica.now) == BEGUN - BEFORE_HEADER

    def test_a_header_that_is_being_written_is_younger_than_the_step(
        self, replica: Replica
    ) -> None:
        replica.write()
        [opened] = replica.folder.glob("*/*.open")
        opened.write_bytes(b'{"t":"chu')
        replica.shipper.step(lambda: True)
        assert replica.shipper.shipped_until(BEGUN) == BEGUN - BEFORE_HEADER

    def test_it_does_not_wait_for_what_can_never_be_read(self, replica: Replica) -> None:
        bad = replica.sealed()
        (replica.folder / bad.file).write_bytes(b"nothing\n")
        replica.now += 60
        replica.ship()
        assert replica.shipper.shipped_until(replica.now) == replica.now - BEFORE_HEADER
