"""What cannot be in time any more makes way for what can."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_until_async
from workers.fleets import running, serving_code, sin

from gateway.errors import Overloaded
from gateway.workers.pace import Pace

SECONDS = st.floats(0, 1e4)


def pace_of(*frames: float) -> Pace:
    pace = Pace()
    for seconds in frames:
        pace.took(seconds)
    return pace


def test_before_any_frame_nothing_is_thought_too_late() -> None:
    assert pace_of().need == 0


@given(st.lists(SECONDS, min_size=1))
def test_the_need_is_never_beyond_what_was_seen(frames: list[float]) -> None:
    assert 0 <= pace_of(*frames).need <= 1.5 * max(frames) * (1 + 1e-9)


@given(st.floats(1e-4, 100))
def test_a_steady_branch_is_known_within_twenty_frames(seconds: float) -> None:
    assert pace_of(*[seconds] * 20).need == pytest.approx(1.5 * seconds, rel=0.02)


def test_one_slow_frame_is_forgotten_in_a_few_fast_ones() -> None:
    assert pace_of(10.0).need == pytest.approx(3.0)
    assert pace_of(10.0, *[0.001] * 10).need < 0.01


def test_what_would_miss_its_deadline_is_refused_for_what_would_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            slot = world.slot()
            gate, hopeless = tmp_path / "gate", tmp_path / "hopeless"
            first = world.submit([[str(gate)]])
            await wait_until_async(gate.with_suffix(".begun").exists)
            slot._queue.pace = pace_of(*[100.0] * 20)
            shed = world.submit([[str(hopeless)]], timeout=30.0)
            kept = world.submit([[0]], timeout=1000.0)
            gate.touch()
            with pytest.raises(Overloaded, match="its turn comes too late for its deadline"):
                await shed
            await asyncio.gather(first, kept)
            assert not hopeless.with_suffix(".begun").exists()
            assert slot.queue_rows == 0

    asyncio.run(story())


def test_the_last_in_the_queue_is_tried_however_little_time_it_has(tmp_path: Path) -> None:
    """Else a branch that was slow once would never be seen to be fast again."""

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            slot = world.slot()
            slot._queue.pace = pace_of(*[1e6] * 50)
            assert await world.ask([[0]]) == [0]
            assert slot._queue.pace.need < 1e6
            shed, tried = world.submit([[0]]), world.submit([[0]])
            results = await asyncio.gather(shed, tried, return_exceptions=True)
            assert [type(result).__name__ for result in results] == ["Overloaded", "Answer"]

    asyncio.run(story())
