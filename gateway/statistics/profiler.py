"""From values to the columns of a reference profile; formulas: STATISTICS §1.6.

In one step where all values are at hand (`reference_columns`), else in two passes over rows that
stream by: a `Sample` of them decides how each column is counted (`planned`), and a `Census` counts
every row by that, with the code that counts windows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import NoneType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.statistics.counts import NEW, Binning, ColumnCounts, category_of
from gateway.statistics.reference import (
    MOST_CATEGORIES,
    MOST_TEXT,
    Kind,
    Number,
    ReferenceColumn,
)

#: A number column with no more different values than this is counted value by value.
MOST_DISCRETE = 20
#: Rows of a sample, and the values in it whatever the number of columns: some 100 bytes each.
MOST_ROWS = 100_000
MOST_VALUES = 4_000_000

_LEAST_ROWS = 1_000
_BINS = 20
#: Share of a column's values that may be of another kind than the rest.
_STRAY = 0.01
_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
_SEED = 20
#: Integers beyond it have no float of their own.
_EXACT = 2**53
_SCALARS = {NoneType, bool, int, float, str}
_NESTED: list[Any] = []

Floats = npt.NDArray[np.float64]


def reference_columns(
    columns: Mapping[str, Sequence[Any]],
    *,
    categorical: Collection[str] = (),
    live: bool = False,
) -> tuple[ReferenceColumn, ...]:
    """The distribution of each column of JSON-like values; None and NaN are missing.

    `categorical` names those whose values are categories, whatever they look like.
    """
    census = Census(planned(columns, categorical=categorical))
    census.add(columns)
    return tuple(msgspec.structs.replace(found, live=live) for found in census.columns())


class Sample:
    """A uniform sample of the rows that stream by; all of them, in order, if they are few.

    The same rows give the same sample, in whatever portions they come. For each portion ask
    `places` which of its rows are wanted, and `put` those.
    """

    def __init__(self, most: int, *, whole: bool = False) -> None:
        self.rows = 0
        self.columns: dict[str, list[Any]] = {}
        self._most = most
        self._whole = whole
        self._random = np.random.default_rng(_SEED)
        self._numbers: list[int] = []

    @classmethod
    def wide(cls, columns: int) -> Sample:
        """As large as memory may bear with that many columns; long texts are cut."""
        return cls(max(_LEAST_ROWS, min(MOST_ROWS, MOST_VALUES // max(1, columns))))

    @property
    def complete(self) -> bool:
        """Whether every row is in it."""
        return self.rows <= self._most

    def places(self, rows: int) -> tuple[list[int], list[int]]:
        """Which of the next `rows` rows are wanted, and where each goes.

        Vitter's algorithm R: row i takes a random one of i + 1 places, if there is that one.
        """
        numbers = np.arange(self.rows, self.rows + rows)
        places = (self._random.random(rows) * (numbers + 1)).astype(np.int64)
        places = np.where(numbers < self._most, numbers, places)
        self.rows += rows
        wanted = np.flatnonzero(places < self._most)
        for number, place in zip(numbers[wanted].tolist(), places[wanted].tolist(), strict=True):
            _set(self._numbers, place, number)
        return wanted.tolist(), places[wanted].tolist()

    def put(self, places: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> None:
        """The values of the wanted rows alone."""
        for name, values in columns.items():
            kept = self.columns.setdefault(name, [])
            small = values if self._whole else [*map(_small, values)]
            for place, value in zip(places, small, strict=True):
                _set(kept, place, value)

    def in_order(self) -> list[int]:
        """Places of the sampled rows, in the order in which the rows came."""
        return sorted(range(len(self._numbers)), key=self._numbers.__getitem__)


def _set(kept: list[Any], place: int, value: Any) -> None:
    if place == len(kept):
        kept.append(value)
    else:
        kept[place] = value


def _small(value: Any) -> Any:
    """What counts like the value itself, and takes little memory."""
    if isinstance(value, str):
        return value[:MOST_TEXT]
    return value if type(value) in _SCALARS else _NESTED


class Census:
    """Counts of every row by planned columns."""

    def __init__(self, plan: Sequence[ReferenceColumn]) -> None:
        self.rows = 0
        self._plan = tuple(plan)
        self._counts = {column.name: ColumnCounts(Binning(column)) for column in plan}

    def add(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """A value of each row, for every planned column."""
        self.rows += len(next(iter(columns.values()), ()))
        with np.errstate(over="ignore", invalid="ignore"):
            for name, counts in self._counts.items():
                counts.add(columns[name])

    def columns(self) -> tuple[ReferenceColumn, ...]:
        """What has been counted, in the plan's order."""
        return tuple(_counted(column, self._counts[column.name]) for column in self._plan)


def planned(
    columns: Mapping[str, Sequence[Any]], *, categorical: Collection[str] = ()
) -> tuple[ReferenceColumn, ...]:
    """How each column is to be counted, by a sample of its values; counts are left out."""
    return tuple(
        _plan(name, values, category=name in categorical) for name, values in columns.items()
    )


