"""Profiles and windows of plain columns, for tests of what is said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile, ReferenceColumn
from gateway.statistics.verdict import ColumnDrift
from gateway.statistics.window import Bins, Window

Columns = Mapping[str, Sequence[Any]]


def profile_of(columns: Columns, **source: str) -> Profile:
    """A reference made of these rows as `gateway profile` would."""
    rows = len(next(iter(columns.values())))
    return Profile(rows, reference_columns(columns), source=dict(source)).identified()


def bins_of(*columns: ReferenceColumn) -> Bins:
    return Bins(Profile(max(column.rows for column in columns), columns).identified())


def window_of(bins: Bins, columns: Columns, units: Iterable[int] | None = None) -> Window:
    """One window of these rows, each of another unit unless `units` are given."""
    window = Window(bins)
    rows = len(next(iter(columns.values())))
    seen = np.random.default_rng(0).integers(2**64, size=rows, dtype=np.uint64).tolist()
    window.add(rows, columns, seen if units is None else units, "front")
    return window


def judged(
    profile: Profile,
    columns: Columns,
    rules: Rules | None = None,
    units: Iterable[int] | None = None,
) -> dict[str, ColumnDrift]:
    """What is said of these rows beside the profile, by column."""
    found = of_reference(window_of(Bins(profile), columns, units), rules or Rules())
    return {drift.column: drift for drift in found}


def numbers(values: Any) -> list[Any]:
    """Plain values as JSON gives them."""
    plain: list[Any] = np.asarray(values).tolist()
    return plain


def categorical(**counts: int) -> ReferenceColumn:
    """A reference's column `x` with these categories."""
    return ReferenceColumn("x", "categorical", values=tuple(counts), counts=tuple(counts.values()))
