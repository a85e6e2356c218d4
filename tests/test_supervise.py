"""A keeper that dies is restarted; one that cannot be kept ends the process, in order."""

from __future__ import annotations

import asyncio

from gateway.supervise import keep


def test_a_dead_keeper_is_restarted_and_then_given_up() -> None:
    runs: list[int] = []
    given_up: list[str] = []
    died: list[str] = []

    async def run() -> None:
        runs.append(1)
        if len(runs) % 2:
            raise RuntimeError("broken")

    asyncio.run(
        keep("x", run, give_up=given_up.append, died=died.append, tries=4, first_pause=0.001)
    )
    assert (len(runs), died, given_up) == (4, ["x"] * 4, ["x"])


def test_cancelling_a_keeper_is_not_a_death() -> None:
    async def story() -> list[str]:
        died: list[str] = []
        started = asyncio.Event()

        async def run() -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(keep("x", run, give_up=died.append, died=died.append))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return died

    assert asyncio.run(story()) == []
