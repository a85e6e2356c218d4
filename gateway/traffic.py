"""The last minutes of traffic, second by second: what the console draws.

Samples the gateway's own metrics, so nothing is added to a request's way. Memory is bounded: so
many seconds, of so many branches; what is older is Prometheus' to know.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import inf
from typing import Any, Self

from gateway.metrics import SECONDS, BranchMetrics, Metrics

#: Seconds that are kept, and those that a percentile of latency is taken over.
KEPT, SMOOTHED = 900, 10
#: Those that "now" is the mean of.
RECENT = 60
#: Branches that are kept, the busiest first where there are more.
MOST_BRANCHES = 100
#: Branches with a line of their own in a history.
MOST_LINES = 8
BOUNDS = (*SECONDS, inf)
_FIGURES = ("requests", "errors", "fallbacks", "p50", "p99")


@dataclass(slots=True)
class Totals:
    """What a branch's counters say at one moment."""

    requests: float = 0.0
    errors: float = 0.0
    fallbacks: float = 0.0
    #: Requests up to each of the histogram's bounds.
    buckets: tuple[float, ...] = ()

    def __add__(self, other: Totals) -> Totals:
        buckets = other.buckets or (0.0,) * len(self.buckets)
        mine = self.buckets or (0.0,) * len(buckets)
        return Totals(
            self.requests + other.requests,
            self.errors + other.errors,
            self.fallbacks + other.fallbacks,
            tuple(a + b for a, b in zip(mine, buckets, strict=True)),
        )

    def since(self, before: Totals) -> Totals:
        """What came since then; all of it where the counters began anew."""
        if before.requests > self.requests or len(before.buckets) != len(self.buckets):
            return self
        return Totals(
            self.requests - before.requests,
            max(0.0, self.errors - before.errors),
            max(0.0, self.fallbacks - before.fallbacks),
            tuple(max(0.0, a - b) for a, b in zip(self.buckets, before.buckets, strict=True)),
        )


@dataclass(slots=True)
class Line:
    """One branch's seconds, the newest last."""

    totals: deque[Totals] = field(default_factory=lambda: deque(maxlen=RECENT + 1))
    figures: dict[str, array[float]] = field(
        default_factory=lambda: {name: array("f", [0.0] * KEPT) for name in _FIGURES}
    )

    @classmethod
    def beginning(cls, totals: Totals) -> Self:
        """The first look at counters says nothing of when they were counted."""
        line = cls()
        line.totals.append(totals)
        return line

    def add(self, totals: Totals) -> None:
        last = totals.since(self.totals[-1])
        self.totals.append(totals)
        smoothed = totals.since(self.totals[-min(len(self.totals), SMOOTHED + 1)])
        seconds = {
            "requests": last.requests,
            "errors": last.errors,
            "fallbacks": last.fallbacks,
            "p50": quantile(smoothed.buckets, BOUNDS, 0.5) or 0.0,
            "p99": quantile(smoothed.buckets, BOUNDS, 0.99) or 0.0,
        }
        for name, value in seconds.items():
            figure = self.figures[name]
            del figure[0]
            figure.append(value)

    def recent(self) -> tuple[Totals, int]:
        """What came in the last minute, or since it began, and how many seconds that is."""
        return self.totals[-1].since(self.totals[0]), max(1, len(self.totals) - 1)


