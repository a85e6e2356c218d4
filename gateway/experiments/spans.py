"""The cells of one metric laid out by look, epoch and arm, for statistics to add up.

A look is at the end of a time span. Denominators come from the cells of units themselves, and count
only where the metric has a cell too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gateway.experiments.cells import Buckets, Cell, CellKey
from gateway.experiments.contrasts import Contrast
from gateway.experiments.metrics import EXPOSURE, Metric
from gateway.names import BUCKETS
from gateway.statistics.looks import Grown
from gateway.statistics.sums import EventCounts, Floats, product

Ints = npt.NDArray[np.int64]
DAY = 86_400.0
_EMPTY = Cell()


@dataclass(frozen=True)
class Layout:
    """Cells, and where each belongs; `exposed` are of units in the same time span and arm."""

    keys: Sequence[CellKey]
    cells: Sequence[Cell]
    exposed: Sequence[Cell]
    #: By column of `epoch`: the candidate's part of the two arms' weights; of pairs, nan.
    shares: Floats
    epochs: Sequence[str]
    epoch: Ints
    #: 0 for the baseline, 1 for the candidate.
    arm: Ints

    @cached_property
    def ends(self) -> Ints:
        """Of the time spans: when there is a look."""
        return np.unique(np.array([key.end for key in self.keys], dtype=np.int64))

    @property
    def looks(self) -> int:
        return len(self.ends)

    @cached_property
    def look(self) -> Ints:
        return np.searchsorted(self.ends, [key.end for key in self.keys])

    def so_far(self, numbers: Iterable[float]) -> Floats:
        """One number a cell, added up: (looks, epochs, 2)."""
        found = np.zeros((self.looks, len(self.epochs), 2))
        np.add.at(found, (self.look, self.epoch, self.arm), np.fromiter(numbers, dtype=np.float64))
        return found.cumsum(axis=0)

    def totals(self, numbers: Iterable[float]) -> Floats:
        """One number a cell, added up over all looks: (epochs, 2)."""
        found = np.zeros((len(self.epochs), 2))
        np.add.at(found, (self.epoch, self.arm), np.fromiter(numbers, dtype=np.float64))
        return found

    def by_arm(self, numbers: Iterable[float]) -> tuple[float, float]:
        """One number a cell, added up over everything."""
        baseline, candidate = self.totals(numbers).sum(axis=0)
        return float(baseline), float(candidate)

    @cached_property
    def events(self) -> Floats:
        """Units that had the event, or an outcome, for the first time: (looks, epochs, 2)."""
        return self.so_far(cell.events for cell in self.cells)

    def event_counts(self) -> list[EventCounts]:
        totals = self.totals(cell.events for cell in self.cells)
        return [
            EventCounts(int(candidate), int(baseline), float(share))
            for (baseline, candidate), share in zip(totals, self.shares, strict=True)
        ]

    def grown(self, metric: Metric) -> list[Grown]:
        """What means are taken of, by epoch."""
        units, above, below = self.parts(metric)
        values, counts = dense(above), dense(below)
        numbers = np.array(units, dtype=np.float64)
        found = []
        for epoch in range(len(self.epochs)):
            here = np.flatnonzero(self.epoch == epoch)
            looks, place = np.unique(self.look[here], return_inverse=True)
            where = (place, self.arm[here])
            summed = []
            for part in (numbers, values, counts):
                grown = np.zeros((len(looks), 2, *part.shape[1:]))
                np.add.at(grown, where, part[here])
                summed.append(grown.cumsum(axis=0))
            found.append(Grown(looks, *summed))
        return found

    def parts(self, metric: Metric) -> tuple[list[int], list[Buckets], list[Buckets]]:
        """Of each cell: units, and the values and counts of which a mean is the quotient."""
        values = [cell.values for cell in self.cells]
        if metric.kind != "ratio":
            counts = [cell.counts for cell in self.exposed]
        elif metric.missing == "zero":
            counts = [cell.values for cell in self.exposed]
        else:
            units = [cell.units for cell in self.cells]
            return units, values, [cell.counts for cell in self.cells]
        return [cell.units for cell in self.exposed], values, counts

    def averages(self, metric: Metric) -> tuple[float, float] | None:
        """Both arms' means, averaged over the epochs that have both; None where none has."""
        units, above, below = self.parts(metric)
        n, values, counts = (
            self.totals(numbers) for numbers in (units, map(_total, above), map(_total, below))
        )
        told = (counts > 0).all(axis=1) & (n > 0).all(axis=1)
        if not told.any():
            return None
        weights = n[told].prod(axis=1) / n[told].sum(axis=1)
        means = product(weights / weights.sum(), values[told] / counts[told])
        return float(means[0]), float(means[1])

    def a_day(self, units: Iterable[int]) -> float:
        """How many come in a day, by the newest day that there is."""
        last, first = int(self.ends[-1]), min(key.start for key in self.keys)
        since = max(first, last - DAY)
        fresh = sum(n for key, n in zip(self.keys, units, strict=True) if key.end > since)
        return fresh * DAY / (last - since)


def laid_out(
    contrast: Contrast,
    shares: Mapping[str, float],
    cells: Mapping[CellKey, Cell],
    metric: str,
) -> Layout:
    """The metric's cells among these. Their order matters to nothing that is computed of them."""
    keys = [key for key in cells if key.metric == metric]
    begun: dict[str, int] = {}
    for key in keys:
        begun[key.epoch] = min(key.start, begun.get(key.epoch, key.start))
    epochs = sorted(begun, key=lambda epoch: (begun[epoch], epoch))
    place = {epoch: column for column, epoch in enumerate(epochs)}
    return Layout(
        keys=keys,
        cells=[cells[key] for key in keys],
        exposed=[cells.get(key._replace(metric=EXPOSURE), _EMPTY) for key in keys],
        shares=np.array([shares.get(epoch, np.nan) for epoch in epochs], dtype=np.float64),
        epochs=epochs,
        epoch=np.array([place[key.epoch] for key in keys], dtype=np.int64),
        arm=np.array([key.arm == contrast.candidate for key in keys], dtype=np.int64),
    )


def dense(sums: Sequence[Buckets]) -> Floats:
    """Buckets as rows of numbers: (cells, 256)."""
    found = np.zeros((len(sums), BUCKETS))
    for row, one in zip(found, sums, strict=True):
        if one:
            row[list(one)] = list(one.values())
    return found


def _total(sums: Buckets) -> float:
    return sum(sums.values())
