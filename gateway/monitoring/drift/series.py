"""The windows of one stream of rows, one after another: which rows are in which, and when it ends.

Pure. Windows begin at multiples of their length, never overlap, and end at the first boundary at
which they hold enough rows, or as partial ones when they have become as long as they may be. All
that decides this is in the series, so that it comes out the same after any number of restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.statistics.window import Bins, Window
from gateway.timestamps import rfc3339


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What a window is closed by, fixed when it is opened; lengths in seconds."""

    length: float
    min_rows: int
    longest: float


@dataclass(slots=True)
class Part:
    """A stretch of time and what was counted of it; `sides` are compared with each other."""

    start: float
    end: float
    terms: Terms
    bins: Bins
    sides: dict[str, Window] = field(default_factory=dict)

    def side(self, name: str) -> Window:
        if name not in self.sides:
            self.sides[name] = Window(self.bins)
        return self.sides[name]

    def goes_with(self, other: Part) -> bool:
        """Can their counts be added up?"""
        return self.bins.profile.id == other.bins.profile.id and self.terms == other.terms

    def merge(self, sides: Mapping[str, Window]) -> None:
        for name, window in sides.items():
            self.side(name).merge(window)


@dataclass(frozen=True, slots=True)
class Closed:
    """A window that is over. `partial`: it has fewer rows than were asked for."""

    start: float
    end: float
    partial: bool
    sides: Mapping[str, Window]


class Series:
    """The open window and, where rows of later stretches came already, those; in order of time."""

    def __init__(self, sides: tuple[str, ...]) -> None:
        """`sides` must all have enough rows before a window ends."""
        self.sides = sides
        self.parts: list[Part] = []
        self.closed_until = -math.inf
        #: About when its newest rows were recorded.
        self.latest = -math.inf
        #: Provenance of the newest rows.
        self.commit = ""
        #: What the window before asked for, by column, and the severity it came to.
        self.ranks: dict[str, int] = {}
        self.severity = "ok"

    @property
    def rows(self) -> int:
        """Rows of the open window, of the side that has the fewest."""
        if not self.parts:
            return 0
        sides = self.parts[0].sides
        return min((sides[name].rows if name in sides else 0) for name in self.sides)

    def open_window(self) -> dict[str, Any] | None:
        """The open window's extent, for people; `ends` is where it closes if it has enough rows."""
        if not self.parts:
            return None
        part = self.parts[0]
        return {"start": rfc3339(part.start), "ends": rfc3339(part.end), "rows": self.rows}

    def part_of(self, moment: float) -> Part | None:
        """The stretch that rows of this moment belong to; of late ones, the open window."""
        for part in self.parts:
            if moment < part.end:
                return part if moment >= part.start or part is self.parts[0] else None
        return None

    def begin(self, moment: float, terms: Terms, bins: Bins) -> Part:
        """A new stretch for rows of this moment, which belong to none so far."""
        after = [part.end for part in self.parts if part.end <= moment]
        start = max(moment // terms.length * terms.length, self.closed_until, *after[-1:])
        end = (start // terms.length + 1) * terms.length
        later = [part.start for part in self.parts if part.start > moment]
        part = Part(start, min([end, *later]), terms, bins)
        self.parts.append(part)
        self.parts.sort(key=lambda one: one.start)
        return part

    def due(self, watermark: float) -> Iterator[Closed]:
        """Windows that end by `watermark`, all rows before which have been counted."""
        while self.parts and self.parts[0].end <= watermark:
            window = self.parts[0]
            if self.rows >= window.terms.min_rows:
                yield self._close(partial=False)
            elif window.end - window.start >= window.terms.longest or not self._extend(window):
                yield self._close(partial=True)

    def _close(self, *, partial: bool) -> Closed:
        window = self.parts.pop(0)
        self.closed_until = window.end
        return Closed(window.start, window.end, partial, window.sides)

    def _extend(self, window: Part) -> bool:
        """By one length, with the rows that came of it; False if those are counted otherwise."""
        end = window.end + window.terms.length
        if len(self.parts) > 1 and self.parts[1].start < end:
            if not window.goes_with(self.parts[1]):
                return False
            window.merge(self.parts.pop(1).sides)
        window.end = end
        return True

    def encode(self) -> bytes:
        parts = [
            [
                *(part.start, part.end, part.terms, part.bins.profile.id),
                {name: window.encode() for name, window in part.sides.items()},
            ]
            for part in self.parts
        ]
        times = (self.closed_until, self.latest)
        said = [self.sides, parts, times, self.commit, self.ranks, self.severity]
        return msgspec.msgpack.encode(said)

    @classmethod
    def decode(cls, data: bytes, bins_of: Callable[[str], Bins]) -> Series:
        sides, parts, times, commit, ranks, severity = msgspec.msgpack.decode(data)
        series = cls(tuple(sides))
        series.closed_until, series.latest = times
        series.commit, series.ranks, series.severity = commit, ranks, severity
        series.parts = [_part(part, bins_of) for part in parts]
        return series


def _part(state: list[Any], bins_of: Callable[[str], Bins]) -> Part:
    start, end, terms, profile, sides = state
    bins = bins_of(profile)
    windows = {name: Window.decode(bins, data) for name, data in sides.items()}
    return Part(start, end, Terms(*terms), bins, windows)
