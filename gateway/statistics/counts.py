"""The sums of one column of a window: exact counts over the reference's bins, added and merged.

Integers merge exactly, however the rows were split. Sums are of the distance from the reference's
mean, so that large numbers that differ little lose nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.statistics.reference import MOST_TEXT, ReferenceColumn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Names of categories that the reference does not know, kept of a window.
MOST_NEW = 20
#: Cells of discrete and categorical columns after those of their values.
OTHER, NEW = -2, -1
#: How many cells those are.
REST = 2
_NUMBERS = {float, int}
#: Seconds from 1970 that are a date on both sides: from the year 1 on.
_FOUR_DIGIT_YEARS = 62e9
_INVALID = object()


class Binning:
    """How values of one reference column become cells. `labels` are their names, for people."""

    def __init__(self, column: ReferenceColumn) -> None:
        self.column = column
        self.ordered = column.kind in ("numeric", "date", "discrete")
        self.edges = np.array(column.edges, dtype=np.float64)
        self.centre = column.mean if column.mean is not None else 0.0
        self._open = column.kind in ("numeric", "date")
        values = column.values
        if column.kind == "discrete":
            self._sorted = np.argsort(np.array(values, dtype=np.float64), kind="stable")
            self._values = np.array(values, dtype=np.float64)[self._sorted]
        self._places = {text: place for place, text in enumerate(values)}
        self.cells = len(column.edges) + 1 if self._open else len(values) + 2
        #: Where a value goes that is none of the reference's: unless all of them are named there,
        #: it may well have been seen.
        self.unknown = OTHER if column.other else NEW

    @property
    def reference(self) -> Ints:
        """The reference's own counts, by cell."""
        counts = self.column.counts
        return np.array(counts if self._open else (*counts, self.column.other, 0), dtype=np.int64)

    def numbers(self, values: Sequence[Any]) -> tuple[Floats, int, int]:
        """The usable numbers, then how many values are missing and how many are no number.

        Given dates, their seconds since 1970. Raises nothing: what cannot be used is counted.
        """
        if self.column.kind == "date":
            values = [_seconds(value) for value in values]
        kinds = set(map(type, values))
        if kinds <= _NUMBERS | {NoneType}:
            try:
                found = np.array(values, dtype=np.float64)
            except OverflowError:
                found = np.array([_float(value) for value in values], dtype=np.float64)
            invalid = 0
        else:
            read = [_float(value) for value in values]
            found = np.array([value for value in read if value is not _INVALID], dtype=np.float64)
            invalid = len(values) - len(found)
        missing = np.isnan(found)
        infinite = np.isinf(found)
        usable = found[~(missing | infinite)]
        return usable, int(missing.sum()), invalid + int(infinite.sum())

    def number_cells(self, numbers: Floats) -> Ints:
        """Counts by cell of usable numbers."""
        if self._open:
            places = np.searchsorted(self.edges, numbers, side="left")
            return np.bincount(places, minlength=self.cells).astype(np.int64, copy=False)
        known = len(self._values)
        places = np.searchsorted(self._values, numbers, side="left")
        places = np.minimum(places, max(known - 1, 0))
        cells = np.zeros(self.cells, dtype=np.int64)
        if not known:
            cells[self.unknown] = len(numbers)
            return cells
        hit = self._values[places] == numbers
        cells[self._sorted] = np.bincount(places[hit], minlength=known)
        cells[self.unknown] += int((~hit).sum())
        return cells

    def place(self, text: str) -> int:
        """The cell of a category."""
        return self._places.get(text, self.unknown)

    @property
    def labels(self) -> list[str]:
        if not self._open:
            return [*map(text_of, self.column.values), "(other)", "(new)"]
        named = [self._edge(edge) for edge in self.column.edges]
        if not named:
            return ["all"]
        middle = [f"{low} to {high}" for low, high in pairwise(named)]
        return [f"up to {named[0]}", *middle, f"above {named[-1]}"]

    def _edge(self, edge: float) -> str:
        if self.column.kind == "date" and abs(edge) < _FOUR_DIGIT_YEARS:
            return datetime.fromtimestamp(edge, UTC).date().isoformat()
        return f"{edge:.6g}"


