"""A Redis that is away, full, slow, read-only or forgetful: said in its own words, in time."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redisdocs import asked, came_with, documents, overheard
from redisserver import RedisServer
from waiting import wait_until

from gateway.chunks import ChunkKey
from gateway.shared.calls import CALL
from gateway.shared.door import Door, SharedAway
from gateway.shared.held import Head, Lease, Shipped

PAGE = Path(__file__).parents[2] / "deploy" / "replicas.md"
KEY = ChunkKey("0a1b2c3d", 7)
KEY_2 = ChunkKey("ffffffff", 1)
HEAD = Head(1, 1, ("a",))
LEASE = Lease("me", "0")
#: Far above any deadline of a call, far below for ever.
PATIENCE = 30.0

CALLS: dict[str, Callable[[Door], object]] = {
    "ship": lambda door: door.ship(KEY, 0, b"bytes\n", sealed=True, cap=10**6),
    "chunks": Door.chunks,
    "read": lambda door: door.read(KEY, 0, 10),
    "cut": lambda door: door.cut(LEASE, KEY, 5, 6),
    "call_done": lambda door: door.call_done(LEASE, [KEY], {KEY: 5}),
    "take": lambda door: door.take("me", 5),
    "renew": lambda door: door.renew(LEASE, 5),
    "give_up": lambda door: door.give_up(LEASE),
    "holder": Door.holder,
    "head": Door.head,
    "blocks": lambda door: door.blocks([0]),
    "put_state": lambda door: door.put_state(LEASE, HEAD, {0: b"A"}),
    "put_documents": lambda door: door.put_documents(LEASE, {"a": b"1", "b": None}),
    "documents": Door.documents,
    "documents_at": Door.documents_at,
    "call_look": Door.call_look,
    "looks": Door.looks,
    "send_command": lambda door: door.send_command(b"hold"),
    "commands": Door.commands,
    "bring_commands": lambda door: door.bring_commands(LEASE),
    "withdraw_command": lambda door: door.withdraw_command(b"hold"),
    "drop_commands": lambda door: door.drop_commands(LEASE, [b"hold"]),
    "announce": lambda door: door.announce("me", b"{}"),
    "replicas": Door.replicas,
    "forget_replica": lambda door: door.forget_replica("me"),
    "agree_on_key": lambda door: door.agree_on_key("00000000"),
    "size": Door.size,
    "memory": Door.memory,
}


def test_every_call_of_the_door_is_tried_here() -> None:
    assert set(CALLS) == {n for n in vars(Door) if not n.startswith("_")} - {"close"}


@pytest.fixture
def door(server: RedisServer) -> Iterator[Door]:
    with Door(server.settings()) as opened:
        yield opened


def hold(server: RedisServer) -> None:
    """`LEASE` is in force."""
    with server.client() as client:
        client.set("t:lease", LEASE.token)


def test_whatever_is_asked_of_a_redis_that_is_gone_says_so(door: Door, server: RedisServer) -> None:
    door.chunks()
    server.kill()
    for call in CALLS.values():
        with pytest.raises(SharedAway, match=r"redis: .*(refused|closed|reset|pipe)"):
            call(door)
    server.start()
    assert door.chunks() == {}, "the same door, once it is back"


def test_no_call_waits_for_a_redis_that_does_not_answer(door: Door, server: RedisServer) -> None:
    door.chunks()
    server.freeze()
    late: list[str] = []

    def ask(name: str, call: Callable[[Door], object]) -> None:
        with pytest.raises(SharedAway, match=r"Timeout.*: no answer within 2 s"):
            call(door)
        late.remove(name)

    late += CALLS
    askers = [threading.Thread(target=ask, args=item, daemon=True) for item in CALLS.items()]
    for asker in askers:
        asker.start()
    end = time.monotonic() + PATIENCE
    for asker in askers:
        asker.join(max(0.0, end - time.monotonic()))
    assert late == []
    server.thaw()
    assert door.replicas() in ({}, {"me": b"{}"})


def test_an_answer_that_trickles_is_not_waited_for(server: RedisServer) -> None:
    """Each byte begins a socket's own timeout anew."""
    over = threading.Event()

    def trickle(listener: socket.socket) -> None:
        caller, _ = listener.accept()
        with caller, contextlib.suppress(OSError):
            caller.recv(4096)
            caller.sendall(b"$100\r\n")
            while not over.wait(CALL / 20):
                caller.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        trickler = threading.Thread(target=trickle, args=(listener,), daemon=True)
        trickler.start()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        with Door(server.settings(url=url)) as door:
            with pytest.raises(SharedAway, match="no answer within 2 s"):
                door.read(KEY, 0, 100)
            over.set()
            trickler.join()


def test_a_full_redis_takes_nothing_and_what_is_there_stays(
    door: Door, server: RedisServer
) -> None:
    door.ship(KEY, 0, b"0123456789", sealed=False, cap=10**6)
    hold(server)
    assert door.put_state(LEASE, HEAD, {0: b"A"})
    server.fill()
    for refused in (
        lambda: door.ship(KEY, 10, b"ab", sealed=True, cap=10**6),
        lambda: door.ship(KEY_2, 0, b"ab", sealed=False, cap=10**6),
        lambda: door.put_state(LEASE, Head(2, 1, ("b",)), {0: b"B"}),
        lambda: door.put_documents(LEASE, {"a": b"1"}),
        lambda: door.announce("me", b"{}"),
        door.call_look,
        lambda: door.send_command(b"hold"),
    ):
        with pytest.raises(SharedAway, match="used memory > 'maxmemory'") as caught:
            refused()
        assert "script" not in str(caught.value)
    assert door.ship(KEY, 0, b"0123456789", sealed=False, cap=10**6) == Shipped(10)
    assert (door.read(KEY, 0, 99), door.blocks([0])) == (b"0123456789", {0: b"A"})
    assert (door.head(), door.documents(), door.looks()) == (HEAD, {}, 0)
    used, most, _ = door.memory()
    assert used > most > 0
    server.drain()
    assert door.ship(KEY, 10, b"ab", sealed=True, cap=10**6) == Shipped(12)


