"""Drift documents as the monitor writes them, made of real windows of made rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from gateway.statistics.counts import text_of
from gateway.statistics.drift import Rules, between, confirmed, is_whole, of_reference, worst
from gateway.statistics.reference import PREDICTION, Profile, ReferenceColumn
from gateway.statistics.verdict import ColumnDrift
from gateway.statistics.window import Bins, Window

_RATES = ["missing_rate", "missing_rate_ref", "invalid_rate", "out_of_range_rate"]
_RATES += ["new_category_rate"]
#: The columns of drift rows, in their order (STATISTICS §1.6).
HISTORY = [
    *("window_start", "window_end", "branch", "commit", "reference_id", "column", "kind"),
    *("n", "n_ref", *_RATES, "mean", "mean_ref", "mean_shift_sd", "psi", "psi_null"),
    *("js_distance", "ks", "chi2", "df", "p_tolerance", "tolerance", "severity", "reason"),
    *("replicas", "partial", "schema_version"),
]
COMMIT = "2f1d9c0c6a3b5c3f6f0e8f5b1a7d4e9c8b7a6f5e"
Rows = Mapping[str, Sequence[Any]]


def profile_of(rows: Rows, *, live: bool = False) -> Profile:
    """The reference of made rows; a nested value makes its column a skipped one."""
    columns = tuple(_column(name, values) for name, values in rows.items())
    n = len(next(iter(rows.values())))
    source = {"type": "live"} if live else {"type": "training", "path": "data/train.csv"}
    return Profile(n, columns, source=source).identified()


def _column(name: str, values: Sequence[Any]) -> ReferenceColumn:
    known = [value for value in values if value is not None]
    missing = len(values) - len(known)
    if any(isinstance(value, dict) for value in known):
        return ReferenceColumn(name, "skipped", reason="nested")
    if all(isinstance(value, str | bool) for value in known):
        texts = sorted({text_of(value) for value in known})
        counts = tuple(sum(text_of(value) == text for value in known) for text in texts)
        return ReferenceColumn(
            name, "categorical", missing=missing, values=tuple(texts), counts=counts
        )
    numbers = np.array(known, dtype=np.float64)
    kept = np.unique(numbers)
    figures: dict[str, Any] = {
        "missing": missing,
        "min": float(numbers.min()),
        "max": float(numbers.max()),
        "mean": float(numbers.mean()),
        "sd": float(numbers.std()),
    }
    if len(kept) <= 20:
        counts = tuple(int((numbers == value).sum()) for value in kept)
        return ReferenceColumn(
            name, "discrete", values=tuple(kept.tolist()), counts=counts, **figures
        )
    edges = np.unique(np.quantile(numbers, np.arange(1, 20) / 20, method="inverted_cdf"))
    places = np.searchsorted(edges, numbers, side="left")
    counts = tuple(np.bincount(places, minlength=len(edges) + 1).tolist())
    return ReferenceColumn(name, "numeric", edges=tuple(edges.tolist()), counts=counts, **figures)


def window_of(profile: Profile, rows: Rows, units: int | None = None) -> Window:
    window = Window(Bins(profile))
    n = len(next(iter(rows.values())))
    window.add(n, rows, range(units or n), "a" * 8)
    return window


def document(
    reference: Rows,
    current: Rows,
    *,
    branch: str = "prod",
    other: Rows | None = None,
    live: bool = False,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """The whole document of a branch; `other` are the rows of its baseline in the window.

    The windows before had the same rows, so that an alert is one.
    """
    rules = rules or Rules()
    profile = profile_of(reference, live=live)
    window = window_of(profile, current)
    found = of_reference(window, rules)
    found, _ = confirmed(found, {drift.column: drift.rank for drift in found})
    shares = {name: counts.binning.reference for name, counts in window.columns.items()}
    return {
        "branch": branch,
        "fingerprint": "f" * 32,
        "commit": COMMIT,
        "state": "measured",
        "severity": worst(found),
        "drifted": is_whole(found),
        "trouble": None,
        "reference": {"id": profile.id, "n": profile.n, "live": live, "source": profile.source},
        "collected": None,
        "window": _span(window),
        "open": {
            "start": "2026-11-29T13:00:00.000Z",
            "ends": "2026-11-29T14:00:00.000Z",
            "rows": 17,
        },
        "rules": {
            "alpha": rules.alpha,
            "p": rules.alpha / len(found),
            "warn": 0.02,
            "alert": 0.05,
            "critical": 0.2,
            "least_rows": rules.least_rows,
        },
        "columns": [_shown(one, window, shares[one.column]) for one in found],
        "between": None if other is None else _beside(window_of(profile, other), window, rules),
    }


def _span(window: Window) -> dict[str, Any]:
    return {
        "start": "2026-11-29T12:00:00.000Z",
        "end": "2026-11-29T13:00:00.000Z",
        "rows": window.rows,
        "units": window.units.count,
        "writers": 1,
        "partial": False,
    }


def _beside(baseline: Window, arm: Window, rules: Rules) -> dict[str, Any]:
    found = between(baseline, arm, rules)
    return {
        "with": "stable",
        "window": _span(baseline),
        "severity": worst(found),
        "columns": [_shown(one, arm, baseline.columns[one.column].cells) for one in found],
    }


def _shown(drift: ColumnDrift, window: Window, before: Any) -> dict[str, Any]:
    counts = window.columns[drift.column]
    if drift.kind == "skipped":
        return {**asdict(drift), "labels": [], "reference": [], "current": [], "new": {}}
    sides = [(cells / max(1, cells.sum())).tolist() for cells in (before, counts.cells)]
    kept = [place for place in range(len(sides[0])) if sides[0][place] or sides[1][place]][:20]
    return {
        **asdict(drift),
        "labels": [counts.binning.labels[place] for place in kept],
        "reference": [sides[0][place] for place in kept],
        "current": [sides[1][place] for place in kept],
        "new": counts.new,
    }


def status_of(found: Mapping[str, Any], most: int = 50) -> dict[str, Any]:
    """The `drift` of the monitor's status document that goes with a branch's document."""
    fields = ["column", "severity", "psi", "psi_null", "p_tolerance", "tolerance"]
    fields += ["mean_shift_sd", *(rate for rate in _RATES if not rate.endswith("_ref"))]
    severities = [column["severity"] for column in found["columns"]]
    words = ("ok", "warn", "alert", "critical", "insufficient")
    return {
        "lag_rows": 7,
        "rows": {found["branch"]: 12345},
        "left_out_rows": 3,
        "branches": {
            found["branch"]: {
                "severity": found["severity"],
                "drifted": found["drifted"],
                "window_end": found["window"]["end"],
                "p": found["rules"]["p"],
                "counts": {word: severities.count(word) for word in words},
                "columns": [
                    {field: column[field] for field in fields} for column in found["columns"][:most]
                ],
            }
        },
    }


def history_of(documents: Iterable[Mapping[str, Any]]) -> str:
    """drift.csv of documents one after the other, an hour each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for hour, found in enumerate(documents):
        start = f"2026-11-{28 + hour // 24:02}T{hour % 24:02}:00:00.000Z"
        end = f"2026-11-{28 + (hour + 1) // 24:02}T{(hour + 1) % 24:02}:00:00.000Z"
        window = {"window_start": start, "window_end": end, "branch": found["branch"]}
        for column in found["columns"]:
            about = {"commit": found["commit"], "reference_id": found["reference"]["id"]}
            given = {key: value for key, value in column.items() if value is not None}
            writer.writerow({**given, **window, **about, "schema_version": 1})
    return text.getvalue()


