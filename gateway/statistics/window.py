"""All that is added up of the rows of one span: a window, or a chunk's part of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from gateway.statistics.counts import Binning, ColumnCounts
from gateway.statistics.distinct import Distinct
from gateway.statistics.reference import Profile


class Bins:
    """The binnings of one profile, by column name; shared by all windows that count by it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.columns = {column.name: Binning(column) for column in profile.columns}


class Window:
    """Additive: the windows of the parts of some rows, merged, are the window of all of them."""

    __slots__ = ("bins", "columns", "rows", "units", "writers")

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.rows = 0
        self.units = Distinct()
        #: Who recorded the rows: the runs of fronts.
        self.writers: frozenset[str] = frozenset()
        self.columns = {name: ColumnCounts(one) for name, one in bins.columns.items()}

    def add(
        self, rows: int, columns: Mapping[str, Sequence[Any]], units: Iterable[int], writer: str
    ) -> None:
        """Count `rows` rows. `columns` holds a value of each row, None if it is missing.

        A column that is not in it at all is not counted: nothing is known of it in these rows.
        """
        self.rows += rows
        self.units.add(units)
        self.writers |= {writer}
        # Numbers whose sums are beyond all floats have no mean then, and are counted all the same.
        with np.errstate(over="ignore", invalid="ignore"):
            for name, counts in self.columns.items():
                if name in columns:
                    counts.add(columns[name])

    def merge(self, other: Window) -> None:
        self.rows += other.rows
        self.units.merge(other.units)
        self.writers |= other.writers
        for name, counts in self.columns.items():
            counts.merge(other.columns[name])

    @property
    def independence(self) -> float:
        """Different units a row, at most 1: rows of one unit are no news of each other."""
        return min(1.0, self.units.count / self.rows) if self.rows else 1.0

    def encode(self) -> bytes:
        columns = {name: counts.state() for name, counts in self.columns.items()}
        return msgspec.msgpack.encode(
            [self.rows, self.units.state(), sorted(self.writers), columns]
        )

    @classmethod
    def decode(cls, bins: Bins, data: bytes) -> Window:
        window = cls(bins)
        rows, units, writers, columns = msgspec.msgpack.decode(data)
        window.rows = rows
        window.units = Distinct.restored(units)
        window.writers = frozenset(writers)
        window.columns = {
            name: ColumnCounts.restored(bins.columns[name], state)
            for name, state in columns.items()
        }
        return window
