"""The sums of an experiment, piece by piece: what monitoring/results/ holds a row of each.

A cell is one arm of a contrast in one epoch and time span, and one metric. Cells of one key add.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.experiments.metrics import EXPOSURE
from gateway.names import BUCKETS

Buckets = dict[int, float]


class CellKey(NamedTuple):
    """`start` and `end` are when the units were exposed, Unix time in whole seconds."""

    contrast: str
    start: int
    end: int
    epoch: str
    arm: str
    metric: str


@dataclass(slots=True)
class Cell:
    """Sums. By the metric they are:

    `exposure`: `units` first seen in this epoch, by bucket in `counts`; `events` those of them that
    neither arm of the contrast had seen before; `values` their answered rows, by bucket.
    binary: units with the event for the first time in this epoch (`units`, by bucket in `values`),
    and in this contrast (`events`). mean, ratio: `values` and, of a ratio, `counts` of rows;
    `units` with an outcome for the first time in this epoch, and `events` in this contrast.
    `paired:` and a metric's name: over labelled rows (`counts`), the sum of the shadow's value
    less the baseline's (`values`); `events` are rows on which they differ.
    `tallies` are counts of another kind by name, such as requests without a unit.
    """

    units: int = 0
    events: int = 0
    values: Buckets = field(default_factory=dict)
    counts: Buckets = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)

    def add(self, other: Cell) -> None:
        self.units += other.units
        self.events += other.events
        for mine, more in (
            (self.values, other.values),
            (self.counts, other.counts),
        ):
            for bucket, value in more.items():
                mine[bucket] = mine.get(bucket, 0.0) + value
        for name, count in other.tallies.items():
            self.tallies[name] = self.tallies.get(name, 0) + count

    def put(self, bucket: int, value: float = 0.0, count: float = 0.0) -> None:
        """Add to a bucket."""
        assert 0 <= bucket < BUCKETS
        if value:
            self.values[bucket] = self.values.get(bucket, 0.0) + value
        if count:
            self.counts[bucket] = self.counts.get(bucket, 0.0) + count

    def tally(self, name: str, count: int = 1) -> None:
        self.tallies[name] = self.tallies.get(name, 0) + count

    def is_empty(self) -> bool:
        return not (self.units or self.events or self.values or self.counts or self.tallies)


def thinned(key: CellKey, cell: Cell, kept: int) -> Cell:
    """The cell without all buckets but the first `kept`; events were counted, and stay so."""
    values, counts = (
        {bucket: one for bucket, one in sums.items() if bucket < kept}
        for sums in (cell.values, cell.counts)
    )
    units = int(sum(counts.values())) if key.metric == EXPOSURE else cell.units
    return Cell(units, cell.events, values, counts, dict(cell.tallies))