class ColumnCounts:
    """What a window knows of one column; `add` and `merge` are all that changes it."""

    __slots__ = (
        *("above", "below", "binning", "cells", "highest", "invalid", "lowest", "missing"),
        *("new", "sum", "sumsq"),
    )

    def __init__(self, binning: Binning) -> None:
        self.binning = binning
        self.cells = np.zeros(binning.cells, dtype=np.int64)
        self.missing = self.invalid = self.below = self.above = 0
        #: Of the distance from the reference's mean.
        self.sum = self.sumsq = 0.0
        self.lowest, self.highest = math.inf, -math.inf
        #: The first in alphabetical order of those the reference does not know, and how often.
        self.new: dict[str, int] = {}

    @property
    def counted(self) -> int:
        """Rows with a usable value."""
        return int(self.cells.sum())

    @property
    def n(self) -> int:
        return self.counted + self.missing + self.invalid

    @property
    def mean(self) -> float | None:
        if not self.binning.ordered or not self.counted:
            return None
        return self.binning.centre + self.sum / self.counted

    @property
    def unseen(self) -> int:
        """Rows with a value that the reference does not know."""
        return 0 if self.binning.column.kind in ("numeric", "date") else int(self.cells[NEW])

    def add(self, values: Sequence[Any]) -> None:
        """Count values as JSON gives them; None is a missing one."""
        if self.binning.column.kind == "skipped":
            return
        if self.binning.ordered:
            self._add_numbers(*self.binning.numbers(values))
        else:
            self._add_categories(values)

    def _add_numbers(self, numbers: Floats, missing: int, invalid: int) -> None:
        self.missing += missing
        self.invalid += invalid
        if not len(numbers):
            return
        column = self.binning.column
        cells = self.binning.number_cells(numbers)
        self.cells += cells
        if column.kind == "discrete" and cells[NEW]:
            self._note_new(
                Counter(map(text_of, numbers[~np.isin(numbers, column.values)].tolist()))
            )
        if column.min is not None:
            self.below += int((numbers < column.min).sum())
        if column.max is not None:
            self.above += int((numbers > column.max).sum())
        with np.errstate(over="ignore", invalid="ignore"):
            distance = numbers - self.binning.centre
            self.sum += float(distance.sum())
            self.sumsq += float(distance @ distance)
        self.lowest = min(self.lowest, float(numbers.min()))
        self.highest = max(self.highest, float(numbers.max()))

    def _add_categories(self, values: Sequence[Any]) -> None:
        if set(map(type, values)) == {str}:
            found = Counter(values)
        else:
            texts = [category_of(value) for value in values]
            self.missing += texts.count(None)
            found = Counter(text for text in texts if isinstance(text, str))
            self.invalid += len(texts) - texts.count(None) - found.total()
        new: dict[str, int] = {}
        for text, count in found.items():
            text = text[:MOST_TEXT]
            place = self.binning.place(text)
            self.cells[place] += count
            if place == NEW:
                new[text] = new.get(text, 0) + count
        if new:
            self._note_new(new)

    def _note_new(self, found: Mapping[str, int]) -> None:
        for text, count in found.items():
            self.new[text] = self.new.get(text, 0) + count
        if len(self.new) > MOST_NEW:
            self.new = {text: self.new[text] for text in sorted(self.new)[:MOST_NEW]}

    def merge(self, other: ColumnCounts) -> None:
        """Add what another window of the same binning knows."""
        self.cells += other.cells
        self.missing += other.missing
        self.invalid += other.invalid
        self.below += other.below
        self.above += other.above
        self.sum += other.sum
        self.sumsq += other.sumsq
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)
        self._note_new(other.new)

    def state(self) -> list[Any]:
        """Plain values from which `restored` makes the same again."""
        numbers = (self.missing, self.invalid, self.below, self.above)
        moments = (self.sum, self.sumsq, self.lowest, self.highest)
        return [self.cells.tolist(), *numbers, *moments, self.new]

    @classmethod
    def restored(cls, binning: Binning, state: Sequence[Any]) -> ColumnCounts:
        counts = cls(binning)
        cells, *numbers, new = state
        counts.cells = np.array(cells, dtype=np.int64)
        counts.missing, counts.invalid, counts.below, counts.above = numbers[:4]
        counts.sum, counts.sumsq, counts.lowest, counts.highest = numbers[4:]
        counts.new = dict(new)
        return counts


def category_of(value: Any) -> str | object | None:
    """The text by which a value is counted as a category; None if missing, else no text at all."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, int, float)):
        return text_of(value)
    return _INVALID


def text_of(value: Any) -> str:
    """A number or boolean as JSON writes it, a text as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _float(value: Any) -> Any:
    if value is None:
        return math.nan
    if type(value) not in _NUMBERS:
        return _INVALID
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _seconds(value: Any) -> Any:
    """Seconds since 1970 of an ISO 8601 date or time; what is none stays as it is."""
    if not isinstance(value, str):
        return None if value is None or value != value else True
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return True
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
