"""However many requests a branch gives up at once, other branches' answers come in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waiting import wait_until_async
from workers.fleets import World, running, serving_code, sin
from workers.test_pace import pace_of

from gateway.workers.jobs import Job
from gateway.workers.queue import AT_ONCE

MANY = 300


class Turns:
    """Counts the turns of the loop; its jobs tell in which they were told, and what."""

    def __init__(self) -> None:
        self.now = 0
        self.told: Counter[int] = Counter()
        self.words: Counter[str] = Counter()

    def turn(self) -> None:
        self.now += 1
        self._next = asyncio.get_running_loop().call_soon(self.turn)

    def stop(self) -> None:
        self._next.cancel()

    def job(self, timeout: float) -> Job:
        payload = b"[[0]]"
        return Job(payload, 1, asyncio.get_running_loop().time() + timeout, None, Told(self))


class Told:
    """Where one job's end is told."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, answer: Any) -> None:
        self._end("Answer")

    def set_exception(self, error: Exception) -> None:
        self._end(type(error).__name__)

    def _end(self, word: str) -> None:
        assert not self._done
        self._done = True
        self._turns.told[self._turns.now] += 1
        self._turns.words[word] += 1


@contextmanager
def turns() -> Iterator[Turns]:
    found = Turns()
    found.turn()
    try:
        yield found
    finally:
        found.stop()


async def held(world: World) -> Path:
    """The only worker is busy until the gate appears."""
    await world.settled(serving_code(world.folder, sin("sleeps")))
    gate = world.folder / "gate"
    world.submit([[str(gate)]])
    await wait_until_async(gate.with_suffix(".begun").exists)
    return gate


def test_a_full_queue_that_is_late_at_once_is_told_in_many_turns(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            gate = await held(world)
            with turns() as counted:
                jobs = [counted.job(0.05) for _ in range(MANY)]
                for job in jobs:
                    world.slot().submit(job)
                await wait_until_async(lambda: all(job.future.done() for job in jobs))
                assert counted.words == {"NeverTaken": MANY}
                assert max(counted.told.values()) == AT_ONCE
            assert world.slot().queue_rows == 0
            gate.touch()

    asyncio.run(story())


def test_what_is_shed_is_told_in_many_turns_and_the_last_is_answered(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            gate = await held(world)
            world.slot()._queue.pace = pace_of(*[1e6] * 50)
            with turns() as counted:
                jobs = [counted.job(100.0) for _ in range(MANY)]
                for job in jobs:
                    world.slot().submit(job)
                gate.touch()
                await wait_until_async(lambda: all(job.future.done() for job in jobs))
                assert counted.words == {"Overloaded": MANY - 1, "Answer": 1}
                assert max(counted.told.values()) == AT_ONCE

    asyncio.run(story())


def test_who_waits_for_a_branch_that_is_left_out_is_told_in_many_turns(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            gate = await held(world)
            with turns() as counted:
                jobs = [counted.job(100.0) for _ in range(MANY)]
                for number, job in enumerate(jobs):
                    world.slot().submit(job, patient=number % 3 == 0)
                world.slot().leave_out("ejected")
                patient = [job for job in jobs if job.patient]
                others = [job for job in jobs if not job.patient]
                await wait_until_async(lambda: all(job.future.done() for job in others))
                assert counted.words == {"NotReady": len(others)}
                assert max(counted.told.values()) == AT_ONCE
                assert world.slot().queue_rows == len(patient)
                gate.touch()
                await wait_until_async(lambda: all(job.future.done() for job in patient))
                assert counted.words["Answer"] == len(patient)

    asyncio.run(story())