def test_a_full_redis_still_has_a_holder_who_gives_memory_back(
    door: Door, server: RedisServer
) -> None:
    door.ship(KEY, 0, b"0123456789", sealed=True, cap=10**6)
    server.fill()
    lease = door.take("me", 60)
    assert lease is not None
    assert door.renew(lease, 60)
    assert door.call_done(lease, [KEY])
    assert door.chunks() == {}
    assert door.ship(KEY, 0, b"0123456789", sealed=True, cap=10**6).done
    door.give_up(lease)
    assert door.take("another", 60) is not None


def test_a_redis_that_only_answers_questions_says_so(door: Door, server: RedisServer) -> None:
    """A replica of Redis' own, after a failover that the address does not know of."""
    door.ship(KEY, 0, b"0123456789", sealed=True, cap=10**6)
    hold(server)
    with socket.create_server(("127.0.0.1", 0)) as nobody, server.client() as client:
        client.replicaof("127.0.0.1", str(nobody.getsockname()[1]))
        assert door.ship(KEY, 10, b"x", sealed=True, cap=99) == Shipped(10), "no news, no write"
        assert door.take("me", 5) is None
        for call in (
            lambda: door.ship(KEY_2, 0, b"x", sealed=False, cap=99),
            lambda: door.call_done(LEASE, [KEY]),
            lambda: door.put_state(LEASE, HEAD, {0: b"A"}),
            lambda: door.put_documents(LEASE, {"a": b"1"}),
            lambda: door.renew(LEASE, 5),
            lambda: door.announce("me", b"{}"),
            door.call_look,
        ):
            with pytest.raises(SharedAway, match="read only replica"):
                call()
        assert door.read(KEY, 0, 99) == b"0123456789"
        client.replicaof("NO", "ONE")
    assert door.call_done(LEASE, [KEY])


def test_scripts_that_redis_forgot_are_told_it_again(door: Door, server: RedisServer) -> None:
    assert door.ship(KEY, 0, b"01", sealed=False, cap=99) == Shipped(2)
    for _ in range(2):
        with server.client() as client:
            client.script_flush()
        assert door.ship(KEY, 2, b"23", sealed=False, cap=99) == Shipped(4)
        door.call_look()
    assert door.looks() > 0


def test_a_script_is_sent_once_and_then_named(door: Door, server: RedisServer) -> None:
    for _ in range(5):
        door.call_look()
    with server.client() as client:
        stats = client.info("commandstats")
    assert (stats["cmdstat_eval"]["calls"], stats["cmdstat_evalsha"]["calls"]) == (1, 5)


def test_nothing_is_asked_that_redis_6_2_does_not_know(door: Door, server: RedisServer) -> None:
    """Also within scripts, and when connecting; neither a command nor an option of one."""
    hold(server)
    with overheard(server) as calls:
        for name, call in CALLS.items():
            if name != "give_up":
                call(door)
        for _ in range(2):
            door.ship(KEY_2, 0, b"x", sealed=False, cap=99)
            door.call_look()
    assert {"evalsha", "eval", "hset", "append", "lpos", "memory"} <= {call[0] for call in calls}
    # This age is of neither option alone.
    assert [call for call in calls if {"NX", "GET"} <= {word.upper() for word in call[1:]}] == []
    if documents(server):
        used = asked(server)
        assert [call for call in calls if came_with(server, *call) > (6, 2, 0)] == []
        assert [name for name in used if came_with(server, name) > (6, 2, 0)] == []


def test_what_redis_6_2_does_not_know_would_be_found_out(server: RedisServer) -> None:
    with overheard(server) as calls, server.client() as client:
        client.set("k", b'\x00 "v"')
        client.expire("k", 9, nx=True)
    assert [call[0] for call in calls] == ["set", "expire"]
    assert calls[1][1:] == ("k", "9", "NX")
    if documents(server):
        assert came_with(server, *calls[0]) < (6, 2, 0)
        assert came_with(server, *calls[1]) == (7, 0, 0)
        assert came_with(server, "expire", "k", "9") < (6, 2, 0)
        assert came_with(server, "set", "k", "v", "GET") == (6, 2, 0)


def test_the_rights_of_the_documentation_are_enough(server: RedisServer) -> None:
    found = re.search(r"ACL SETUSER gateway (.*)", PAGE.read_text())
    assert found is not None
    rules = found[1].replace("PASSWORD", "secret").replace("PREFIX", "t").split()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "gateway", *rules)
        hold(server)
    with Door(server.settings(url=f"unix://gateway:secret@{server.socket}")) as door:
        for name, call in CALLS.items():
            if name != "give_up":
                call(door)
        door.give_up(LEASE)
        with Door(server.settings("u", url=f"unix://gateway:secret@{server.socket}")) as other:
            for name in ("chunks", "announce", "ship", "take"):
                with pytest.raises(SharedAway, match=r"(?i)permission|access"):
                    CALLS[name](other)


def test_a_server_dies_with_the_tests(tmp_path: Path) -> None:
    """Also when they are killed, and clean up nothing."""
    program = (
        "import os, signal, sys; sys.path[:0] = sys.argv[1:3]\n"
        "from redisserver import RedisServer\n"
        "server = RedisServer(); server.start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tests), str(tests.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, folder = done.stdout.split()
    wait_until(lambda: not _runs(int(pid)))
    shutil.rmtree(folder)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
