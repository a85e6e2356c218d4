"""What a soak does and when: the same for the same seed, and everything in each."""

from __future__ import annotations

from collections import Counter

import pytest

from loadtests.soak.plan import Deed, plan


def test_a_seed_says_all_that_happens() -> None:
    assert plan(7, 600) == plan(7, 600)
    assert plan(7, 600) != plan(8, 600)


@pytest.mark.parametrize("seconds", [15, 20, 120, 600])
def test_everything_is_done_within_the_time_and_in_order(seconds: float) -> None:
    events = plan(3, seconds)
    assert {event.deed for event in events} == set(Deed)
    times = [event.at for event in events]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < seconds


def test_the_second_half_spares_what_is_measured() -> None:
    """A process that is killed every minute would never be seen to grow."""
    late = {event.deed for event in plan(3, 600) if event.at >= 300}
    assert late == set(Deed) - {Deed.KILL_FRONT, Deed.KILL_MONITOR, Deed.REWRITE}
    assert {event.sparing for event in plan(3, 600) if event.at >= 300} == {True}
    assert {event.sparing for event in plan(3, 600) if event.at < 300} == {False}


def test_ten_minutes_have_merges_kills_and_overload_again_and_again() -> None:
    deeds = Counter(event.deed for event in plan(3, 600))
    assert deeds[Deed.MERGE] >= 10
    assert deeds[Deed.BURST] >= 20
    assert deeds[Deed.KILL_WORKER] >= 20
    assert deeds[Deed.KILL_MONITOR] >= 5
    assert deeds[Deed.KILL_FRONT] == 3
