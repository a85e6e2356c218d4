"""The `gateway_drift_*` series: the monitor's newest figures, given out when they are asked for.

Nothing is kept between two scrapes, so a column that is no longer among the worst, and a branch
that was taken out, leave no series behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Set
from datetime import datetime
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.names import Branch

log = logging.getLogger(__name__)

SEVERITIES = ("ok", "warn", "alert", "critical", "insufficient")
_RANKS = {"insufficient": 0, "ok": 0, "warn": 1, "alert": 2, "critical": 3}

#: By field of a column: the series, and what it says.
_OF_COLUMN = {
    "severity": ("severity", "Verdict on a column's last window: 0 ok to 3 critical."),
    "psi": ("psi", "Population stability index of a column's last window."),
    "psi_null": ("psi_null", "What that index is on the average without any drift."),
    "tolerance": ("tolerance", "Distance, on the scale of that index, that is no drift yet."),
    "p_tolerance": ("p", "P of such a window, were the true distance as large as the tolerance."),
    "missing_rate": ("missing_ratio", "Share of a column's rows without a value."),
    "invalid_rate": ("invalid_ratio", "Share of a column's rows with a value of another type."),
    "out_of_range_rate": (
        "out_of_range_ratio",
        "Share of a column's rows outside the reference's range.",
    ),
    "new_category_rate": (
        "new_category_ratio",
        "Share of a column's rows with a value that the reference does not know.",
    ),
    "mean_shift_sd": (
        "mean_shift_sd",
        "How far a column's mean moved, in standard deviations of the reference.",
    ),
}


class _Column(msgspec.Struct, frozen=True):
    column: str
    severity: str
    psi: float | None = None
    psi_null: float | None = None
    p_tolerance: float | None = None
    tolerance: float | None = None
    missing_rate: float | None = None
    invalid_rate: float | None = None
    out_of_range_rate: float | None = None
    new_category_rate: float | None = None
    mean_shift_sd: float | None = None

    def figure(self, field: str) -> float | None:
        value = getattr(self, field)
        return _RANKS.get(value, 0) if field == "severity" else value


class _Branch(msgspec.Struct, frozen=True):
    severity: str | None = None
    drifted: bool | None = None
    window_end: datetime | None = None
    p: float | None = None
    counts: dict[str, int] = {}
    columns: tuple[_Column, ...] = ()


class _Said(msgspec.Struct, frozen=True):
    """The part of the monitor's status document that is about drift."""

    lag_rows: int = 0
    rows: dict[str, int] = {}
    left_out_rows: int = 0
    branches: dict[str, _Branch] = {}


_NOTHING = _Said()


class DriftMetrics(Collector):
    """A collector of its own: `shown` says which branches have series now."""

    def __init__(self, shown: Callable[[], Set[Branch]]) -> None:
        self._shown = shown
        self._document: Any = None
        self._said = _NOTHING

    def show(self, document: Any) -> None:
        """Take the `drift` of a status document; None where the monitor says nothing of it."""
        if document is self._document:
            return
        self._document, self._said = document, _NOTHING
        try:
            self._said = _NOTHING if document is None else msgspec.convert(document, _Said)
        except msgspec.ValidationError as error:  # the other series matter more
            log.warning("no drift in the metrics: the monitor's status: %s", error)

    def collect(self) -> Iterator[Metric]:
        shown = sorted(self._shown())
        measured = [(name, said) for name in shown if (said := self._said.branches.get(name))]
        for field, (series, text) in _OF_COLUMN.items():
            family = GaugeMetricFamily(f"gateway_drift_{series}", text, labels=["branch", "column"])
            for branch, said in measured:
                for column, value in _by_column(said, field).items():
                    family.add_metric([branch, column], value)
            yield family
        yield self._columns(shown)
        yield from _of_branches(measured)
        yield from self._of_monitor(shown)

    def _columns(self, shown: list[Branch]) -> Metric:
        family = GaugeMetricFamily(
            "gateway_drift_columns",
            "All columns of the last window, by the verdict on them.",
            labels=["branch", "severity"],
        )
        for branch in shown:
            said = self._said.branches.get(branch)
            for severity in SEVERITIES:
                family.add_metric([branch, severity], said.counts.get(severity, 0) if said else 0)
        return family

    def _of_monitor(self, shown: list[Branch]) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "gateway_drift_lag_rows",
            "Recorded rows, sealed in chunks, that are in no window yet.",
            value=self._said.lag_rows,
        )
        rows = CounterMetricFamily(
            "gateway_drift_rows", "Rows that were taken into windows.", labels=["branch"]
        )
        for branch in shown:
            rows.add_metric([branch], self._said.rows.get(branch, 0))
        yield rows
        yield CounterMetricFamily(
            "gateway_drift_left_out_rows",
            "Rows left out of windows: the monitor could not keep up, or not read their chunk.",
            value=self._said.left_out_rows,
        )


def _by_column(said: _Branch, field: str) -> dict[str, float]:
    """A figure of each column that has it; a name that is no UTF-8 would spoil the whole page."""
    return {
        column.column.encode(errors="replace").decode(): value
        for column in said.columns
        if (value := column.figure(field)) is not None
    }


def _of_branches(measured: list[tuple[Branch, _Branch]]) -> Iterator[Metric]:
    figures: tuple[tuple[str, str, Callable[[_Branch], float | None]], ...] = (
        (
            "gateway_drift_drifted",
            "1 if the model's world moved in the last window: answers, or a tenth of the columns.",
            lambda said: said.drifted,
        ),
        (
            "gateway_drift_branch_severity",
            "The worst verdict on a column of the last window: 0 ok to 3 critical.",
            lambda said: _RANKS.get(said.severity) if said.severity else None,
        ),
        (
            "gateway_drift_window_end_timestamp_seconds",
            "When the last window ended, in Unix time.",
            lambda said: said.window_end.timestamp() if said.window_end else None,
        ),
        (
            "gateway_drift_p_threshold",
            "The p below which a column drifted: false alarms allowed, shared out among columns.",
            lambda said: said.p,
        ),
    )
    for name, text, figure in figures:
        family = GaugeMetricFamily(name, text, labels=["branch"])
        for branch, said in measured:
            if (value := figure(said)) is not None:
                family.add_metric([branch], value)
        yield family
