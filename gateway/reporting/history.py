"""A branch's published drift rows, drift.csv: each column over the windows."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.reporting.document import UnreadableAnswer

#: The newest windows of a column that are shown.
MOST_WINDOWS = 200
_NEEDED = {"window_start", "window_end", "column", "psi", "severity", "reference_id"}


@dataclass(frozen=True, slots=True)
class Point:
    """One window of one column."""

    start: datetime
    end: datetime
    commit: str
    severity: str
    reason: str
    psi: float | None
    psi_null: float | None
    tolerance: float | None


History = Mapping[str, list[Point]]


def parse_history(text: str, columns: Collection[str]) -> History:
    """The windows of these columns, by time; none of an empty text.

    Comparisons with other branches, which stand there as well, are no windows of a column.
    """
    rows = csv.DictReader(io.StringIO(text))
    found: dict[str, deque[Point]] = {}
    if rows.fieldnames is not None and (lacking := _NEEDED - set(rows.fieldnames)):
        raise UnreadableAnswer(
            f"must have the columns of drift rows; missing: {', '.join(sorted(lacking))}",
            where="drift.csv",
        )
    for point, column in _points(rows, columns):
        found.setdefault(column, deque(maxlen=MOST_WINDOWS)).append(point)
    return {
        column: sorted(points, key=lambda point: (point.start, point.end))
        for column, points in found.items()
    }


def _points(rows: csv.DictReader[str], columns: Collection[str]) -> Iterator[tuple[Point, str]]:
    for place, row in enumerate(rows, 2):
        column = row["column"]
        if column not in columns or row["reference_id"].startswith("branch:"):
            continue
        try:
            point = Point(
                datetime.fromisoformat(row["window_start"]),
                datetime.fromisoformat(row["window_end"]),
                row.get("commit") or "",
                row["severity"],
                row.get("reason") or "",
                *(_figure(row.get(name)) for name in ("psi", "psi_null", "tolerance")),
            )
        except ValueError as error:
            raise UnreadableAnswer(str(error), where=f"drift.csv:{place}") from error
        yield point, column


def _figure(text: str | None) -> float | None:
    return float(text) if text else None