class Traffic:
    """The keeper of all branches' lines."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lines: dict[str, Line] = {}
        #: When the newest second ended; Unix time, 0 before there is one.
        self.newest = 0.0
        self._seconds = 0

    async def run(self) -> None:
        """The keeper's body."""
        loop = asyncio.get_running_loop()
        following = loop.time()
        while True:
            self.sample(self._read(), time.time())
            following = max(following + 1, loop.time())
            await asyncio.sleep(following - loop.time())

    def sample(self, found: Mapping[str, Totals], now: float) -> None:
        """Take what the counters say, a second after the last time."""
        for name in self._lines.keys() - found.keys():
            del self._lines[name]
        for name, totals in found.items():
            if (line := self._lines.get(name)) is not None:
                line.add(totals)
            elif len(self._lines) < MOST_BRANCHES:
                self._lines[name] = Line.beginning(totals)
        self.newest = now
        self._seconds = min(KEPT, self._seconds + 1)

    def _read(self) -> dict[str, Totals]:
        return {name: _totals(one) for name, one in self._metrics.shown().items()}

    # What is shown of it

    def now(self) -> dict[str, dict[str, Any]]:
        """Each branch's last minute; of all together under the empty name."""
        recent = {name: line.recent() for name, line in self._lines.items()}
        total = sum((one for one, _ in recent.values()), Totals())
        seconds = max((seconds for _, seconds in recent.values()), default=1)
        found = {name: self._figures(*one) for name, one in recent.items()}
        for name, one in found.items():
            one["traffic"] = recent[name][0].requests / total.requests if total.requests else None
        found[""] = self._figures(total, seconds)
        return found

    def _figures(self, one: Totals, seconds: int) -> dict[str, Any]:
        requests = one.requests
        return {
            "per_second": round(requests / seconds, 3),
            "requests": int(requests),
            "errors": int(one.errors),
            "error_ratio": one.errors / requests if requests else None,
            "fallback_ratio": one.fallbacks / requests if requests else None,
            "p50": quantile(one.buckets, BOUNDS, 0.5),
            "p99": quantile(one.buckets, BOUNDS, 0.99),
        }

    def second(self) -> dict[str, list[float]]:
        """The newest second of each of the busiest branches, in the order of `history`."""
        return {
            name: [_short(line.figures[figure][-1]) for figure in _FIGURES]
            for name, line in self._busiest()
        }

    def history(self, step: int = 3) -> dict[str, Any]:
        """All that is kept of the busiest branches, `step` seconds to a point."""
        kept = self._seconds - self._seconds % step
        ends = [round(self.newest - kept + at + step, 1) for at in range(0, kept, step)]
        lines = {}
        for name, line in self._busiest():
            figures = {figure: line.figures[figure][KEPT - kept :] for figure in _FIGURES}
            lines[name] = {
                figure: [_short(_mean(part) if i < 3 else max(part)) for part in _parts(row, step)]
                for i, (figure, row) in enumerate(figures.items())
            }
        return {
            "step": step,
            "at": ends,
            "branches": lines,
            "left_out": max(0, len(self._lines) - MOST_LINES),
        }

    def _busiest(self) -> list[tuple[str, Line]]:
        """By name, so that a line keeps its place; those with most requests where it is many."""
        if len(self._lines) <= MOST_LINES:
            return sorted(self._lines.items())
        ranked = sorted(self._lines.items(), key=lambda one: -one[1].totals[-1].requests)
        return sorted(ranked[:MOST_LINES])


def _totals(one: BranchMetrics) -> Totals:
    requests = one.requests_so_far()
    fallbacks = sum(value for status, value in requests.items() if status.startswith("fallback_"))
    total = sum(requests.values())
    errors = total - requests["ok"] - fallbacks
    return Totals(total, errors, fallbacks, tuple(accumulate(one.durations_so_far())))


def quantile(buckets: Sequence[float], bounds: Sequence[float], part: float) -> float | None:
    """The value below which that part lies, by a straight line within its bucket.

    `buckets` are counts up to each bound, as Prometheus has them. None where there is nothing; what
    lies beyond the last finite bound is said to be there.
    """
    if not buckets or buckets[-1] <= 0:
        return None
    wanted = buckets[-1] * part
    below, start = 0.0, 0.0
    for count, bound in zip(buckets, bounds, strict=True):
        if count >= wanted:
            if bound == inf:
                return start
            inside = count - below
            return start + (bound - start) * ((wanted - below) / inside if inside else 1.0)
        below, start = count, bound
    return start


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _parts(row: array[float], step: int) -> Iterator[array[float]]:
    for start, end in pairwise(range(0, len(row) + 1, step)):
        yield row[start:end]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
