"""Who leads: one at a time, the one with the newest state, and nobody who only believes he does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from memorydoor import MemoryDoor, MemoryRedis
from redisserver import RedisServer
from waiting import wait_until

from gateway.shared.door import Door
from gateway.shared.held import Head, Lease
from gateway.shared.lease import (
    DEAD_AFTER,
    FORGOTTEN_AFTER,
    GATHERING,
    LASTS,
    MARGIN,
    PATIENCE,
    Leadership,
    LeaseDoor,
    seconds_awake_or_not,
)
from gateway.shared.replica import Replica, decode, encode


class Seat:
    """A replica whose generation and clock the test sets."""

    def __init__(self, redis: MemoryRedis, name: str) -> None:
        self.redis = redis
        self.name = name
        self.generation = 0
        self.front = True
        self.door = MemoryDoor(redis)
        self.leads = Leadership(self.door, self.replica, clock=lambda: redis.now)

    def replica(self) -> Replica:
        at = self.redis.now
        return Replica(
            self.name,
            "a1b2c3d4",
            "host",
            1,
            generation=self.generation,
            at=at,
            front=self.front,
        )

    def is_leading(self) -> bool:
        return self.leads.lease is not None


class Place:
    """Replicas at one Redis; `go` lets time pass, a turn of each that lives every second."""

    def __init__(self) -> None:
        self.redis = MemoryRedis()
        self.redis.head = Head(0, 0, ())
        self.seats: list[Seat] = []

    def seat(self, name: str, generation: int = 0) -> Seat:
        seat = Seat(self.redis, name)
        seat.generation = generation
        self.seats.append(seat)
        return seat

    def go(self, seconds: float = 1.0, without: tuple[Seat, ...] = ()) -> None:
        end = self.redis.now + seconds
        while self.redis.now < end:
            self.redis.now += min(1.0, end - self.redis.now)
            for seat in self.seats:
                if seat not in without:
                    seat.leads.worked()
                    seat.leads.turn()
            assert len([seat for seat in self.seats if seat.is_leading()]) <= 1

    def leader(self) -> Seat | None:
        return next((seat for seat in self.seats if seat.is_leading()), None)


@pytest.fixture
def place() -> Place:
    return Place()


def test_one_of_many_leads_and_goes_on_leading(place: Place) -> None:
    a, b, c = (place.seat(name) for name in "abc")
    place.go(60.0)
    assert place.leader() is a
    assert [seat.leads.holder for seat in (a, b, c)] == ["a", "a", "a"]
    assert sorted(one.id for one in b.leads.others) == ["a", "c"]


def test_the_next_one_leads_when_the_lease_of_the_dead_one_is_over(place: Place) -> None:
    a, b = place.seat("a"), place.seat("b")
    place.go()
    assert a.is_leading()
    place.go(LASTS - 1.0, without=(a,))
    assert not b.is_leading()
    place.go(2.0, without=(a,))
    assert b.is_leading()


def test_given_up_it_is_taken_at_the_next_turn(place: Place) -> None:
    a, b = place.seat("a"), place.seat("b")
    place.go()
    a.leads.finish()
    assert not a.is_leading()
    assert "a" not in place.redis.replicas
    place.go(1.0, without=(a,))
    assert b.is_leading()


def test_what_was_finished_does_not_take_it_again(place: Place) -> None:
    a = place.seat("a")
    place.go()
    a.leads.finish()
    place.go(10.0)
    assert not a.is_leading()


def test_frozen_for_longer_than_it_lasts_it_knows_before_it_asks_anybody(place: Place) -> None:
    a = place.seat("a")
    place.go()
    lease = a.leads.lease
    calls = place.redis.calls
    place.redis.now += LASTS - MARGIN - 0.01
    assert a.leads.lease == lease
    place.redis.now += 0.01
    assert a.leads.lease is None
    assert place.redis.calls == calls


def test_frozen_for_a_while_that_nobody_used_it_leads_under_the_same_lease(place: Place) -> None:
    a = place.seat("a")
    place.go()
    lease = a.leads.lease
    place.redis.now += LASTS - MARGIN / 2
    assert a.leads.lease is None
    a.leads.turn()
    assert a.leads.lease == lease


def test_what_ran_out_is_not_held_again_though_redis_went_back_to_where_it_was(
    place: Place,
) -> None:
    a, b = place.seat("a"), place.seat("b")
    place.go()
    was = place.redis.lease
    assert was is not None
    place.go(LASTS + 1.0, without=(a,))
    assert b.is_leading()
    b.generation = 1
    place.redis.lease = (was[0], place.redis.now + LASTS)
    place.go(LASTS + 3.0)
    assert place.leader() is b


def test_the_time_of_a_slow_renewal_does_not_count_for_the_holder(place: Place) -> None:
    a = place.seat("a")
    place.go()

    def slow(name: str) -> None:
        place.redis.now += 1.5 if name == "renew" else 0.0

    a.door.before = slow
    sent = place.redis.now
    a.leads.turn()
    place.redis.now = sent + LASTS - MARGIN - 0.01
    assert a.is_leading()
    place.redis.now = sent + LASTS - MARGIN
    assert not a.is_leading()


def test_where_redis_is_slow_only_the_lease_is_asked_for(place: Place) -> None:
    a = place.seat("a")
    place.go()
    asked: list[str] = []

    def slow(name: str) -> None:
        asked.append(name)
        place.redis.now += 1.0

    a.door.before = slow
    a.leads.turn()
    assert asked == ["renew"]


def test_while_redis_is_away_the_lease_runs_out_and_is_taken_when_it_is_back(
    place: Place,
) -> None:
    a = place.seat("a")
    place.go()
    place.redis.is_away = True
    place.go(LASTS - MARGIN - 1.0)
    assert a.is_leading()
    assert a.leads.trouble == "cut off"
    place.go(1.0)
    assert not a.is_leading()
    place.go(60.0)
    place.redis.is_away = False
    place.go()
    assert a.is_leading()
    assert a.leads.trouble is None


def test_a_lost_lease_is_known_at_the_next_renewal(place: Place) -> None:
    a, b = place.seat("a"), place.seat("b")
    place.go()
    place.redis.lease = None
    b.leads.turn()
    assert b.is_leading()
    assert a.is_leading(), "for a second both believe it; Redis believes one"
    a.leads.turn()
    assert not a.is_leading()


def test_only_who_has_the_state_of_redis_may_lead(place: Place) -> None:
    a, b = place.seat("a", 2), place.seat("b", 3)
    place.redis.head = Head(3, 0, ())
    place.go()
    assert place.leader() is b
    b.leads.finish()
    place.go(90.0, without=(b,))
    assert not a.is_leading()
    assert a.leads.waits_for == "state 3 of Redis: 2 is here"
    a.generation = 3
    place.go()
    assert a.is_leading()
    assert a.leads.waits_for is None


def test_who_led_between_the_look_and_the_taking_is_not_missed(place: Place) -> None:
    a = place.seat("a")

    def before(name: str) -> None:
        if name == "take":
            place.redis.head = Head(1, 0, ())

    a.door.before = before
    place.go()
    assert not a.is_leading()
    assert place.redis.held is None


def test_in_an_emptied_redis_the_newest_state_leads_whoever_asks_first(place: Place) -> None:
    a, b = place.seat("a", 4), place.seat("b", 5)
    place.redis.head = None
    place.go(GATHERING)
    assert place.leader() is None
    assert a.leads.waits_for == f"the others, for {GATHERING:g} s: Redis holds no state"
    place.go(2.0)
    assert place.leader() is b
    assert a.leads.newest == 5


def test_what_was_heard_before_redis_was_emptied_counts_until_its_replica_is_dead(
    place: Place,
) -> None:
    a, b = place.seat("a", 4), place.seat("b", 5)
    place.redis.head = Head(5, 0, ())
    place.go(2.0)
    assert b.is_leading()
    place.redis.empty()
    place.go(DEAD_AFTER - 1.0, without=(b,))
    assert not a.is_leading()
    assert a.leads.waits_for == "b that has state 5: 4 is here"
    place.go(3.0, without=(b,))
    assert a.is_leading()
    assert a.leads.newest == 5, "what it puts is newer than what b comes back with"


def test_a_replica_that_left_in_order_keeps_nobody_waiting(place: Place) -> None:
    a, b = place.seat("a", 4), place.seat("b", 5)
    place.go(5.0)
    assert b.is_leading()
    b.leads.finish()
    place.go(1.0, without=(b,))
    assert a.is_leading()


def test_words_that_no_longer_change_count_as_those_of_a_dead_one_whatever_time_they_say(
    place: Place,
) -> None:
    a, b = place.seat("a", 4), place.seat("b", 5)
    # Its clock is far ahead.
    words = Replica("b", "a1b2c3d4", "host", 1, generation=5, at=1e12)
    b.door.announce("b", encode(words))
    place.go(DEAD_AFTER, without=(b,))
    assert not a.is_leading()
    place.go(2.0, without=(b,))
    assert a.is_leading()
    assert a.leads.others == []
    place.go(FORGOTTEN_AFTER, without=(b,))
    assert list(place.redis.replicas) == ["a"]


def test_one_with_newer_state_that_lives_and_never_leads_is_waited_for_no_longer_than_a_dead_one(
    place: Place,
) -> None:
    a, b = place.seat("a", 4), place.seat("b", 5)
    place.redis.now = 2 * PATIENCE
    a.leads.worked()
    b.leads.worked = lambda: None  # type: ignore[method-assign]
    b.leads.turn()
    place.go(DEAD_AFTER)
    assert place.leader() is None
    assert b.leads.waits_for == "its own round, which does not end"
    place.go(2.0)
    assert a.is_leading()
    place.go(20.0)
    assert a.is_leading(), "and it does not step down for it again"


def test_a_holder_that_hears_of_newer_state_steps_down_for_it(place: Place) -> None:
    a = place.seat("a", 1)
    place.go()
    assert a.is_leading()
    b = place.seat("b", 5)
    place.go(3.0)
    assert b.is_leading()


def test_who_stepped_down_lets_the_others_go_first(place: Place) -> None:
    a, b = place.seat("a"), place.seat("b")
    place.go()
    lease = a.leads.lease
    assert lease is not None
    a.leads.step_down(lease)
    assert not a.is_leading()
    place.go()
    assert b.is_leading()


def test_another_lease_than_its_own_is_not_given_up(place: Place) -> None:
    a = place.seat("a")
    place.go()
    old = a.leads.lease
    assert old is not None
    a.leads.step_down(old)
    place.go(3.0)
    assert a.is_leading()
    a.leads.step_down(old)
    assert a.is_leading()


def test_a_lease_that_is_given_up_during_its_renewal_stays_so(place: Place) -> None:
    a = place.seat("a")
    place.go()
    lease = a.leads.lease
    assert lease is not None

    def meanwhile(name: str) -> None:
        if name == "renew":
            a.door.before = lambda name: None
            a.leads.step_down(lease)

    a.door.before = meanwhile
    a.leads.turn()
    assert not a.is_leading()


def test_a_holder_whose_round_does_not_end_loses_the_lease(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    a = place.seat("a")
    place.go()
    for _ in range(int(PATIENCE) + 1):
        place.redis.now += 1.0
        a.leads.turn()
    assert not a.is_leading()
    assert place.redis.held is None
    assert "does not end" in caplog.text
    place.redis.now += 10.0
    a.leads.turn()
    assert not a.is_leading()
    a.leads.worked()
    a.leads.turn()
    assert a.is_leading()


def test_words_that_nobody_can_read_are_named_and_do_no_harm(place: Place) -> None:
    a = place.seat("a")
    place.redis.replicas["new"] = b'{"id": 7}'
    place.go()
    assert a.is_leading()
    assert a.leads.unreadable == ["new"]
    assert a.leads.others == []


def test_an_end_without_redis_ends_all_the_same(place: Place) -> None:
    a = place.seat("a")
    place.go()
    place.redis.is_away = True
    a.leads.finish()
    assert not a.is_leading()


def test_a_defect_is_said_and_the_thread_goes_on(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    a = place.seat("a")

    def broken(name: str) -> None:
        a.door.before = lambda name: None
        raise RuntimeError("a defect")

    a.door.before = broken
    with caplog.at_level(logging.ERROR), a.leads:
        wait_until(a.is_leading)
    assert "a defect" in caplog.text
    assert not a.is_leading()


def test_the_clock_goes_on(place: Place) -> None:
    first = seconds_awake_or_not()
    wait_until(lambda: seconds_awake_or_not() > first)


# Over one real server

HOLDING = """
import sys, threading
from pathlib import Path
import msgspec
from gateway.shared.door import Door
from gateway.shared.lease import Leadership
from gateway.shared.place import RedisSettings
from gateway.shared.replica import Replica
settings = msgspec.json.decode(sys.argv[1], type=RedisSettings)
with Door(settings) as door:
    replica = Replica(sys.argv[2], "a1b2c3d4", "host", 1)
    with Leadership(door, lambda: replica, lasts=4.0, margin=0.5) as leads:
        for _ in sys.stdin:
            lease = leads.lease
            print(lease.token if lease is not None else "-", flush=True)