_NUMBERS = Binning(ReferenceColumn("", "numeric"))
_DATES = Binning(ReferenceColumn("", "date"))


def _plan(name: str, values: Sequence[Any], *, category: bool) -> ReferenceColumn:
    kinds = Counter(map(type, values))
    numbers, missing, _ = _NUMBERS.numbers(values)
    present = len(values) - missing
    nested = sum(count for kind, count in kinds.items() if kind not in _SCALARS)
    scalars = present - nested
    texts = kinds[str] + kinds[bool]
    if present and nested > present / 2:
        return ReferenceColumn(name, "skipped", reason="nested")
    if not category and scalars > texts and texts <= _STRAY * scalars:
        return _of_numbers(name, numbers)
    if not category and kinds[str] and (seconds := _dates(values, scalars)) is not None:
        return _of_ordered(name, "date", seconds)
    return _of_categories(name, values)


def _dates(values: Sequence[Any], scalars: int) -> Floats | None:
    """Seconds since 1970, if dates and times are what the values are, but for a few."""
    found = _DATES.numbers(values)[0]
    return found if len(found) and len(found) >= (1 - _STRAY) * scalars else None


def _of_categories(name: str, values: Sequence[Any]) -> ReferenceColumn:
    texts = (category_of(value) for value in values)
    seen = Counter(text[:MOST_TEXT] for text in texts if isinstance(text, str))
    if not seen:
        return ReferenceColumn(name, "skipped", reason="empty")
    most = sorted(seen, key=lambda text: (-seen[text], text))[:MOST_CATEGORIES]
    return ReferenceColumn(name, "categorical", values=tuple(most))


def _of_numbers(name: str, numbers: Floats) -> ReferenceColumn:
    if not len(numbers):
        return ReferenceColumn(name, "skipped", reason="empty")
    different = np.unique(numbers)
    if len(different) > MOST_DISCRETE:
        return _of_ordered(name, "numeric", numbers)
    return ReferenceColumn(
        name,
        "discrete",
        values=tuple(map(_plain, different.tolist())),
        mean=_mean(numbers),
        quantiles=_quantiles(numbers),
    )


def _of_ordered(name: str, kind: Kind, numbers: Floats) -> ReferenceColumn:
    shares = [k / _BINS for k in range(1, _BINS)]
    edges = np.unique(np.quantile(numbers, shares, method="inverted_cdf"))
    return ReferenceColumn(
        name,
        kind,
        edges=tuple(map(_plain, edges.tolist())),
        mean=_mean(numbers),
        quantiles=_quantiles(numbers),
    )


def _quantiles(numbers: Floats) -> dict[str, Number]:
    found = np.quantile(numbers, _QUANTILES, method="inverted_cdf")
    return dict(zip(map(str, _QUANTILES), map(_plain, found.tolist()), strict=True))


def _mean(numbers: Floats) -> float:
    """Also where the sum would be beyond the range of numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(numbers.mean())
        return mean if math.isfinite(mean) else float((numbers / len(numbers)).sum())


def _counted(plan: ReferenceColumn, counts: ColumnCounts) -> ReferenceColumn:
    """The planned column with what was counted of it."""
    if plan.kind == "skipped":
        return plan
    column = msgspec.structs.replace(plan, missing=counts.missing, invalid=counts.invalid)
    if plan.kind in ("numeric", "date"):
        column = msgspec.structs.replace(column, counts=tuple(counts.cells.tolist()))
    else:
        column = _named(column, counts)
    if not counts.binning.ordered or not counts.counted:
        return column
    mean, sd = _moments(counts)
    return msgspec.structs.replace(
        column, mean=mean, sd=sd, min=_plain(counts.lowest), max=_plain(counts.highest)
    )


def _moments(counts: ColumnCounts) -> tuple[float | None, float | None]:
    """None for what lies beyond the range of numbers."""
    n = counts.counted
    mean, shift = counts.mean, counts.sum / n
    variance = counts.sumsq / n - shift * shift
    sd = math.sqrt(max(0.0, variance)) if math.isfinite(variance) else None
    return mean if mean is not None and math.isfinite(mean) else None, sd


def _named(column: ReferenceColumn, counts: ColumnCounts) -> ReferenceColumn:
    """With a count for each value, also for the few that the plan's sample had not seen."""
    found: dict[Any, int] = dict(zip(column.values, counts.cells[:-2].tolist(), strict=True))
    other = int(counts.cells[NEW])
    categories = column.kind == "categorical"
    most = MOST_CATEGORIES if categories else MOST_DISCRETE
    all_named = sum(counts.new.values()) == other
    if all_named and len(found) + len(counts.new) <= most:
        other = 0
        for text, count in counts.new.items():
            found[text if categories else _plain(float(text))] = count
    order = sorted(found, key=lambda value: (-found[value], value) if categories else value)
    tallies = tuple(found[value] for value in order)
    return msgspec.structs.replace(column, values=tuple(order), counts=tallies, other=other)


def _plain(number: float) -> Number:
    """A whole number as JSON would have it."""
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number
