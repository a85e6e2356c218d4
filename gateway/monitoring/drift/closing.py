"""Windows that are over become verdicts: rows for git, decisions, and a report to look at."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.layout import Kind
from gateway.monitoring.drift.book import Book
from gateway.monitoring.drift.documents import columns_shown, span
from gateway.monitoring.drift.series import Closed, Series
from gateway.monitoring.drift.streams import ALONE, ARM, BASELINE, Stream
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.segments import DECISION_COLUMNS, DRIFT_COLUMNS, Rows
from gateway.names import Branch
from gateway.naming import few
from gateway.statistics.drift import Rules, between, confirmed, is_whole, of_reference, worst
from gateway.statistics.reference import DERIVED, SCHEMA_VERSION
from gateway.statistics.verdict import ColumnDrift
from gateway.statistics.window import Window
from gateway.timestamps import rfc3339

log = logging.getLogger(__name__)

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
        #: Streams whose windows ended, or became longer.
        self.changed: set[Stream] = set()
        #: Branches whose report changed.
        self.reported: set[Branch] = set()
        #: End of the last window, Unix time.
        self.latest = 0.0

    def close(self, watermark: float, is_over: Callable[[], bool]) -> bool:
        """Close what ends by then; False if there was no time for all, and at least one."""
        for stream, series in sorted(self._book.series.items(), key=lambda item: str(item[0])):
            before = series.extent
            for closed in series.due(watermark):
                self.latest = max(self.latest, closed.end)
                self._close(stream, series, closed)
                if is_over():
                    self.changed.add(stream)
                    return False
            if series.extent != before:
                self.changed.add(stream)
        return True

    def _close(self, stream: Stream, series: Series, closed: Closed) -> None:
        try:
            if stream.kind == "branch":
                self._alone(stream, series, closed)
            else:
                self._pair(stream, series, closed)
        except Exception:
            # A defect of ours met one window: it must not hold up all others, nor publishing.
            log.exception("a window is left out of drift", extra={"branch": stream.branch})

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
            "severity": worst(found),
            "drifted": is_whole(found),
            "window": span(closed, window),
            "reference": reference,
            "columns": columns_shown(found, window, None, self._settings.drift),
            "between": between_,
        }
        self.reported.add(stream.branch)

    def _pair(self, stream: Stream, series: Series, closed: Closed) -> None:
        bins = next(iter(closed.sides.values())).bins
        baseline, arm = (closed.sides.get(side) or Window(bins) for side in (BASELINE, ARM))
        found = [self._explained(drift) for drift in between(baseline, arm, self.rules)]
        found, series.ranks = confirmed(found, series.ranks)
        other = str(stream.baseline)
        alone = self._book.newest_stream(stream.branch)
        if alone in self._book.series:
            series.commit = self._book.series[alone].commit
        # With the epoch: those of two, which begin within one window, are told apart by it.
        reference = f"branch:{other}:{series.beside}:{stream.content}"
        writers = len(baseline.writers | arm.writers)
        self._write(stream, series, closed, reference, found, writers=writers)
        self._decide(stream, series, closed, found, f"the rows of {other} in the same window")
        report = self._book.reports.get(stream.branch)
        if report is not None and not _is_later(report["between"], closed):
            report["between"] = {
                "with": other,
                "window": span(closed, arm),
                "severity": worst(found),
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


def _is_later(between: dict[str, Any] | None, closed: Closed) -> bool:
    """Is what is shown of a later window, such as one of another epoch?"""
    return between is not None and bool(between["window"]["end"] > rfc3339(closed.end))


def _named(columns: Mapping[str, str]) -> str:
    if not columns:
        return ""
    return f": {few([f'{name} ({severity})' for name, severity in columns.items()], 10)}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    return f"{value:.6g}" if math.isfinite(value) else ""