def people(
    seed: int, n: int, kind: Literal["before", "same", "moved"] = "same"
) -> dict[str, list[Any]]:
    """Rows of a small world: of the reference, of the same world, or of one that moved."""
    draw = np.random.default_rng(seed)
    moved = kind == "moved"
    plans = ["basic", "family", "business"] + (["student"] if moved else [])
    shares = [0.35, 0.2, 0.3, 0.15] if moved else [0.6, 0.3, 0.1]
    income = draw.lognormal(10.4 if moved else 10, 0.6, n)
    tenure: list[Any] = draw.exponential(30, n).round(1).tolist()
    if moved:
        tenure = [
            None if lost else value
            for lost, value in zip(draw.random(n) < 0.2, tenure, strict=True)
        ]
    age = draw.normal(42, 12, n).clip(18, 95).round(1)
    return {
        "age": age.tolist(),
        "income": income.tolist(),
        "plan": draw.choice(plans, n, p=shares).tolist(),
        "tenure_months": tenure,
        "children": draw.poisson(1.2, n).clip(0, 6).tolist(),
        "newsletter": (draw.random(n) < 0.4).tolist(),
        "visits_per_week": draw.gamma(2, 1.5 * (1.1 if moved else 1), n).tolist(),
        "address": [{"city": "Bern"}] * n,
        PREDICTION: draw.choice(["no", "yes"], n, p=[0.6, 0.4] if moved else [0.8, 0.2]).tolist(),
    }


def as_json(found: Mapping[str, Any]) -> str:
    return json.dumps(found)
