"""The store's copy in Redis and on other replicas: whole, of one instant, and never older."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memorydoor import MemoryDoor, MemoryRedis
from waiting import wait_until

from gateway.chunks import ChunkKey
from gateway.errors import StateError
from gateway.names import Branch
from gateway.shared.door import SharedAway
from gateway.shared.held import Head, Lease
from gateway.shared.state_copy import BLOCK, StateCopy, StateDoor
from gateway.store.ledger import Exposure, Ledger, Line, Place
from gateway.store.sqlite import SqliteStore

PLACE = Place("e1", "prod", "split", "ok", "prod", "c" * 40, "f" * 32, "prod", 3600)
#: Rows that fill some blocks.
MANY = 4000


class Node:
    """A replica's folder, door and copy."""

    def __init__(self, redis: MemoryRedis, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "store.sqlite"
        self.door = MemoryDoor(redis)
        self.name = folder.name
        self.copy = StateCopy(self.door, self.path)

    def take(self) -> Lease:
        lease = self.door.take(self.name, 1e9)
        assert lease is not None
        return lease

    def remember(self, **values: str) -> None:
        with SqliteStore(self.path) as store:
            store.remember({("a", name): value.encode() for name, value in values.items()})

    def fill(self, start: int = 0, rows: int = MANY) -> None:
        with Ledger(self.path) as ledger:
            ledger.add_exposures(exposure(n) for n in range(start, start + rows))

    def read(self) -> dict[str, str]:
        with SqliteStore(self.path) as store:
            return {name: value.decode() for name, value in store.recall("a").items()}

    def restarted(self) -> Node:
        self.copy.close()
        return Node(self.door.redis, self.path.parent)

    def files(self) -> set[str]:
        return {path.name for path in self.path.parent.iterdir()}


def exposure(number: int) -> Exposure:
    return Exposure(f"{number:032x}", number, PLACE, number, 1, os.urandom(8).hex().encode())


@pytest.fixture
def redis() -> MemoryRedis:
    return MemoryRedis()


@pytest.fixture
def node(redis: MemoryRedis, tmp_path: Path) -> Iterator[Callable[[str], Node]]:
    with contextlib.ExitStack() as ends:

        def make(name: str) -> Node:
            made = Node(redis, tmp_path / name)
            ends.callback(made.copy.close)
            return made

        yield make


def test_a_standby_has_what_two_connections_of_the_holder_stored(
    node: Callable[[str], Node],
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    with SqliteStore(a.path) as store, Ledger(a.path) as ledger:
        store.add_counts(ChunkKey("a1b2c3d4", 1), "rows", {("rows", "a"): 2})
        ledger.add_exposures([exposure(7)])
        assert a.copy.push(lease)
        store.add_counts(ChunkKey("a1b2c3d4", 2), "rows", {("rows", "a"): 3})
        ledger.add_lines([Line("decisions", Branch("prod"), "x")])
        assert a.copy.push(lease)
        store.add_counts(ChunkKey("a1b2c3d4", 3), "rows", {("rows", "a"): 9})
        assert b.copy.pull(now=True)
    with Ledger(b.path) as there:
        assert there.totals("rows") == {("rows", "a"): 5}
        assert there.exposure(f"{7:032x}") is not None
        assert [line.text for line in there.take_lines(9)] == ["x"]
    assert b.copy.generation == a.copy.generation == 2


def test_without_news_nothing_is_copied_and_with_some_only_changed_blocks(
    node: Callable[[str], Node], redis: MemoryRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = node("a"), node("b")
    a.fill()
    lease = a.take()
    assert a.copy.push(lease)
    whole = a.door.bytes_put
    assert redis.head is not None
    count = len(redis.head.digests)
    assert count == -(-redis.head.size // BLOCK) > 3
    assert redis.head.size == sum(len(block) for block in unpacked(redis))
    with monkeypatch.context() as patch:
        patch.setattr(StateCopy, "_snapshot", None)
        assert a.copy.push(lease)
    a.remember(x="1")
    asked: list[str] = []
    a.door.before = asked.append
    assert a.copy.push(lease)
    assert asked == ["head", "put_state"]
    assert 0 < a.door.bytes_put - whole < whole * 3 / 4
    assert redis.head.generation == 2
    # A process that starts anew finds nothing to send.
    a = a.restarted()
    before = redis.head
    assert a.copy.push(lease)
    assert a.door.bytes_put == 0
    assert redis.head == before
    assert b.copy.pull(now=True)
    assert not b.copy.pull(now=True)
    assert b.read() == {"x": "1"}


def unpacked(redis: MemoryRedis) -> list[bytes]:
    return [zlib.decompress(redis.blocks[n]) for n in sorted(redis.blocks)]


def test_a_copy_is_of_one_instant_while_both_connections_write(
    node: Callable[[str], Node],
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    is_over = threading.Event()

    def store() -> None:
        with SqliteStore(a.path) as opened:
            number = 0
            while not is_over.is_set():
                number += 1
                text = b"%d" % number
                changes: dict[tuple[str, str], bytes | None] = {
                    ("a", str(n)): text * 200 for n in range(20)
                }
                opened.remember(changes, taken=(ChunkKey("a1b2c3d4", number), "drift"))

    def ledger() -> None:
        with Ledger(a.path) as opened:
            number = 0
            while not is_over.is_set():
                with opened.whole():
                    opened.add_exposures(exposure(n) for n in range(number, number + 50))
                    opened.set_place(ChunkKey("a1b2c3d4", 1), number + 50)
                number += 50

    with SqliteStore(a.path):
        threads = [threading.Thread(target=store), threading.Thread(target=ledger)]
        for thread in threads:
            thread.start()
        seen: set[int] = set()

        def is_seen_often() -> bool:
            assert a.copy.push(lease)
            b.copy.pull(now=True)
            with Ledger(b.path) as there:
                values = there.recall("a")
                assert len(set(values.values())) == min(len(values), 1), "half a call"
                assert there.size() == there.place_of(ChunkKey("a1b2c3d4", 1))
                assert there._row("PRAGMA integrity_check") == ("ok",)
                seen.add(there.size())
            return len(seen) > 8

        try:
            wait_until(is_seen_often)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize("is_done", [False, True], ids=["not-done", "done-unanswered"])
@pytest.mark.parametrize("fail", range(1, 4))
def test_a_holder_whose_call_failed_goes_on_and_nothing_is_lost(
    node: Callable[[str], Node], redis: MemoryRedis, fail: int, is_done: bool
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.fill()
    a.remember(x="1")
    assert a.copy.push(lease)
    a.remember(x="2")
    redis.calls, redis.fail_at, redis.fails_after = 0, fail, is_done
    if fail <= 2:
        with pytest.raises(SharedAway):
            a.copy.push(lease)
    a.remember(x="3")
    assert a.copy.push(lease)
    assert redis.head is not None
    assert a.copy.generation == redis.head.generation
    redis.fail_at = None
    b.copy.pull(now=True)
    assert b.read() == {"x": "3"}


@pytest.mark.parametrize("fail", range(1, 8))
def test_a_holder_that_dies_at_a_call_left_the_old_state_or_the_new(
    node: Callable[[str], Node], redis: MemoryRedis, fail: int
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.remember(x="1")
    assert a.copy.push(lease)
    redis.calls, redis.fail_at, redis.fails_after = 0, fail, fail % 2 == 0
    with contextlib.suppress(SharedAway):
        for value in ("2", "3", "4"):
            a.remember(x=value)
            assert a.copy.push(lease)
    redis.fail_at = None
    a.door.give_up(lease)
    assert b.copy.pull(now=True)
    found = b.read()["x"]
    lease = b.take()
    b.remember(y="of b")
    assert b.copy.push(lease)
    # Back again, the dead one goes by what the living one went on from.
    a = a.restarted()
    assert a.copy.pull(now=True)
    assert a.read() == {"x": found, "y": "of b"}


@pytest.mark.parametrize("fail", range(1, 7))
def test_a_standby_that_dies_at_a_call_has_its_old_file_whole(
    node: Callable[[str], Node], redis: MemoryRedis, fail: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.shared.state_copy._TOGETHER", 1)
    a, b = node("a"), node("b")
    lease = a.take()
    a.remember(x="1")
    assert a.copy.push(lease)
    assert b.copy.pull(now=True)
    a.fill()
    a.remember(x="2")
    assert a.copy.push(lease)
    old = b.path.read_bytes()
    assert redis.head is not None
    count = len(redis.head.digests)
    assert count >= 5
    redis.calls, redis.fail_at = 0, fail
    with pytest.raises(SharedAway):
        b.copy.pull(now=True)
    assert b.path.read_bytes() == old
    b = b.restarted()
    asked: list[str] = []
    b.door.before = asked.append
    assert b.copy.pull(now=True)
    assert b.read() == {"x": "2"}
    # What was brought before is not brought again.
    assert asked.count("blocks") == count - max(fail - 2, 0)


@pytest.mark.parametrize("place", ["_settle", "_learn"])
def test_a_standby_that_dies_around_the_replacing_has_one_of_both_files(
    node: Callable[[str], Node], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.remember(x="1")
    assert a.copy.push(lease)
    assert b.copy.pull(now=True)
    a.remember(x="2")
    assert a.copy.push(lease)
    with monkeypatch.context() as patch:
        patch.setattr(StateCopy, place, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            b.copy.pull(now=True)
    b = b.restarted()
    assert b.copy.generation == 1, "it never claims more than it has"
    assert b.copy.pull(now=True)
    assert b.copy.generation == 2
    assert b.read() == {"x": "2"}


DYING = """
import os, signal, sys
from pathlib import Path
from gateway.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1])).__enter__()
store.remember({("a", "x"): b"never pushed", ("a", "z"): b"9" * 50_000})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_log_of_a_killed_holder_is_not_taken_for_that_of_the_next_file(
    node: Callable[[str], Node],
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.remember(x="1")
    assert a.copy.push(lease)
    a.copy.close()
    done = subprocess.run([sys.executable, "-c", DYING, str(a.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert "store.sqlite-wal" in a.files()
    a.door.give_up(lease)
    b.copy.pull(now=True)
    b.remember(y="2")
    assert b.copy.push(b.take())
    a = a.restarted()
    assert a.copy.pull(now=True)
    assert a.files() == {"store.sqlite", "store.sqlite.generation"}
    assert a.read() == {"x": "1", "y": "2"}


def test_a_file_that_is_open_is_not_replaced(node: Callable[[str], Node]) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.remember(x="1")
    assert a.copy.push(lease)
    b.remember(mine="1")
    with SqliteStore(b.path) as store:
        with pytest.raises(StateError, match="locked"):
            b.copy.pull(now=True)
        assert store.recall("a") == {"mine": b"1"}
    assert b.copy.pull(now=True)
    assert b.read() == {"x": "1"}


def test_an_unreadable_file_is_replaced(node: Callable[[str], Node]) -> None:
    a, b = node("a"), node("b")
    a.remember(x="1")
    assert a.copy.push(a.take())
    b.path.write_bytes(b"no database" * 1000)
    b.path.with_name("store.sqlite-wal").write_bytes(b"no log")
    assert b.copy.pull(now=True)
    assert b.read() == {"x": "1"}


def test_who_only_reads_the_copy_leaves_nothing_beside_it(node: Callable[[str], Node]) -> None:
    a, b = node("a"), node("b")
    a.remember(x="1")
    assert a.copy.push(a.take())
    assert b.copy.pull(now=True)
    reader = sqlite3.connect(f"{b.path.as_uri()}?mode=ro", uri=True)
    with contextlib.closing(reader):
        assert reader.execute("SELECT count(*) FROM memory").fetchone() == (1,)
        assert b.files() == {"store.sqlite", "store.sqlite.generation"}


def test_an_emptied_redis_gets_everything_from_who_holds_and_a_newer_generation(
    node: Callable[[str], Node], redis: MemoryRedis
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.fill()
    a.remember(x="1")
    assert a.copy.push(lease)
    assert b.copy.pull(now=True)
    redis.empty()
    assert not a.copy.push(lease), "the lease went too"
    assert a.copy.push(a.take())
    assert redis.head is not None
    assert redis.head.generation == 2
    assert b.copy.pull(now=True)
    assert b.read() == {"x": "1"}


def test_where_redis_went_back_nobody_goes_back_with_it(
    node: Callable[[str], Node], redis: MemoryRedis
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.fill()
    a.remember(x="1")
    assert a.copy.push(lease)
    head, blocks = redis.head, dict(redis.blocks)
    a.remember(x="2")
    assert a.copy.push(lease)
    assert b.copy.pull(now=True)
    redis.head, redis.blocks = head, blocks
    assert not b.copy.pull(now=True)
    assert a.copy.push(lease)
    assert redis.head is not None
    assert redis.head.generation == 3
    assert b.copy.pull(now=True)
    assert b.read() == {"x": "2"}


@pytest.mark.parametrize("ahead", [0, 1], ids=["as-new", "newer"])
def test_a_holder_steps_down_before_a_state_that_it_does_not_come_from(
    node: Callable[[str], Node], redis: MemoryRedis, ahead: int
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.remember(x="1")
    assert a.copy.push(lease)
    redis.empty()
    lease = b.take()
    for n in range(1 + ahead):
        b.remember(y=str(n))
        assert b.copy.push(lease)
    b.door.give_up(lease)
    head = redis.head
    a.remember(x="2")
    lease = a.take()
    assert not a.copy.push(lease)
    assert redis.head == head
    assert a.copy.pull(now=True)
    assert a.read() == {"y": str(ahead)}
    a.remember(x="3")
    assert a.copy.push(lease)


def test_without_the_lease_nothing_is_put(node: Callable[[str], Node], redis: MemoryRedis) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    a.remember(x="1")
    assert a.copy.push(lease)
    a.door.give_up(lease)
    b.copy.pull(now=True)
    b.take()
    head = redis.head
    a.remember(x="2")
    assert not a.copy.push(lease)
    assert redis.head == head
    assert a.copy.generation == 1


def test_a_holder_goes_beyond_what_another_replica_says_that_it_has(
    node: Callable[[str], Node], redis: MemoryRedis
) -> None:
    a, b = node("a"), node("b")
    lease = b.take()
    for n in range(5):
        b.remember(y=str(n))
        assert b.copy.push(lease)
    redis.empty()
    a.remember(x="1")
    lease = a.take()
    assert a.copy.push(lease)
    assert not b.copy.pull(now=True)
    assert a.copy.push(lease, newest=b.copy.generation), "though nothing changed"
    assert b.copy.pull(now=True)
    assert b.read() == {"x": "1"}
    assert b.copy.generation == 6


def test_evicted_blocks_are_put_again(node: Callable[[str], Node], redis: MemoryRedis) -> None:
    a, b = node("a"), node("b")
    a.fill()
    lease = a.take()
    assert a.copy.push(lease)
    redis.blocks.clear()
    assert not b.copy.pull(now=True), "a part is nothing"
    assert not b.path.exists()
    a.remember(x="1")
    assert a.copy.push(lease)
    assert b.copy.pull(now=True)
    assert b.read() == {"x": "1"}


@pytest.mark.parametrize("wrong", [b"", b"no zlib", None], ids=["empty", "garbage", "another"])
def test_a_block_that_is_not_what_its_digest_says_is_not_taken(
    node: Callable[[str], Node], redis: MemoryRedis, wrong: bytes | None
) -> None:
    a, b = node("a"), node("b")
    a.fill()
    assert a.copy.push(a.take())
    right = redis.blocks[2]
    redis.blocks[2] = redis.blocks[1] if wrong is None else wrong
    assert not b.copy.pull(now=True)
    assert not b.path.exists()
    redis.blocks[2] = right
    assert b.copy.pull(now=True)


def test_a_head_of_another_size_than_its_blocks_is_not_believed(
    node: Callable[[str], Node], redis: MemoryRedis
) -> None:
    a, b = node("a"), node("b")
    a.fill()
    assert a.copy.push(a.take())
    assert redis.head is not None
    redis.head = Head(9, 2**50, redis.head.digests)
    assert not b.copy.pull(now=True)
    assert not b.path.exists()


def test_a_holder_that_goes_on_meanwhile_does_not_mix_two_states(
    node: Callable[[str], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = node("a"), node("b")
    lease = a.take()
    monkeypatch.setattr("gateway.shared.state_copy._TOGETHER", 2)
    a.fill(rows=2 * MANY)
    a.remember(x="1")
    assert a.copy.push(lease)
    left = [3]

    def before(name: str) -> None:
        if name == "blocks" and left[0]:
            left[0] -= 1
            a.fill(start=(9 + left[0]) * MANY)
            a.remember(x=str(left[0]))
            assert a.copy.push(lease)

    b.door.before = before
    assert b.copy.pull(now=True)
    assert b.copy.generation == a.copy.generation == 4
    assert b.read() == {"x": "0"}
    with Ledger(b.path) as there:
        assert there._row("PRAGMA integrity_check") == ("ok",)
        assert there.size() == 5 * MANY


def test_a_pull_ends_when_it_is_told_to(node: Callable[[str], Node]) -> None:
    a, b = node("a"), node("b")
    a.fill()
    assert a.copy.push(a.take())
    assert not b.copy.pull(now=True, stop=lambda: True)
    assert not b.path.exists()
    assert b.copy.pull(now=True)


def test_a_standby_copies_no_oftener_than_is_cheap(
    node: Callable[[str], Node], tmp_path: Path, redis: MemoryRedis
) -> None:
    a, now = node("a"), [0.0]
    lease = a.take()
    door = MemoryDoor(redis)

    def takes_a_second(name: str) -> None:
        now[0] += 1.0 if name == "blocks" else 0.0

    door.before = takes_a_second
    (tmp_path / "c").mkdir()
    copy = StateCopy(door, tmp_path / "c" / "store.sqlite", clock=lambda: now[0])
    a.remember(x="1")
    assert a.copy.push(lease)
    assert copy.pull()
    a.remember(x="2")
    assert a.copy.push(lease)
    assert not copy.pull()
    now[0] += 19.0
    assert not copy.pull()
    now[0] += 1.0
    assert copy.pull()
    a.remember(x="3")
    assert a.copy.push(lease)
    assert copy.pull(now=True)


def test_the_generation_is_remembered_with_the_file_and_not_without_it(
    node: Callable[[str], Node],
) -> None:
    a = node("a")
    a.remember(x="1")
    assert a.copy.push(a.take())
    assert a.restarted().copy.generation == 1
    words = a.path.with_name("store.sqlite.generation")
    good = words.read_bytes()
    words.write_bytes(b"{")
    assert a.restarted().copy.generation == 0
    words.write_bytes(good)
    a.path.unlink()
    assert a.restarted().copy.generation == 0


def test_a_door_is_all_that_it_needs() -> None:
    door: StateDoor = MemoryDoor(MemoryRedis())
    assert door.head() is None
