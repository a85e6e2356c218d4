"""What came of every request, and when the gateway had an excuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

#: Why there was no answer at all; `SILENT` is never excused.
NOT_CONNECTED = "no connection"
CUT_OFF = "connection lost before the answer"
SILENT = "no answer in time"
NO_RETRY_AFTER = "no Retry-After"


class Excuse(StrEnum):
    """Why a request may fail for a while."""

    FRONT_KILLED = "the front was killed"
    OVERLOAD = "overload"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request's end. `status` 0: no answer; `cause` is empty where all is well."""

    asked: float
    ended: float
    rows: int
    status: int
    cause: str = ""
    request_id: str = ""
    branch: str = ""
    commit: str = ""
    #: `digest` of the predictions.
    predictions: int = 0


class Window:
    """A stretch of time with an excuse."""

    def __init__(self, excuse: Excuse, begin: float, end: float = math.inf) -> None:
        self.excuse = excuse
        self.begin = begin
        self.end = end

    def touches(self, outcome: Outcome) -> bool:
        return outcome.asked <= self.end and outcome.ended >= self.begin


class Ledger:
    """All outcomes and windows of a soak; `clock` is what their times are of."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.outcomes: list[Outcome] = []
        self.windows: list[Window] = []
        #: Whole requests whose callers left before any answer.
        self.hung_up = 0

    @contextmanager
    def excused(self, excuse: Excuse) -> Iterator[None]:
        window = Window(excuse, self.clock())
        self.windows.append(window)
        try:
            yield
        finally:
            window.end = self.clock()

    @property
    def unanswered(self) -> int:
        """Requests of which nobody knows whether they were answered: they may be recorded."""
        return self.hung_up + sum(outcome.cause in (CUT_OFF, SILENT) for outcome in self.outcomes)


def digest(row: int, prediction: bytes) -> int:
    """Of one prediction as JSON; those of a request's rows add up, in any order."""
    # Not hash() of a pair: its sums are the same for rows that have changed places.
    return int.from_bytes(blake2b(b"%d %s" % (row, prediction), digest_size=8).digest())
