"""What a replica's monitor brings to Redis and takes from it, beside the lease and the state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redisserver import RedisServer
from replicajournal import Replica
from waiting import wait_until

from gateway.commands_folder import is_withdrawing, send, waiting, was_taken, withdraw
from gateway.experiments.facts import Command
from gateway.monitoring.monitor_settings import Monitoring, MonitorSettings
from gateway.monitoring.sharing import Sharing
from gateway.names import Branch
from gateway.repositories.credentials import Credentials
from gateway.shared.door import Door
from gateway.shared.held import Lease, Memory
from gateway.shared.lease import Leadership
from gateway.shared.state_copy import StateCopy


class Node:
    """One replica's dealings with Redis, without a front and without a monitor's work."""

    def __init__(self, folder: Path, server: RedisServer, name: str, key: str = "0" * 8) -> None:
        self.home = folder / name
        work = self.home / "shared"
        work.mkdir(parents=True)
        redis = server.settings("t", replica=name * 16)
        self.settings = MonitorSettings(
            repository="r",
            state_dir=work,
            monitoring=Monitoring(flush=1.0, retention=86400.0, journal_bytes=1 << 20),
            branches=(Branch("prod"),),
            credentials=Credentials(),
            stamp="1",
            redis=redis.__class__(**{**_fields(redis), "key": key}),
            home=self.home,
        )
        assert self.settings.redis is not None
        self.calls = 0
        self.door = Door(self.settings.redis)
        copy = StateCopy(self.door, work / "store.sqlite")
        self.sharing = Sharing(self.door, self.settings, copy, remote_looks=lambda: self.calls)
        self.leadership = Leadership(self.door, self.sharing.replica)
        self.sharing.start(self.leadership)

    def status(self, *, is_leading: bool = False) -> dict[str, Any]:
        return self.sharing.status(is_leading=is_leading, trouble=None)

    def end(self) -> None:
        self.sharing.finish()
        self.door.close()


def _fields(redis: Any) -> dict[str, Any]:
    return {name: getattr(redis, name) for name in redis.__struct_fields__}


Begin = Callable[..., Node]


@pytest.fixture
def begin(tmp_path: Path, server: RedisServer) -> Iterator[Begin]:
    nodes: list[Node] = []

    def begin(name: str, **options: Any) -> Node:
        nodes.append(Node(tmp_path, server, name, **options))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.end()


def lease_of(node: Node) -> Lease:
    lease = node.door.take("a" * 16, 30.0)
    assert lease is not None
    return lease


def test_what_the_holder_says_is_found_by_every_front(begin: Begin) -> None:
    one, two = begin("1"), begin("2")
    lease = lease_of(one)
    work = one.settings.state_dir
    (work / "drift").mkdir()
    (work / "drift" / "prod.json").write_text('{"branch": "prod"}')
    (work / "allocation.json").write_text('{"branches": {}}')
    one.sharing.publish(lease, {"rows": {"prod": 3}})
    homes = (one.home, two.home)
    wait_until(lambda: all((home / "drift" / "prod.json").exists() for home in homes))
    wait_until(lambda: all((home / "allocation.json").exists() for home in homes))
    for node in (one, two):
        assert json.loads((node.home / "allocation.json").read_text()) == {"branches": {}}
        assert json.loads((node.home / "drift" / "prod.json").read_text()) == {"branch": "prod"}
    wait_until(lambda: two.sharing.told == one.sharing.told == {"rows": {"prod": 3}})
    (work / "allocation.json").write_text('{"branches": {}, "version": 1}')
    one.sharing.publish(lease, {"rows": {"prod": 3}})
    wait_until(lambda: "version" in (two.home / "allocation.json").read_text())


def test_an_emptied_redis_is_told_everything_again(begin: Begin, server: RedisServer) -> None:
    one, two = begin("1"), begin("2")
    (one.settings.state_dir / "allocation.json").write_text("{}")
    one.sharing.publish(lease_of(one), {"rows": {}})
    wait_until(lambda: (two.home / "allocation.json").exists())
    server.restart(empty=True)
    (two.home / "allocation.json").unlink()
    one.sharing.publish(lease_of(one), {"rows": {}})
    wait_until(lambda: (two.home / "allocation.json").exists())


def test_nobody_but_the_holder_is_believed(begin: Begin) -> None:
    one, two = begin("1"), begin("2")
    lease = lease_of(one)
    two.sharing.publish(Lease("2" * 16, "another"), {"rows": {"prod": 99}})
    one.sharing.publish(lease, {"rows": {"prod": 1}})
    wait_until(lambda: two.sharing.told == {"rows": {"prod": 1}})


@pytest.mark.parametrize(
    "name", ["../escape.json", "drift/../../x.json", "served.json", "drift/.x.json"]
)
def test_no_document_becomes_a_file_that_is_none_of_theirs(begin: Begin, name: str) -> None:
    one, two = begin("1"), begin("2")
    lease = lease_of(one)
    one.door.put_documents(lease, {name: b"{}"})
    one.sharing.publish(lease, {"rows": {"prod": 1}})
    wait_until(lambda: two.sharing.told == {"rows": {"prod": 1}})
    written = {path.name for path in two.home.parent.rglob("*.json")}
    assert written.isdisjoint({"escape.json", "x.json", "served.json", ".x.json"})


def test_an_operators_word_reaches_the_holder_once_and_goes_when_it_is_taken(
    begin: Begin,
) -> None:
    one, two = begin("1"), begin("2")
    lease = lease_of(one)
    sent = send(two.home, Command("", "hold", "exp", at=1.0, reason="a look"))

    def brought() -> list[Command]:
        one.sharing.publish(lease, {})
        return waiting(one.settings.state_dir)

    wait_until(brought)
    assert [(one.id, one.branch, one.reason) for one in brought()] == [(sent.id, "exp", "a look")]
    assert waiting(two.home) == [sent]  # until it is in force
    (one.settings.state_dir / "commands" / f"{sent.id}.json").unlink()
    one.sharing.publish(lease, {})
    assert len(one.door.commands()) == 1  # what came of it is not in Redis yet
    one.sharing.publish(lease, {})
    assert one.door.commands() == []
    assert waiting(one.settings.state_dir) == []
    wait_until(lambda: waiting(two.home) == [])


def test_a_word_that_is_withdrawn_is_acted_upon_by_nobody(begin: Begin) -> None:
    """Also not by a holder that comes later."""
    one, two = begin("1"), begin("2")
    sent = send(two.home, Command("", "hold", "exp", at=1.0))
    wait_until(one.door.commands)
    assert withdraw(two.home, sent)
    wait_until(lambda: not is_withdrawing(two.home, sent))
    assert not was_taken(two.home, sent)
    assert one.door.commands() == []
    one.sharing.publish(lease_of(one), {})
    assert waiting(one.settings.state_dir) == []


def test_a_word_that_the_holder_has_is_not_withdrawn(begin: Begin) -> None:
    one, two = begin("1"), begin("2")
    sent = send(two.home, Command("", "hold", "exp", at=1.0))
    wait_until(one.door.commands)
    one.sharing.publish(lease_of(one), {})
    assert [command.id for command in waiting(one.settings.state_dir)] == [sent.id]
    assert withdraw(two.home, sent)
    wait_until(lambda: not is_withdrawing(two.home, sent))
    assert was_taken(two.home, sent)
    assert len(one.door.commands()) == 1


def test_a_word_is_withdrawn_when_redis_can_be_asked_again(
    begin: Begin, server: RedisServer
) -> None:
    two = begin("2")
    sent = send(two.home, Command("", "hold", "exp", at=1.0))
    wait_until(two.door.commands)
    server.freeze()
    assert withdraw(two.home, sent)
    wait_until(lambda: two.status()["trouble"])
    assert is_withdrawing(two.home, sent)
    server.thaw()
    wait_until(lambda: not is_withdrawing(two.home, sent))
    assert two.door.commands() == []


def test_a_call_of_the_git_server_at_one_is_seen_by_the_other(begin: Begin) -> None:
    one, two = begin("1"), begin("2")
    wait_until(lambda: two.status()["trouble"] is None)
    before = two.status()["looks"]
    one.calls += 1
    wait_until(lambda: two.status()["looks"] != before)


def test_a_replica_with_another_unit_key_ships_nothing_and_says_so(begin: Begin) -> None:
    one = begin("1")
    wait_until(lambda: one.status()["trouble"] is None)
    other = begin("2", key="f" * 8)
    wait_until(lambda: "unit key" in str(other.status()["trouble"]))
    assert "0" * 8 in other.status()["trouble"]


MIB = 1024 * 1024


def test_shipping_pauses_before_redis_is_full_and_says_why(
    begin: Begin, server: RedisServer
) -> None:
    one = begin("1")
    wait_until(lambda: one.status()["trouble"] is None)
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 8 * MIB)
    journal = Replica(one.home / "journal")
    chunks = [journal.sealed(16, size=MIB // 16) for _ in range(12)]
    wait_until(lambda: one.status()["paused"] and one.status()["memory"])
    assert "maxmemory" in one.status()["memory"]
    assert one.status()["trouble"] is None
    there = one.door.chunks()
    assert 1 <= len(there) < len(chunks)
    assert one.door.memory().used < one.door.memory().most
    with server.client() as client:
        client.config_set("maxmemory", 0)
    wait_until(lambda: set(one.door.chunks()) == set(chunks))
    wait_until(lambda: (one.status()["paused"], one.status()["memory"]) == (False, None))


def test_a_redis_that_may_evict_is_told_of(begin: Begin, server: RedisServer) -> None:
    one = begin("1")
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    wait_until(lambda: one.status()["trouble"] is None)
    assert one.status()["memory"] is None, "it has no bound, and evicts nothing"
    with server.client() as client:
        client.config_set("maxmemory", 1024 * MIB)
    wait_until(lambda: one.status()["memory"])
    assert "maxmemory-policy allkeys-lru" in one.status()["memory"]


@pytest.mark.parametrize(
    ("used", "most", "held", "beside", "room"),
    [
        (9, 0, 5, 5, None),
        (10 * MIB, 100 * MIB, 2 * MIB, MIB, 44 * MIB),
        (10 * MIB, 16 * MIB, 2 * MIB, MIB, 4 * MIB),
        (16 * MIB, 16 * MIB, MIB, MIB, MIB),
    ],
)
def test_room_is_what_is_left_but_for_a_spare_and_the_state_once_more(
    used: int, most: int, held: int, beside: int, room: int | None
) -> None:
    assert Memory(used, most, "noeviction").room(held, beside) == room
