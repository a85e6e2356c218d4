"""Whatever befalls replicas and Redis: what a holder was told is kept, is kept."""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memorydoor import MemoryDoor, MemoryRedis
from redisserver import RedisServer
from waiting import wait_until

from gateway.chunks import ChunkKey
from gateway.shared.door import Door, SharedAway
from gateway.shared.lease import Leadership
from gateway.shared.replica import Replica
from gateway.shared.state_copy import StateCopy
from gateway.store.ledger import Ledger
from gateway.store.sqlite import SqliteStore

#: A disk that need not be waited for, where there is one: thousands of files are made certain here.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Node:
    """A replica that is killed and comes back on the same disk."""

    def __init__(self, name: str, folder: Path, redis: MemoryRedis) -> None:
        self.name = name
        self.redis = redis
        self.path = folder / name / "store.sqlite"
        self.path.parent.mkdir()
        self.kept: set[str] = set()
        self.written = 0
        self.is_frozen = False
        self.begin()

    def begin(self) -> None:
        door = MemoryDoor(self.redis)
        self.copy = StateCopy(door, self.path)
        self.leads = Leadership(door, self.replica, clock=lambda: self.redis.now)

    def replica(self) -> Replica:
        at = self.redis.now
        return Replica(self.name, "", "", 1, generation=self.copy.generation, at=at)

    def kill(self) -> None:
        self.copy.close()
        self.begin()

    def quit(self) -> None:
        self.copy.close()
        self.leads.finish()
        self.begin()

    def round(self) -> None:
        self.leads.worked()
        self.leads.turn()
        lease = self.leads.lease
        with contextlib.suppress(SharedAway):
            if lease is None:
                self.copy.pull(now=True)
                return
            with SqliteStore(self.path) as store:
                self.written += 1
                token = f"{self.name}{self.written}"
                store.remember({("a", token): b""})
                if self.copy.push(lease, newest=self.leads.newest):
                    self.kept |= set(store.recall("a"))
                else:
                    self.leads.step_down(lease)
        self.copy.close()

    def has(self) -> set[str]:
        with SqliteStore(self.path) as store:
            return set(store.recall("a"))


class World:
    """Three of them; what Redis was each second may come back."""

    def __init__(self, folder: Path) -> None:
        self.redis = MemoryRedis()
        self.nodes = [Node(name, folder, self.redis) for name in "abc"]
        self.past: list[MemoryRedis] = []

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.redis.now += 1.0
            for node in self.nodes:
                if not node.is_frozen:
                    node.round()
            self.past = [*self.past[-3:], copy.deepcopy(self.redis)]

    def freeze(self, number: int) -> None:
        self.nodes[number].is_frozen = not self.nodes[number].is_frozen

    def kill(self, number: int) -> None:
        self.nodes[number].kill()

    def quit(self, number: int) -> None:
        self.nodes[number].quit()

    def cut(self, call: int) -> None:
        self.redis.fail_at = self.redis.calls + call
        self.redis.fails_after = False

    def cut_unanswered(self, call: int) -> None:
        self.cut(call)
        self.redis.fails_after = True

    def empty(self) -> None:
        self.redis.empty()
        self._all_see_it()

    def back(self) -> None:
        """As after a failover, of a Redis that had one holder for a while."""
        self._all_see_it()
        was = copy.deepcopy(self.past[0])
        for name in ("lease", "head", "blocks", "replicas"):
            setattr(self.redis, name, getattr(was, name))
        self._all_see_it()

    def _all_see_it(self) -> None:
        """Who has the newest state must live then: what nobody has is lost."""
        for node in self.nodes:
            node.is_frozen = False
        self.redis.fail_at = None
        self.seconds(12)


Step = tuple[str, *tuple[int, ...]]

steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("seconds"), st.integers(1, 7)),
    st.tuples(st.sampled_from(["freeze", "kill", "quit"]), st.integers(0, 2)),
    st.tuples(st.sampled_from(["cut", "cut_unanswered"]), st.integers(1, 25)),
    st.tuples(st.sampled_from(["empty", "back"])),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(steps, min_size=3, max_size=16))