"""


class Process:
    """A process that says its lease whenever it is asked."""

    def __init__(self, server: RedisServer, name: str) -> None:

        settings = msgspec.json.encode(server.settings()).decode()
        root = str(Path(__file__).parents[2])
        self._child = subprocess.Popen(
            [sys.executable, "-c", HOLDING, settings, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def ask(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(b"?\n")
        self._child.stdin.flush()

    def answer(self) -> str:
        assert self._child.stdout is not None
        return self._child.stdout.readline().decode().strip()

    def lease(self) -> str:
        self.ask()
        return self.answer()

    def end(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait(60)
        self._child.stdout.close()


@pytest.fixture
def server(server: RedisServer) -> RedisServer:
    """It holds a state, so that nobody need be waited for."""
    with Door(server.settings()) as door:
        lease = door.take("nobody", 60.0)
        assert lease is not None
        assert door.put_state(lease, Head(0, 0, ()), {})
        door.give_up(lease)
    return server


@pytest.fixture
def process(server: RedisServer) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(name: str) -> Process:
        started.append(Process(server, name))
        return started[-1]

    yield start
    for one in started:
        one.signal(signal.SIGCONT)
        one.end()


def test_a_frozen_process_holds_nothing_when_it_wakes(
    process: Callable[[str], Process],
) -> None:
    a = process("a")
    wait_until(lambda: a.lease().startswith("a:"))
    b = process("b")
    assert b.lease() == "-"
    a.signal(signal.SIGSTOP)
    # The question waits for it: the answer is the first thing that it does.
    a.ask()
    wait_until(lambda: b.lease().startswith("b:"))
    a.signal(signal.SIGCONT)
    assert a.answer() == "-"
    assert b.lease().startswith("b:")


def test_given_up_at_its_end_it_is_the_next_one_s(
    server: RedisServer, process: Callable[[str], Process]
) -> None:
    a = process("a")
    wait_until(lambda: a.lease().startswith("a:"))
    with Door(server.settings()) as door:
        b = Leadership(door, lambda: Replica("b", "a1b2c3d4", "host", 1))
        b.turn()
        assert b.holder == "a"
        a.end()
        assert door.holder() is None
        b.turn()
        assert b.lease is not None
        assert list(door.replicas()) == ["b"]
        b.finish()
        assert door.holder() is None


def test_an_emptied_server_is_led_again(server: RedisServer) -> None:
    now = [0.0]
    words = Replica("a", "a1b2c3d4", "host", 1)
    with Door(server.settings()) as door:
        leads = Leadership(door, lambda: words, clock=lambda: now[0])

        def turn() -> Lease | None:
            leads.turn()
            return leads.lease

        before = turn()
        assert before is not None
        server.restart()
        wait_until(lambda: turn() is None)
        wait_until(lambda: turn() is None and leads.trouble is None)
        now[0] += GATHERING
        after = turn()
        assert after is not None
        assert after != before
        assert decode(door.replicas()["a"]) == words


def test_a_door_is_all_that_it_needs() -> None:
    door: LeaseDoor = MemoryDoor(MemoryRedis())
    assert door.holder() is None
