"""A monitor without a front leads before those of gateways, and never at the cost of the state."""

from __future__ import annotations

import pytest
from shared.test_lease import Place, Seat

from gateway.shared.held import Head
from gateway.shared.lease import DEAD_AFTER, GATHERING, LASTS


@pytest.fixture
def place() -> Place:
    return Place()


def alone(place: Place, generation: int = 0) -> Seat:
    seat = place.seat("monitor", generation)
    seat.front = False
    return seat


def test_it_leads_whoever_was_there_first(place: Place) -> None:
    a, b = place.seat("a"), place.seat("b")
    place.go(10.0)
    assert a.is_leading()
    monitor = alone(place)
    place.go(5.0)
    assert monitor.is_leading()
    place.go(60.0)
    assert monitor.is_leading()
    assert [seat.leads.holder for seat in (a, b)] == ["monitor", "monitor"]


def test_a_gateway_leads_as_soon_as_it_ends(place: Place) -> None:
    a, monitor = place.seat("a"), alone(place)
    place.go(5.0)
    assert monitor.is_leading()
    monitor.leads.finish()
    place.go(2.0, without=(monitor,))
    assert a.is_leading()


def test_a_gateway_leads_once_it_is_dead(place: Place) -> None:
    a, monitor = place.seat("a"), alone(place)
    place.go(5.0)
    place.go(DEAD_AFTER + LASTS + 2.0, without=(monitor,))
    assert a.is_leading()


def test_one_that_lives_and_does_not_lead_is_not_waited_for_longer_than_a_dead_one(
    place: Place,
) -> None:
    a, monitor = place.seat("a"), alone(place)
    monitor.door.take = lambda holder, seconds: None  # type: ignore[method-assign]
    place.go(DEAD_AFTER - 5.0)
    assert not a.is_leading()
    place.go(10.0)
    assert a.is_leading()
    place.go(DEAD_AFTER)
    assert a.is_leading()


def test_it_takes_in_the_state_before_it_leads(place: Place) -> None:
    a = place.seat("a", generation=7)
    place.redis.head = Head(7, 0, ())
    place.go(5.0)
    monitor = alone(place)
    place.go(5.0)
    assert not monitor.is_leading()
    assert not a.is_leading()
    monitor.generation = 7
    place.go(2.0)
    assert monitor.is_leading()


def test_nobody_gives_way_while_what_he_knows_is_not_in_redis(place: Place) -> None:
    a = place.seat("a", generation=7)
    place.redis.head = None
    place.go(GATHERING + 2.0)
    assert a.is_leading()
    monitor = alone(place, generation=5)
    place.go(20.0)
    assert a.is_leading()
    place.redis.head = Head(7, 0, ())
    monitor.generation = 7
    place.go(5.0)
    assert monitor.is_leading()


def test_an_emptied_redis_is_filled_by_who_has_the_newest_state(place: Place) -> None:
    a = place.seat("a", generation=7)
    alone(place, generation=6)
    place.redis.head = None
    place.go(GATHERING + 3.0)
    assert a.is_leading()