def test_nothing_that_was_kept_is_lost(moves: list[Step]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        world = World(Path(folder))
        for move in moves:
            getattr(world, move[0])(*move[1:])
        for node in world.nodes:
            node.is_frozen = False
        world.redis.fail_at = None
        world.seconds(15)
        leading = [node for node in world.nodes if node.leads.lease is not None]
        assert len(leading) == 1
        world.seconds(1)
        for node in world.nodes:
            node.copy.pull(now=True)
        kept = set().union(*(node.kept for node in world.nodes))
        assert kept
        assert all(node.has() == kept for node in world.nodes)
        for node in world.nodes:
            node.copy.close()


class Living:
    """A replica over a real server: threads that write, one that puts or brings."""

    def __init__(self, name: str, folder: Path, server: RedisServer) -> None:
        self.name = name
        self.path = folder / name / "store.sqlite"
        self.path.parent.mkdir(exist_ok=True)
        self._door = Door(server.settings(replica=name * 16))
        self._generation = 0
        self.leads = Leadership(self._door, self._replica, lasts=1.0, margin=0.3)
        self._is_over = threading.Event()
        self._is_killed = False
        self._stop_experiments = threading.Event()
        self._thread = threading.Thread(target=self._run)
        #: Chunks whose counts are kept for good.
        self.kept: set[int] = set()
        self.failure: BaseException | None = None

    def _replica(self) -> Replica:
        return Replica(self.name, "", "", 1, generation=self._generation)

    def start(self) -> None:
        self._thread.start()

    def end(self, *, in_order: bool = True) -> None:
        self._is_killed = not in_order
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._door, StateCopy(self._door, self.path) as state:
                self._generation = state.generation
                with contextlib.ExitStack() as ends:
                    ends.enter_context(self.leads)
                    if self._is_over.wait(0):
                        return
                    self._rounds(state)
                    if self._is_killed:
                        # As if there were no time to give the lease up.
                        self.leads._tenure = None
        except BaseException as error:
            self.failure = error
            raise

    def _rounds(self, state: StateCopy) -> None:
        while not self._is_over.wait(0.02):
            self.leads.worked()
            with contextlib.suppress(SharedAway):
                lease = self.leads.lease
                if lease is None:
                    state.pull()
                else:
                    self._lead(state)
            self._generation = state.generation

    def _lead(self, state: StateCopy) -> None:
        lease = self.leads.lease
        with SqliteStore(self.path) as store, contextlib.closing(state):
            ledger = threading.Thread(target=self._experiments)
            ledger.start()
            try:
                while lease is not None and not self._is_over.is_set():
                    number = store.totals("rows").get(("rows", "chunks"), 0)
                    key = ChunkKey("a1b2c3d4", number)
                    assert store.add_counts(key, "rows", {("rows", "chunks"): 1})
                    if not state.push(lease, newest=self.leads.newest):
                        self.leads.step_down(lease)
                        return
                    self._generation = state.generation
                    self.kept.add(number)
                    if self.leads.lease != lease:
                        return
            finally:
                self._stop_experiments.set()
                ledger.join()

    def _experiments(self) -> None:
        self._stop_experiments.clear()
        with Ledger(self.path) as ledger:
            while not self._stop_experiments.wait(0.001):
                with ledger.whole():
                    place = ledger.place_of(ChunkKey("a1b2c3d4", 1))
                    ledger.mark("scope", [place])
                    ledger.set_place(ChunkKey("a1b2c3d4", 1), place + 1)


def test_three_replicas_over_a_real_server_lose_nothing(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.shared.lease.GATHERING", 3.0)
    monkeypatch.setattr("gateway.shared.lease.EVERY", 0.1)
    living = {name: Living(name, tmp_path, server) for name in "abc"}
    everybody = list(living.values())

    def leader() -> Living | None:
        return next((one for one in living.values() if one.leads.lease is not None), None)

    def goes_on() -> Living:
        """Whose state Redis keeps from now on."""
        before = {one: len(one.kept) for one in living.values()}

        def found() -> Living | None:
            return next((one for one in before if len(one.kept) > before[one] + 3), None)

        one = wait_until(found)
        assert isinstance(one, Living)
        return one

    for one in living.values():
        one.start()
    try:
        for in_order in (True, False):
            first = goes_on()
            first.end(in_order=in_order)
            goes_on()
            again = living[first.name] = Living(first.name, tmp_path, server)
            everybody.append(again)
            again.start()
        server.freeze()
        wait_until(lambda: leader() is None)
        server.thaw()
        goes_on()
        server.restart()
        goes_on()
    finally:
        for one in living.values():
            one.end()
    assert [one.failure for one in everybody if one.failure is not None] == []
    kept = set().union(*(one.kept for one in everybody))
    with Door(server.settings()) as door, StateCopy(door, tmp_path / "last.sqlite") as last:
        assert last.pull()
    with Ledger(tmp_path / "last.sqlite") as ledger:
        count = ledger.totals("rows")["rows", "chunks"]
        assert kept <= set(range(count))
        assert all(ledger.has(ChunkKey("a1b2c3d4", number), "rows") for number in range(count))
        assert ledger.size() == ledger.place_of(ChunkKey("a1b2c3d4", 1))
        assert ledger._row("PRAGMA integrity_check") == ("ok",)
