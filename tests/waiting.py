"""Waiting for a condition with a deadline: the only place in the tests that may sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Seconds for what mostly takes one, on a machine that has other things to do.
PATIENCE = 60.0


def wait_until(
    condition: Callable[[], object],
    deadline: float = PATIENCE,
    describe: Callable[[], object] | None = None,
) -> object:
    """The first truthy value of `condition`; or AssertionError after `deadline` seconds."""
    begun = time.monotonic()
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > begun + deadline:
            raise AssertionError(_late(condition, deadline, describe))
        # What is waited for needs the processor, too: to ask may be as dear as git or a request.
        time.sleep(max(0.02, min(0.1, (now - begun) / 20), min(0.5, 2 * (now - asked))))


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
