"""How a branch drifts, as JSON: what `GET /branches/{branch}/drift` shows, and what /metrics needs.

The one place that knows these shapes; made of the book, so the same after any restart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gateway.monitoring.drift.book import Book
from gateway.monitoring.drift.references import SERVED_ROWS
from gateway.monitoring.drift.series import Closed
from gateway.monitoring.drift.streams import Stream
from gateway.monitoring.monitor_settings import DriftSettings, MonitorSettings
from gateway.names import Branch
from gateway.statistics.counts import Binning
from gateway.statistics.drift import CRITICAL, WARN, Rules
from gateway.statistics.verdict import RANKS, ColumnDrift, is_judged
from gateway.statistics.window import Window
from gateway.timestamps import rfc3339

_GAUGED = (
    *("column", "severity", "psi", "psi_null", "p_tolerance", "tolerance", "missing_rate"),
    *("invalid_rate", "out_of_range_rate", "new_category_rate", "mean_shift_sd"),
)


def document(book: Book, settings: MonitorSettings, branch: Branch) -> dict[str, Any]:
    """The whole document of a branch."""
    stream = book.newest_stream(branch)
    report = book.reports.get(branch, {})
    if stream is None or report.get("fingerprint") != stream.content:
        report = {}
    known = book.references.known(str(stream)) if stream is not None else None
    bins = book.references.bins(str(stream)) if stream is not None else None
    series = book.series.get(stream) if stream is not None else None
    collected = None
    if known is not None and bins is None and known.collected is not None:
        collected = {"rows": known.collected, "of": SERVED_ROWS}
    return {
        "branch": branch,
        "fingerprint": stream.content if stream is not None else None,
        "commit": series.commit if series is not None else None,
        "state": _state(stream, report, collected is not None),
        "severity": report.get("severity"),
        "drifted": report.get("drifted"),
        "trouble": known.said if known is not None else None,
        "reference": bins
        and {
            "id": bins.profile.id,
            "n": bins.profile.n,
            "live": bins.profile.live,
            "source": bins.profile.source,
        },
        "collected": collected,
        "window": report.get("window"),
        "open": series.open_window() if series is not None else None,
        "rules": _rules(settings.drift, report.get("columns", ())),
        "columns": report.get("columns", []),
        "between": report.get("between"),
    }


def _state(stream: Stream | None, report: dict[str, Any], is_collecting: bool) -> str:
    if stream is None:
        return "waiting"
    if report:
        return "measured"
    return "collecting" if is_collecting else "counting"


def _rules(drift: DriftSettings, columns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rules = Rules()
    judged = sum(is_judged(column["column"], column["kind"]) for column in columns)
    return {
        "alpha": rules.alpha,
        "p": rules.alpha / max(1, judged) if columns else None,
        "warn": drift.tolerance * WARN,
        "alert": drift.tolerance,
        "critical": drift.tolerance * CRITICAL,
        "least_rows": rules.least_rows,
    }


def span(closed: Closed, window: Window) -> dict[str, Any]:
    """A closed window's extent."""
    return {
        "start": rfc3339(closed.start),
        "end": rfc3339(closed.end),
        "rows": window.rows,
        "units": round(window.units.count, 1),
        "writers": len(window.writers),
        "partial": closed.partial,
    }


def columns_shown(
    found: Sequence[ColumnDrift], window: Window, other: Window | None, drift: DriftSettings
) -> list[dict[str, Any]]:
    """Verdicts with both distributions; `other` stands in the place of the reference."""
    shown = []
    for one in found:
        counts = window.columns[one.column]
        before = counts.binning.reference if other is None else other.columns[one.column].cells
        shown.append(
            {
                **{name: _finite(value) for name, value in asdict(one).items()},
                "labels": _labels(counts.binning, window, drift),
                "reference": _shares(before.tolist()),
                "current": _shares(counts.cells.tolist()),
                "new": counts.new if drift.new_categories else {},
            }
        )
    return shown


def _labels(binning: Binning, window: Window, drift: DriftSettings) -> list[str]:
    labels = binning.labels
    served = binning.column.live or window.bins.profile.live
    if binning.ordered or not served or drift.new_categories:
        return labels
    # The names of its categories are served values, which are to be kept to oneself.
    return [f"value {place}" for place in range(1, len(labels) - 1)] + labels[-2:]


def _shares(cells: list[int]) -> list[float]:
    total = sum(cells)
    return [round(cell / total, 6) for cell in cells] if total else [0.0] * len(cells)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary(book: Book, settings: MonitorSettings, lag_rows: int) -> dict[str, Any]:
    """What is shown of all branches in /metrics: the worst columns each, and counts of all."""
    branches = {}
    for branch, report in sorted(book.reports.items()):
        if report["fingerprint"] != book.newest.get(branch):
            continue
        columns = sorted(report["columns"], key=_badness)
        counts = Counter(column["severity"] for column in columns)
        worst = columns[: settings.drift.metric_columns]
        branches[branch] = {
            "severity": report["severity"],
            "drifted": report["drifted"],
            "window_end": report["window"]["end"],
            "p": _rules(settings.drift, columns)["p"],
            "counts": {severity: counts[severity] for severity in RANKS},
            "columns": [{name: column[name] for name in _GAUGED} for column in worst],
        }
    return {
        "lag_rows": lag_rows,
        "rows": book.rows,
        "left_out_rows": book.left_out,
        "branches": branches,
    }


def _badness(column: dict[str, Any]) -> tuple[float, float]:
    """Sorts the worst first."""
    return -RANKS[column["severity"]], -(column["psi"] or 0.0)
