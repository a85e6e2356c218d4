"""What was asked for in vain: when it is asked again, and when that has gone on for too long."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

#: Seconds that rows wait for a reference which cannot be fetched now.
PATIENCE = 600.0
#: Seconds between two tries at least, and how many times what a try took: publishing waits for it.
_PAUSE, _PAUSES = 5.0, 4.0


class NotYet(Exception):
    """The reference cannot be asked for at the moment: rows wait for it."""


class Tries:
    """When what cannot be fetched is asked for again, and when that has gone on for too long.

    By stream; for the life of the process, whatever is dropped in between.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: dict[str, float] = {}
        #: When it may be asked again, and what was said the last time.
        self._next: dict[str, tuple[float, str]] = {}

    def begun(self) -> float:
        return self._clock()

    def refusal(self, stream: str) -> str | None:
        """What was said, if that is not long ago."""
        after, said = self._next.get(stream, (-inf, ""))
        return said if self._clock() < after else None

    def failed(self, stream: str, begun: float, said: str) -> bool:
        """Asking, `begun` then, failed: has it gone on for too long?"""
        now = self._clock()
        self._next[stream] = (now + max(_PAUSE, _PAUSES * (now - begun)), said)
        return now - self._first.setdefault(stream, begun) >= PATIENCE

    def succeeded(self, stream: str) -> None:
        self._first.pop(stream, None)
        self._next.pop(stream, None)
