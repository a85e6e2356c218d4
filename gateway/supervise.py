"""Keepers: background tasks that are restarted when they die and never die quietly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

#: Seconds a keeper must have run for its earlier deaths to be forgotten.
FORGIVEN_AFTER = 60.0
LONGEST_PAUSE = 30.0


async def keep(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    give_up: Callable[[str], None],
    died: Callable[[str], None],
    tries: int | None = 5,
    first_pause: float = 0.2,
) -> None:
    """Run `run` for ever: restart it with backoff, and call `give_up(name)` after `tries` deaths.

    `tries` None never gives up: for what serving can do without. A keeper that returns has died
    too: its work has no end. Cancelling ends it in order.
    """
    loop = asyncio.get_running_loop()
    deaths = 0
    while True:
        started = loop.time()
        try:
            await run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("keeper %s died", name, extra={"keeper": name})
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return  # it was told to end, and failed at that
        else:
            log.error("keeper %s ended, which it never should", name, extra={"keeper": name})
        died(name)
        deaths = deaths + 1 if loop.time() - started < FORGIVEN_AFTER else 1
        if tries is not None and deaths >= tries:
            log.critical("keeper %s could not be kept: shutting down", name)
            give_up(name)
            return
        await asyncio.sleep(min(first_pause * 2 ** (deaths - 1), LONGEST_PAUSE))


class Keepers:
    """The keepers of a process, by name; started one by one and ended in the reverse order."""

    def __init__(self, *, give_up: Callable[[str], None], died: Callable[[str], None]) -> None:
        self._give_up = give_up
        self._died = died
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, run: Callable[[], Awaitable[None]], tries: int | None = 5) -> None:
        body = keep(name, run, give_up=self._give_up, died=self._died, tries=tries)
        self._tasks[name] = asyncio.create_task(body, name=name)

    async def end(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
