"""Shipping and mirroring through a real server, and that the one in memory is like it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doorinmemory import InMemoryDoor, RememberedCuts
from redisserver import RedisServer
from replicajournal import Replica
from sharedwalk import Walk

from gateway.chunks import ChunkKey
from gateway.shared import mirroring, shipping
from gateway.shared.door import Door
from gateway.shared.mirroring import Mirror
from gateway.shared.shipping import Shipper

KEYS = [ChunkKey("a1b2c3d4", 1), ChunkKey("a1b2c3d4", 2), ChunkKey("00000002", 1)]
Connect = Callable[[], Door]


def never() -> bool:
    return False


@pytest.fixture
def connect(server: RedisServer) -> Iterator[Connect]:
    doors: list[Door] = []

    def opened() -> Door:
        doors.append(Door(server.settings()))
        return doors[-1]

    yield opened
    for door in doors:
        door.close()


def through(connect: Connect, replica: Replica) -> Shipper:
    return Shipper(connect(), replica.folder, replica.cap)


def test_the_door_in_memory_answers_as_the_real_one(server: RedisServer, connect: Connect) -> None:
    seen = set()
    real = connect()
    with server.client() as client:
        for seed in range(10):
            client.flushall()
            double = InMemoryDoor()
            seen |= compared(double, real, random.Random(seed))
    assert seen == {(False, False), (False, True), (True, False)}


def compared(double: InMemoryDoor, real: Door, luck: random.Random) -> set[tuple[bool, bool]]:
    """Ask both the same; which kinds of answers there were."""
    leases = double.take("me", 60), real.take("me", 60)
    contents = {key: luck.randbytes(300) for key in KEYS}
    seen = set()
    for turn in range(150):
        key = luck.choice(KEYS)
        if turn > 50 and luck.random() < 0.03:
            assert leases[0] is not None
            assert leases[1] is not None
            cuts = {key: 100 + key.number} if key.number > 1 else None
            assert double.call_done(leases[0], [key], cuts)
            assert real.call_done(leases[1], [key], cuts)
        held = double.chunks().get(key)
        if held is not None and luck.random() < 0.1:
            assert leases[0] is not None
            assert leases[1] is not None
            at, size = luck.randrange(held.size + 30), luck.choice([None, held.size, 7])
            assert double.cut(leases[0], key, at, size)
            assert real.cut(leases[1], key, at, size)
            assert double.chunks() == real.chunks()
            held = double.chunks().get(key)
        offset = luck.choice([0, luck.randrange(320), held.size if held is not None else 0])
        data = contents[key][offset : offset + luck.choice([0, 1, 40])]
        sealed, cap = luck.random() < 0.05, luck.choice([50, 200, 10_000])
        answers = [door.ship(key, offset, data, sealed=sealed, cap=cap) for door in (double, real)]
        assert answers[0] == answers[1]
        assert double.chunks() == real.chunks()
        assert double.read(key, 10, 99) == real.read(key, 10, 99)
        seen.add((answers[0].done, answers[0].full))
    return seen


def test_what_is_shipped_is_mirrored_through_restarts_of_an_emptied_server(
    tmp_path: Path, server: RedisServer, connect: Connect
) -> None:
    replica = Replica(tmp_path / "journal")
    shipper = through(connect, replica)
    mirror = Mirror(connect(), tmp_path / "shared")
    replica.sealed(1000, size=2000)
    for _ in range(3):
        replica.write(10)
        server.restart(empty=True)
        # What was connected before finds out by its first call.
        while shipper.step(never).trouble or shipper.status.behind:
            pass
        while not mirror.step(never, RememberedCuts()):
            pass
        assert files(tmp_path / "shared") == replica.on_disk()


def test_a_full_redis_keeps_chunks_on_the_disk_and_takes_them_later(
    tmp_path: Path, server: RedisServer, connect: Connect
) -> None:
    replica = Replica(tmp_path / "journal")
    shipper = through(connect, replica)
    replica.sealed(100)
    server.fill()
    status = shipper.step(never)
    assert status.trouble is not None
    assert status.chunks == 1
    assert len(replica.on_disk()) == 1
    server.drain()
    assert shipper.step(never).trouble is None
    assert connect().chunks()[ChunkKey("a1b2c3d4", 1)].sealed


def test_evicted_bytes_are_sent_again(
    tmp_path: Path, server: RedisServer, connect: Connect
) -> None:
    """Whatever the server was told to do when its memory is full."""
    replica = Replica(tmp_path / "journal")
    shipper = through(connect, replica)
    replica.sealed(100)
    shipper.step(never)
    with server.client() as client:
        [name] = client.keys("*:chunk:*")
        client.delete(name)
    mirror = Mirror(connect(), tmp_path / "shared")
    assert not mirror.step(never, RememberedCuts())
    shipper.step(never)
    assert mirror.step(never, RememberedCuts())
    assert files(tmp_path / "shared") == replica.on_disk()


def test_any_interleaving_through_a_real_server_takes_every_line_once(
    tmp_path: Path, server: RedisServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, piece, step in ((shipping, 60, 900), (mirroring, 70, 1500)):
        monkeypatch.setattr(module, "_PIECE", piece)
        monkeypatch.setattr(module, "_CALL", 10)
        monkeypatch.setattr(module, "_STEP_BYTES", step)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    door = connect()
    with server.client() as client:

        def expire() -> None:
            client.delete("t:lease")

        for seed in range(20):
            client.flushall()
            walk = Walk(tmp_path / str(seed), seed, lambda: door, lambda: client.flushall(), expire)
            walk.go(120)
            walk.end()
            walk.check()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
