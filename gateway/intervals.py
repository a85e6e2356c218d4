"""How an experiment's intervals came to what they are: a point for each look, kept over restarts.

Follows the read-out that the monitor writes, and remembers it as the console draws it. The
read-out itself needs nothing of this: it is a function of the recorded sums.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import msgspec

from gateway.experiments.document import ContrastReadout, ExperimentReadout, MetricReadout
from gateway.experiments.thinning import Point, thinned
from gateway.state import write_atomically

log = logging.getLogger(__name__)

INTERVALS_FILE = "intervals.json"
#: Points of one metric of one contrast, and contrasts, that are kept.
MOST_POINTS, MOST_CONTRASTS = 200, 30
_LOOK_EVERY, _WRITE_EVERY = 2.0, 15.0

Courses = dict[str, dict[str, list[Point]]]


class Intervals:
    """The courses by contrast and metric, and the keeper of their file."""

    def __init__(
        self, state_dir: Path, look: Callable[[], Awaitable[ExperimentReadout | None]]
    ) -> None:
        """`look` gives the newest read-out, if there is one."""
        self._path = state_dir / INTERVALS_FILE
        self._look = look
        self._written: str | None = None
        self._changed = False
        self.courses: Courses = {}

    async def run(self) -> None:
        """The keeper's body; what is not written down yet is at its end."""
        self.courses = await asyncio.to_thread(self._read)
        try:
            await self._follow()
        finally:
            self._close()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        write_at = loop.time() + _WRITE_EVERY
        while True:
            if (readout := await self._look()) is not None:
                self.take(readout)
            if self._changed and loop.time() >= write_at:
                self._changed = False
                write_at = loop.time() + _WRITE_EVERY
                content = msgspec.json.encode(self.courses)
                try:
                    await asyncio.to_thread(write_atomically, self._path, content)
                except OSError as error:
                    log.warning("the course of intervals could not be written down: %s", error)
                    self._changed = True
            await asyncio.sleep(_LOOK_EVERY)

    def _close(self) -> None:
        if self._changed:
            with contextlib.suppress(OSError):  # nothing that an orderly end should fail for
                write_atomically(self._path, msgspec.json.encode(self.courses))

    def take(self, readout: ExperimentReadout) -> None:
        """Remember what this read-out adds to those before it."""
        if readout.written == self._written:
            return
        self._written = readout.written
        told = readout.contrasts[:MOST_CONTRASTS]
        self.courses = {
            one.contrast: self._course(one, readout.written)
            for one in told
            if one.current or one.contrast in self.courses
        }

    def _course(self, contrast: ContrastReadout, written: str) -> dict[str, list[Point]]:
        course = dict(self.courses.get(contrast.contrast, {}))
        for metric in contrast.metrics:
            point = _point(metric, written)
            points = course.get(metric.name, [])
            if point is None or (points and points[-1] == point):
                continue
            # Of the same look only the last word counts: outcomes may have come late.
            earlier = [one for one in points if one.at < point.at]
            course[metric.name] = thinned([*earlier, point], MOST_POINTS)
            self._changed = True
        return course

    def _read(self) -> Courses:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Courses)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s is unreadable and begun anew: %s", self._path, error)
            return {}


def _point(metric: MetricReadout, written: str) -> Point | None:
    """None where the metric says nothing that could be drawn."""
    bounds = metric.relative or metric.difference
    if bounds is None or bounds.estimate is None:
        return None
    at = datetime.fromisoformat(metric.as_of or written).timestamp()
    units = metric.baseline.units + metric.candidate.units
    unit = "difference" if metric.relative is None else "relative"
    return Point(at, bounds.estimate, bounds.low, bounds.high, metric.status, units, unit)
