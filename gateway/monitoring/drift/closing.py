"""Windows that are over become verdicts: rows for git, decisions, and a report to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.monitoring.drift.book import Book
from gateway.monitoring.drift.documents import columns_shown, span
from gateway.monitoring.drift.series import Closed, Series
from gateway.monitoring.drift.streams import ALONE, ARM, BASELINE, Stream
from gateway.monitoring.layout import Kind
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.segments import DECISION_COLUMNS, DRIFT_COLUMNS, Rows
from gateway.names import Branch
from gateway.statistics.drift import (
    ColumnDrift,
    Rules,
    between,
    confirmed,
    is_whole,
    of_reference,
    worst,
)
from gateway.statistics.reference import DERIVED, SCHEMA_VERSION
from gateway.timestamps import rfc3339

_RATES = (
    *("missing_rate", "missing_rate_ref", "invalid_rate", "out_of_range_rate"),
    *("new_category_rate", "mean", "mean_ref", "mean_shift_sd", "psi", "psi_null"),
    *("js_distance", "ks", "chi2", "df", "p_tolerance", "tolerance"),
)


class Closing:
    """One round of closing. `written` are the rows it makes, by kind and branch."""

    def __init__(self, book: Book, settings: MonitorSettings) -> None:
        self._book = book
        self._settings = settings
        drift = settings.drift
        self.rules = Rules(tolerance=drift.tolerance, tolerances=drift.tolerances)
        self.written: dict[tuple[Kind, Branch], Rows] = {}
        self.closed: set[Stream] = set()
        #: Branches whose report changed.
        self.reported: set[Branch] = set()
        #: End of the last window, Unix time.
        self.latest = 0.0

    def close(self, watermark: float) -> None:
        """Close what ends by then."""
        for stream, series in sorted(self._book.series.items()):
            for closed in series.due(watermark):
                self.closed.add(stream)
                self.latest = max(self.latest, closed.end)
                if stream.kind == "branch":
                    self._alone(stream, series, closed)
                else:
                    self._pair(stream, series, closed)

    def _alone(self, stream: Stream, series: Series, closed: Closed) -> None:
        window = closed.sides[ALONE]
        found = [self._explained(drift) for drift in of_reference(window, self.rules)]
        found, series.ranks = confirmed(found, series.ranks)
        reference = window.bins.profile.id
        self._write(stream, series, closed, reference, found, writers=len(window.writers))
        self._decide(stream, series, closed, found, f"its reference {reference[:19]}")
        if self._book.newest.get(stream.branch) != stream.content:
            return
        before = self._book.reports.get(stream.branch, {})
        between_ = before.get("between") if before.get("fingerprint") == stream.content else None
        self._book.reports[stream.branch] = {
            "fingerprint": stream.content,
            "commit": series.commit,
            "severity": series.severity,
            "drifted": is_whole(found),
            "window": span(closed, window),
            "reference": reference,
            "columns": columns_shown(found, window, None, self._settings.drift),
            "between": between_,
        }
        self.reported.add(stream.branch)

    def _pair(self, stream: Stream, series: Series, closed: Closed) -> None:
        baseline, arm = closed.sides.get(BASELINE), closed.sides.get(ARM)
        if baseline is None or arm is None:
            return
        found = [self._explained(drift) for drift in between(baseline, arm, self.rules)]
        found, series.ranks = confirmed(found, series.ranks)
        other = str(stream.baseline)
        alone = self._book.newest_stream(stream.branch)
        if alone in self._book.series:
            series.commit = self._book.series[alone].commit
        reference = f"branch:{other}:{stream.content}"
        writers = len(baseline.writers | arm.writers)
        self._write(stream, series, closed, reference, found, writers=writers)
        self._decide(stream, series, closed, found, f"the rows of {other} in the same window")
        report = self._book.reports.get(stream.branch)
        if report is not None:
            report["between"] = {
                "with": other,
                "window": span(closed, arm),
                "severity": series.severity,
                "columns": columns_shown(found, arm, baseline, self._settings.drift),
            }
            self.reported.add(stream.branch)

    def _explained(self, drift: ColumnDrift) -> ColumnDrift:
        """Why nothing is said of a column that no row had."""
        if drift.n or drift.severity != "insufficient" or drift.reason:
            return drift
        redacted = drift.column in self._settings.monitoring.redact
        return replace(drift, reason="redacted" if redacted else "not_recorded")

    def _write(
        self,
        stream: Stream,
        series: Series,
        closed: Closed,
        reference: str,
        found: Sequence[ColumnDrift],
        *,
        writers: int,
    ) -> None:
        rows = self._rows("drift", stream.branch, DRIFT_COLUMNS)
        prefix = f"vs:{stream.baseline}:" if stream.kind == "pair" else ""
        start, end = rfc3339(closed.start), rfc3339(closed.end)
        for drift in found:
            rows.add(
                *(start, end, stream.branch, series.commit, reference),
                *(prefix + drift.column, drift.kind, drift.n, drift.n_ref),
                *(_figure(getattr(drift, name)) for name in _RATES),
                *(drift.severity, drift.reason, writers, int(closed.partial), SCHEMA_VERSION),
            )

    def _decide(
        self,
        stream: Stream,
        series: Series,
        closed: Closed,
        found: Sequence[ColumnDrift],
        compared: str,
    ) -> None:
        """A row for people, where the severity is another than that of the window before."""
        severity = worst(found)
        if severity in ("insufficient", series.severity):
            return
        before, series.severity = series.severity, severity
        columns = {drift.column: drift.severity for drift in found if drift.rank}
        evidence: dict[str, Any] = {
            "from": before,
            "to": severity,
            "compared_with": stream.baseline or "reference",
            "window_start": rfc3339(closed.start),
            "window_end": rfc3339(closed.end),
            "drifted": is_whole(found),
            "columns": {
                drift.column: {"severity": drift.severity, "reason": drift.reason}
                for drift in found
                if drift.rank
            },
        }
        rows = self._rows("decisions", stream.branch, DECISION_COLUMNS)
        reason = f"{before} became {severity}, compared with {compared}{_named(columns)}"
        if stream.kind == "pair" and any(name not in DERIVED for name in columns):
            reason += ": the split is broken, since both arms get random halves of the same users"
        fields = (rfc3339(closed.end), stream.branch, series.commit, "drift", reason)
        rows.add(*fields, json.dumps(evidence, separators=(",", ":"), ensure_ascii=False))

    def _rows(self, kind: Kind, branch: Branch, columns: Sequence[str]) -> Rows:
        return self.written.setdefault((kind, branch), Rows(columns))


def _named(columns: Mapping[str, str]) -> str:
    if not columns:
        return ""
    shown = [f"{name} ({severity})" for name, severity in list(columns.items())[:10]]
    more = f" and {len(columns) - 10} more" if len(columns) > 10 else ""
    return f": {', '.join(shown)}{more}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
