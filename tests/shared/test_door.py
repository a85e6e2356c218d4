"""The door to a real Redis: what belongs together happens at once, and what is repeated once."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from redisserver import SERVERS, RedisServer

from gateway.chunks import ChunkKey
from gateway.shared.door import Door, OtherState, SharedAway
from gateway.shared.held import Head, Held, Lease, Shipped

KEY = ChunkKey("0a1b2c3d", 7)
OTHER = ChunkKey("ffffffff", 7)
CAP = 1000


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> Iterator[RedisServer]:
    with running.client() as client:
        client.flushall()
    yield running
    running.drain()


@pytest.fixture
def door(server: RedisServer) -> Iterator[Door]:
    with Door(server.settings()) as opened:
        yield opened


def ship(door: Door, offset: int, data: bytes, key: ChunkKey = KEY, **how: Any) -> Shipped:
    return door.ship(key, offset, data, **{"sealed": False, "cap": CAP, **how})


def taken(door: Door, holder: str = "me") -> Lease:
    lease = door.take(holder, 60)
    assert lease is not None
    return lease


# Chunks


def test_a_chunk_grows_by_its_parts_and_is_read_as_it_was_shipped(door: Door) -> None:
    assert ship(door, 0, b"one\n\x00\xff") == Shipped(6)
    assert ship(door, 6, b"two\n") == Shipped(10)
    assert door.chunks() == {KEY: Held(10, sealed=False)}
    assert ship(door, 10, b"three\n", sealed=True) == Shipped(16)
    assert ship(door, 0, b"else\n", OTHER) == Shipped(5)
    assert door.chunks() == {KEY: Held(16, sealed=True), OTHER: Held(5, sealed=False)}
    assert door.read(KEY, 0, 100) == b"one\n\x00\xfftwo\nthree\n"
    assert (door.read(KEY, 4, 4), door.read(KEY, 16, 9)) == (b"\x00\xfftw", b"")
    assert door.read(ChunkKey("0a1b2c3d", 8), 0, 100) == b""


def test_a_part_that_is_there_already_changes_nothing(door: Door) -> None:
    ship(door, 0, b"0123456789")
    assert ship(door, 0, b"0123456789") == Shipped(10)
    assert ship(door, 2, b"234") == Shipped(10)
    assert ship(door, 5, b"56789ab") == Shipped(12), "what is new of it is taken"
    assert door.read(KEY, 0, 100) == b"0123456789ab"
    assert door.chunks() == {KEY: Held(12, sealed=False)}


def test_nothing_is_taken_behind_a_gap(door: Door) -> None:
    assert ship(door, 3, b"345") == Shipped(0)
    ship(door, 0, b"01")
    assert ship(door, 3, b"345", sealed=True) == Shipped(2)
    assert (door.read(KEY, 0, 100), door.chunks()) == (b"01", {KEY: Held(2, sealed=False)})


def test_a_chunk_is_sealed_with_its_last_part_or_after_it_and_then_stays(door: Door) -> None:
    ship(door, 0, b"0123")
    assert ship(door, 4, b"", sealed=True) == Shipped(4)
    assert door.chunks() == {KEY: Held(4, sealed=True)}
    assert ship(door, 4, b"more") == Shipped(4)
    assert ship(door, 0, b"0123") == Shipped(4)
    assert door.chunks() == {KEY: Held(4, sealed=True)}
    assert ship(door, 0, b"", OTHER, sealed=True) == Shipped(0)
    assert door.chunks()[OTHER] == Held(0, sealed=True)


def test_a_chunk_whose_disk_lost_its_last_rows_keeps_those_that_were_shipped(door: Door) -> None:
    ship(door, 0, b"on disk\nlost with the power\n")
    assert ship(door, 8, b"", sealed=True) == Shipped(28)
    assert door.chunks() == {KEY: Held(28, sealed=True)}


def test_at_the_cap_nothing_more_is_taken_until_something_is_done(door: Door) -> None:
    ship(door, 0, b"x" * 900, OTHER, sealed=True)
    assert ship(door, 0, b"y" * 101) == Shipped(0, full=True)
    assert ship(door, 0, b"y" * 100) == Shipped(100)
    assert ship(door, 100, b"z") == Shipped(100, full=True)
    assert ship(door, 0, b"y" * 100) == Shipped(100), "what is there is no news"
    assert ship(door, 100, b"z", cap=1001) == Shipped(101), "the cap is the caller's"
    assert door.call_done(taken(door), [OTHER])
    assert ship(door, 101, b"z" * 899) == Shipped(1000)


def test_a_chunk_at_the_cap_can_still_be_sealed(door: Door) -> None:
    ship(door, 0, b"x" * CAP)
    assert ship(door, CAP, b"", sealed=True) == Shipped(CAP)
    assert door.chunks() == {KEY: Held(CAP, sealed=True)}


def test_what_is_done_is_gone_and_is_not_taken_again(door: Door, server: RedisServer) -> None:
    later = ChunkKey(KEY.writer, 8)
    for key in (KEY, OTHER, later):
        ship(door, 0, b"bytes\n", key, sealed=True)
    lease = taken(door)
    for _ in range(2):
        assert door.call_done(lease, [KEY, OTHER])
        assert door.chunks() == {later: Held(6, sealed=True)}
        assert (door.read(KEY, 0, 9), door.read(later, 0, 9)) == (b"", b"bytes\n")
    for offset in (0, 6, 99):
        assert ship(door, offset, b"bytes\n", sealed=True) == Shipped(0, done=True)
    assert door.chunks() == {later: Held(6, sealed=True)}
    with server.client() as client:
        assert client.get("t:bytes") == b"6"
        assert 0 < client.ttl(f"t:done:{KEY.writer}") <= 30 * 86400


def test_a_chunk_may_be_called_done_that_never_came(door: Door) -> None:
    lease = taken(door)
    many = [ChunkKey("0a1b2c3d", number) for number in range(1, 1202)]
    assert door.call_done(lease, many)
    assert all(ship(door, 0, b"x", key).done for key in (many[0], many[600], many[-1]))
    assert not ship(door, 0, b"x", ChunkKey("0a1b2c3d", 1202)).done


def test_only_the_holder_calls_chunks_done(door: Door) -> None:
    ship(door, 0, b"bytes\n", sealed=True)
    lost = taken(door)
    door.give_up(lost)
    assert not door.call_done(lost, [KEY])
    taken(door, "another")
    assert not door.call_done(lost, [KEY])
    assert ship(door, 0, b"bytes\n") == Shipped(6)


def test_after_a_restart_without_memory_a_chunk_is_shipped_anew(
    door: Door, server: RedisServer
) -> None:
    ship(door, 0, b"0123456789", sealed=True)
    lease = taken(door)
    server.restart()
    assert door.chunks() == {}
    assert ship(door, 10, b"", sealed=True) == Shipped(0), "a gap now"
    assert ship(door, 0, b"0123456789", sealed=True) == Shipped(10)
    assert door.chunks() == {KEY: Held(10, sealed=True)}
    assert not door.call_done(lease, [KEY])
    assert not door.renew(lease, 60)


def test_what_redis_evicted_of_a_chunk_is_asked_for_again(door: Door, server: RedisServer) -> None:
    ship(door, 0, b"0123456789", sealed=True)
    with server.client() as client:
        client.delete(f"t:chunk:{KEY.writer}:{KEY.number}")
    assert ship(door, 10, b"", sealed=True) == Shipped(0)
    assert ship(door, 0, b"0123456789", sealed=True) == Shipped(10)
    with server.client() as client:
        assert client.get("t:bytes") == b"10"
        client.delete("t:bytes")
    assert ship(door, 0, b"y" * 991, OTHER) == Shipped(0, full=True)
    assert ship(door, 0, b"y" * 990, OTHER) == Shipped(990)
    with server.client() as client:
        assert client.get("t:bytes") == b"1000"


def test_many_at_once_ship_each_byte_once(server: RedisServer) -> None:
    """Two monitors of one replica, for a moment: the dying one and its successor."""
    data = b"".join(b"%06d\n" % number for number in range(600))

    settings = server.settings()

    def ship_all() -> None:
        with Door(settings) as mine:
            has = 0
            while has < len(data):
                has = mine.ship(KEY, has, data[has : has + 70], sealed=False, cap=10**6).has

    shippers = [threading.Thread(target=ship_all) for _ in range(4)]
    for one in shippers:
        one.start()
    for one in shippers:
        one.join()
    with Door(server.settings()) as door:
        assert door.read(KEY, 0, 10**6) == data
        assert door.chunks() == {KEY: Held(len(data), sealed=False)}


# The lease


def test_one_at_a_time_has_the_lease(door: Door) -> None:
    assert door.holder() is None
    lease = door.take("one:1", 60)
    assert lease is not None
    assert (lease.holder, door.holder()) == ("one:1", "one:1")
    assert door.take("two", 60) is None
    assert door.take("one:1", 60) is None, "not even a second one for the same"
    assert door.renew(lease, 60)
    door.give_up(lease)
    assert door.holder() is None
    again = door.take("one:1", 60)
    assert again is not None
    assert again != lease
    assert not door.renew(lease, 60)
    door.give_up(lease)
    assert door.holder() == "one:1"


def test_a_lease_ends_by_itself_unless_it_is_renewed(door: Door, server: RedisServer) -> None:
    lease = door.take("one", 5)
    assert lease is not None
    with server.client() as client:
        assert 0 < client.pttl("t:lease") <= 5000
        assert door.renew(lease, 500)
        assert client.pttl("t:lease") > 400_000
        client.pexpire("t:lease", 0)
    assert not door.renew(lease, 5)
    assert door.take("two", 5) is not None


# The state


def head(generation: int, *digests: str) -> Head:
    return Head(generation, 65536 * len(digests), digests)


def test_a_state_is_put_whole_and_then_block_by_block(door: Door, server: RedisServer) -> None:
    assert door.head() is None
    assert door.blocks([0, 1]) == {}
    lease = taken(door)
    first = head(1, "a", "b", "c")
    assert door.put_state(lease, first, {0: b"A", 1: b"\x00\xff", 2: b"C"})
    assert (door.head(), door.blocks(range(9))) == (first, {0: b"A", 1: b"\x00\xff", 2: b"C"})
    second = head(2, "a", "b2", "c")
    assert door.put_state(lease, second, {1: b"B2"})
    assert (door.head(), door.blocks([2, 1])) == (second, {2: b"C", 1: b"B2"})
    assert door.put_state(lease, head(3, "a2"), {0: b"A2"}), "a state may become smaller"
    assert door.blocks(range(9)) == {0: b"A2"}
    assert door.put_state(lease, head(4, "a2"), {})
    with server.client() as client:
        assert not client.keys("t:state:staged*")


def test_a_large_state_comes_back_as_it_was_put(door: Door) -> None:
    blocks = {number: bytes([number % 251]) * 65536 for number in range(70)}
    whole = head(1, *map(str, blocks))
    assert door.put_state(taken(door), whole, blocks)
    assert (door.head(), door.blocks(range(71))) == (whole, blocks)


def test_putting_the_same_state_again_is_no_mistake(door: Door) -> None:
    """The answer of the first time may be lost on its way."""
    lease = taken(door)
    for _ in range(2):
        assert door.put_state(lease, head(1, "a", "b"), {0: b"A", 1: b"B"})
    assert door.put_state(lease, head(1, "a", "b"), {})
    assert door.blocks([0, 1]) == {0: b"A", 1: b"B"}


def test_without_the_lease_nothing_of_a_state_is_put(door: Door) -> None:
    lost = taken(door)
    assert door.put_state(lost, head(1, "a", "b"), {0: b"A", 1: b"B"})
    door.give_up(lost)
    assert not door.put_state(lost, head(2, "a2", "b"), {0: b"A2"})
    taken(door, "another")
    assert not door.put_state(lost, head(2, "a2"), {0: b"A2"})
    assert (door.head(), door.blocks([0, 1])) == (head(1, "a", "b"), {0: b"A", 1: b"B"})


def test_a_lease_that_is_lost_between_a_states_blocks_and_its_head_puts_nothing(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.shared import scripts
    from gateway.shared.calls import Calls

    run, asked = Calls.run, []

    def lose_after_staging(self: Calls, script: Any, *given: Any) -> Any:
        answer = run(self, script, *given)
        asked.append(script)
        if script is scripts.STAGE:
            with server.client() as client:
                client.set("t:lease", "another:1")
        return answer

    with Door(server.settings()) as door:
        lease = taken(door)
        assert door.put_state(lease, head(1, "a"), {0: b"A"})
        monkeypatch.setattr(Calls, "run", lose_after_staging)
        assert not door.put_state(lease, head(2, "a2"), {0: b"A2"})
        assert asked == [scripts.STAGE, scripts.PUT_STATE]
        assert (door.head(), door.blocks([0])) == (head(1, "a"), {0: b"A"})
    with server.client() as client:
        assert 0 < client.pttl(f"t:state:staged:{lease.nonce}") <= 60_000


def test_changed_blocks_go_only_with_the_others_that_they_belong_to(
    door: Door, server: RedisServer
) -> None:
    lease = taken(door)
    assert door.put_state(lease, head(1, "a", "b"), {0: b"A", 1: b"B"})
    for wrong in (head(2, "a", "x"), head(2, "a", "b", "c"), head(2, "a2", "b")):
        with pytest.raises(OtherState, match="other blocks"):
            door.put_state(lease, wrong, {} if wrong.digests[0] == "a2" else {0: b"A2"})
    assert (door.head(), door.blocks([0, 1])) == (head(1, "a", "b"), {0: b"A", 1: b"B"})
    with server.client() as client:
        client.hdel("t:state", "1")
    with pytest.raises(OtherState, match="other blocks"):
        door.put_state(lease, head(2, "a2", "b"), {0: b"A2"})
    with server.client() as client:
        client.delete("t:state", "t:state:head")
    with pytest.raises(OtherState, match="other blocks"):
        door.put_state(lease, head(2, "a2", "b"), {0: b"A2"})
    assert door.put_state(lease, head(2, "a2", "b"), {0: b"A2", 1: b"B"})


def test_a_state_never_goes_back(door: Door) -> None:
    lease = taken(door)
    assert door.put_state(lease, head(5, "a"), {0: b"A"})
    for wrong in (head(4, "x"), head(5, "x")):
        with pytest.raises(OtherState, match="not before generation"):
            door.put_state(lease, wrong, {0: b"X"})
    assert door.blocks([0]) == {0: b"A"}


def test_a_reader_sees_the_old_state_or_the_new_one(server: RedisServer) -> None:
    """In one read of Redis, head and blocks belong together whenever it is."""
    with Door(server.settings()) as door:
        lease, over = taken(door), threading.Event()
        torn = []

        def watch() -> None:
            with server.client() as client:
                while not over.is_set():
                    pipe = client.pipeline(transaction=True)
                    pipe.get("t:state:head")
                    pipe.hgetall("t:state")
                    text, blocks = pipe.execute()
                    said = re.findall(rb'"(\d+)"', text or b"")
                    if sorted(blocks.values()) != sorted(said):
                        torn.append((text, blocks))

        watcher = threading.Thread(target=watch)
        watcher.start()
        for generation in range(1, 80):
            count = generation % 7 + 1
            digests = [str(generation * 10 + number) for number in range(count)]
            blocks = {number: digest.encode() for number, digest in enumerate(digests)}
            assert door.put_state(lease, head(generation, *digests), blocks)
        over.set()
        watcher.join()
    assert torn == []


# Documents and what replicas tell one another


def test_documents_are_put_and_removed_and_counted_when_they_change(door: Door) -> None:
    lease = taken(door)
    assert (door.documents(), door.documents_at()) == ({}, 0)
    assert door.put_documents(lease, {"allocation.json": b"\x00+-", "drift/a.json": b""})
    first = door.documents_at()
    assert door.documents() == {"allocation.json": b"\x00+-", "drift/a.json": b""}
    assert door.put_documents(lease, {"allocation.json": b"\x00+-", "gone": None})
    assert door.documents_at() == first, "nothing changed"
    assert door.put_documents(lease, {"drift/a.json": None, "experiment.json": b"-"})
    assert door.documents() == {"allocation.json": b"\x00+-", "experiment.json": b"-"}
    assert door.documents_at() == first + 1
    door.give_up(lease)
    assert not door.put_documents(lease, {"allocation.json": None})
    assert door.documents_at() == first + 1
    assert set(door.documents()) == {"allocation.json", "experiment.json"}


@pytest.mark.parametrize("counter", ["looks", "documents"])
def test_a_counter_that_redis_lost_is_never_again_where_it_was(
    door: Door, server: RedisServer, counter: str
) -> None:
    def count(number: int) -> int:
        if number == 3:
            with server.client() as client:
                client.flushall()
        if counter == "looks":
            door.call_look()
            return door.looks()
        lease = taken(door)
        door.put_documents(lease, {"a": b"%d" % number})
        door.give_up(lease)
        return door.documents_at()

    assert len({count(number) for number in range(6)}) == 6


def test_commands_wait_in_order_until_the_holder_drops_them(door: Door) -> None:
    for command in (b"hold \x00", b"release", b"hold \x00"):
        door.send_command(command)
    assert door.commands() == [b"hold \x00", b"release"], "the same one again is one"
    lease = taken(door)
    door.send_command(b"later")
    assert door.bring_commands(lease) == [b"hold \x00", b"release", b"later"]
    door.send_command(b"release")
    door.send_command(b"last")
    assert door.drop_commands(lease, [b"hold \x00", b"never sent"])
    assert door.commands() == [b"release", b"later", b"last"]
    door.give_up(lease)
    assert not door.drop_commands(lease, [b"release"])
    assert door.bring_commands(lease) is None
    assert door.commands() == [b"release", b"later", b"last"]
    assert door.bring_commands(taken(door, "another")) == [b"release", b"later", b"last"]


def test_a_command_is_withdrawn_until_a_holder_has_it(door: Door) -> None:
    door.send_command(b"hold")
    assert door.withdraw_command(b"hold") is True
    assert door.withdraw_command(b"hold") is None
    assert door.commands() == []
    door.send_command(b"hold")
    lease = taken(door)
    assert door.bring_commands(lease) == [b"hold"]
    assert door.withdraw_command(b"hold") is False
    assert door.commands() == [b"hold"]
    assert door.drop_commands(lease, [b"hold"])
    assert door.withdraw_command(b"hold") is None


def test_commands_that_nobody_takes_have_a_bound(door: Door) -> None:
    for number in range(1000):
        door.send_command(b"%d" % number)
    with pytest.raises(SharedAway, match="1000 commands wait there already"):
        door.send_command(b"one more")
    door.send_command(b"999")
    assert len(door.commands()) == 1000


def test_replicas_say_what_they_are_until_they_are_forgotten(door: Door) -> None:
    door.announce("one", b"1")
    door.announce("two", b"2")
    door.announce("one", b"\xff")
    assert door.replicas() == {"one": b"\xff", "two": b"2"}
    door.forget_replica("one")
    door.forget_replica("never")
    assert door.replicas() == {"two": b"2"}


def test_the_first_key_that_is_said_is_the_one_of_all(door: Door) -> None:
    assert door.agree_on_key("0011aabb") == "0011aabb"
    assert door.agree_on_key("ffffffff") == "0011aabb"
    assert door.agree_on_key("0011aabb") == "0011aabb"


def test_replicas_of_two_repositories_do_not_meet(server: RedisServer) -> None:
    with Door(server.settings("a")) as one, Door(server.settings("b")) as two:
        ship(one, 0, b"bytes\n")
        one.announce("r", b"1")
        one.agree_on_key("00000001")
        lease = taken(one)
        one.put_documents(lease, {"d": b"1"})
        assert (two.chunks(), two.replicas(), two.documents()) == ({}, {}, {})
        assert two.holder() is None
        assert two.agree_on_key("00000002") == "00000002"
        assert not two.call_done(lease, [KEY])
        assert (one.size() > (0, 0), two.size()) == (True, (0, 0))


def test_what_is_held_has_a_size(door: Door, server: RedisServer) -> None:
    assert door.size() == (0, 0)
    ship(door, 0, b"x" * 900)
    assert door.size() == (900, 0)
    lease = taken(door)
    door.put_state(lease, head(1, "a"), {0: b"x" * 50_000})
    door.put_documents(lease, {"d": b"x" * 30_000})
    assert door.size()[0] == 900
    assert 80_000 < door.size()[1] < 100_000
    memory = door.memory()
    assert (memory.used > 80_900, memory.most, memory.policy) == (True, 0, "noeviction")
    with server.client() as client:
        client.config_set("maxmemory", 2**30)
    assert door.memory().most == 2**30
