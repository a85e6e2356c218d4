"""Waiting for a condition with a deadline: the only place in the tests that may sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Seconds for what takes a few of them where nothing else runs: many tests run at once.
PATIENCE = 60.0


def wait_until(
    condition: Callable[[], object],
    deadline: float = PATIENCE,
    describe: Callable[[], object] | None = None,
) -> object:
    """The first truthy value of `condition`; or AssertionError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(_late(condition, deadline, describe))
        time.sleep(0.02)


async def wait_until_async(
    condition: Callable[[], object],
    deadline: float = PATIENCE,
    describe: Callable[[], object] | None = None,
) -> object:
    """`wait_until` for code that shares its event loop with what it waits for."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(_late(condition, deadline, describe))
        await asyncio.sleep(0.01)


def _late(
    condition: Callable[[], object], deadline: float, describe: Callable[[], object] | None
) -> str:
    seen = f"; seen: {describe()}" if describe else ""
    return f"not true within {deadline} s: {condition}{seen}"
