"""A keeper that is told to end ends, even if its tidying up goes wrong."""

from __future__ import annotations

import asyncio

from gateway.supervise import keep


def test_a_keeper_whose_tidying_up_fails_still_ends_when_it_is_cancelled() -> None:
    """Else it is started again in the middle of a shutdown, which then never ends."""

    async def story() -> tuple[int, bool]:
        starts = 0
        started = asyncio.Event()

        async def run() -> None:
            nonlocal starts
            starts += 1
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                if starts == 1:
                    raise OSError("the disk is full")

        task = asyncio.create_task(
            keep("x", run, give_up=lambda _: None, died=lambda _: None, first_pause=0.001)
        )
        await started.wait()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=20)
        ended = bool(done)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return starts, ended

    assert asyncio.run(story()) == (1, True)


def test_deaths_long_apart_are_forgiven() -> None:
    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        runs = 0
        told: list[str] = []
        lives = asyncio.Event()
        real, ahead = loop.time, 0.0

        async def run() -> None:
            nonlocal runs, ahead
            runs += 1
            if runs == 8:
                lives.set()
                await asyncio.Event().wait()
            ahead += 61.0
            raise RuntimeError("now and then")

        loop.time = lambda: real() + ahead  # type: ignore[method-assign]
        task = asyncio.create_task(
            keep("x", run, give_up=told.append, died=lambda _: None, tries=3, first_pause=0.0)
        )
        living = asyncio.create_task(lives.wait())
        await asyncio.wait([task, living], return_when="FIRST_COMPLETED")
        living.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return told

    assert asyncio.run(story()) == []
