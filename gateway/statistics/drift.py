"""What a window's sums say beside the reference's, or beside another window's: drift or none.

Drift is a distance that exceeds a tolerance, not a difference that is significant: a large window
finds no drift in trifles, a small one none in noise. Rules and defaults: STATISTICS §1.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gateway.statistics.cells import neighbours, pooled
from gateway.statistics.counts import REST, Binning, ColumnCounts
from gateway.statistics.measures import (
    Counts,
    chi_squared,
    js_distance,
    ks,
    p_tolerance,
    psi,
    psi_null,
    unseen_categories,
    unseen_share,
    wilson,
)
from gateway.statistics.reference import DERIVED, PREDICTION, SCORE
from gateway.statistics.verdict import RANKS, ColumnDrift, Severity, is_judged
from gateway.statistics.window import Window

#: Shares of a column's tolerance from which on a drift is worth a look, and cannot wait.
WARN, CRITICAL = 0.4, 4.0
#: How much more of the rows than in the reference may be so.
MORE_MISSING = MORE_OUT_OF_RANGE = MORE_NEW = 0.01


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a verdict. `alpha` is the chance of one false alarm in a window."""

    alpha: float = 0.01
    tolerance: float = 0.05
    #: By column, in place of `tolerance`.
    tolerances: Mapping[str, float] = field(default_factory=dict)
    #: Fewer rows say nothing.
    least_rows: int = 100

    def of(self, column: str) -> float:
        return self.tolerances.get(column, self.tolerance)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two samples, of a column: counts by cell and rows that have none."""

    cells: Counts
    rows: int
    missing: int
    invalid: int
    outside: int
    unseen: int
    mean: float | None
    independence: float = 1.0
    #: The profile was made of these rows: none of them can lie outside it.
    is_reference: bool = False

    @property
    def n_eff(self) -> float:
        return self.rows * self.independence


def of_reference(window: Window, rules: Rules) -> list[ColumnDrift]:
    """Each column of the window beside the profile it was counted by, in the profile's order.

    A column of served rows (`live`) is no more than a warning.
    """
    judged = _judged(window)
    found = []
    for name, counts in window.columns.items():
        column = counts.binning.column
        before = _Side(
            counts.binning.reference,
            column.rows,
            column.missing,
            column.invalid,
            outside=0,
            unseen=0,
            mean=column.mean,
            is_reference=True,
        )
        drift = _compared(name, counts.binning, before, _side(counts, window), rules, judged)
        found.append(_capped(drift) if column.live or window.bins.profile.live else drift)
    return found


def between(baseline: Window, arm: Window, rules: Rules) -> list[ColumnDrift]:
    """Each column of two branches' rows of one span, counted by one profile.

    Both see random halves of the same users, so a difference of inputs is the split's doing, and
    one of answers the models': `reason` says `split` or `model`, and the latter is no alarm.
    """
    judged = _judged(arm)
    found = []
    for name, counts in arm.columns.items():
        other = baseline.columns[name]
        sides = _side(other, baseline), _side(counts, arm)
        drift = _compared(name, counts.binning, *sides, rules, judged)
        if drift.rank:
            cause = "model" if name in DERIVED else "split"
            drift = replace(drift, reason=f"{cause};{drift.reason}")
            drift = _capped(drift) if cause == "model" else drift
        found.append(drift)
    return found


def confirmed(
    found: Sequence[ColumnDrift], before: Mapping[str, int]
) -> tuple[list[ColumnDrift], dict[str, int]]:
    """The verdicts once an alert has been asked for twice in a row, and the ranks to remember.

    `before` are the ranks that the windows before asked for, by column. A first alert is a
    warning; what is critical does not wait. A window that says nothing is as if it were not.
    """
    ranks = dict(before)
    said = []
    for drift in found:
        rank = before.get(drift.column, 0)
        if drift.severity != "insufficient":
            ranks[drift.column] = drift.rank
        if drift.severity == "alert" and rank < RANKS["alert"]:
            drift = replace(drift, severity="warn")
        said.append(drift)
    return said, ranks


def worst(found: Iterable[ColumnDrift]) -> Severity:
    """The severity of a whole window: insufficient only if every column is."""
    severities = {drift.severity for drift in found}
    order: tuple[Severity, ...] = ("critical", "alert", "warn", "ok")
    return next((one for one in order if one in severities), "insufficient")


def is_whole(found: Sequence[ColumnDrift]) -> bool:
    """Has the model's world moved: its answers, or a tenth of its columns, at least two?"""
    judged = [drift for drift in found if drift.kind != "skipped"]
    alarmed = [drift.column for drift in judged if drift.rank >= RANKS["alert"]]
    return bool({PREDICTION, SCORE} & set(alarmed)) or len(alarmed) >= max(2, len(judged) / 10)


def _judged(window: Window) -> int:
    """Columns among which one false alarm is shared out (Bonferroni)."""
    columns = (counts.binning.column for counts in window.columns.values())
    return max(1, sum(is_judged(column.name, column.kind) for column in columns))


def _side(counts: ColumnCounts, window: Window) -> _Side:
    return _Side(
        counts.cells,
        counts.n,
        counts.missing,
        counts.invalid,
        counts.below + counts.above,
        counts.unseen,
        counts.mean,
        window.independence,
    )


def _compared(
    name: str, binning: Binning, a: _Side, b: _Side, rules: Rules, judged: int
) -> ColumnDrift:
    column = binning.column
    drift = ColumnDrift(name, column.kind, b.rows, a.rows, "insufficient")
    if column.kind == "skipped":
        return replace(drift, reason=column.reason or "skipped")
    if not b.rows or not a.rows:
        return drift
    drift = _described(drift, binning, a, b, rules.of(name))
    if min(a.rows, b.rows) < rules.least_rows:
        return drift
    if not is_judged(name, column.kind):
        return replace(drift, severity="ok")
    alpha = rules.alpha / judged
    severity, reasons = _rated(a, b, alpha, is_date=column.kind == "date")
    # A date moves on by itself: its distribution is told, and no alarm.
    if drift.p_tolerance is not None and column.kind != "date":
        n_eff = _n_eff(a, b)
        shares: tuple[tuple[float, Severity], ...] = (
            (WARN, "warn"),
            (1.0, "alert"),
            (CRITICAL, "critical"),
        )
        for share, word in shares:
            # What is not beyond a tolerance is not beyond a larger one: mostly one look is enough.
            p = p_tolerance(drift.chi2 or 0.0, drift.df or 0, n_eff, rules.of(name) * share)
            if p >= alpha:
                break
            severity = max(severity, word, key=RANKS.__getitem__)
            reasons = [*(["distribution"] if share == WARN else []), *reasons]
    return replace(drift, severity=severity, reason=";".join(reasons))


def _described(
    drift: ColumnDrift, binning: Binning, a: _Side, b: _Side, tolerance: float
) -> ColumnDrift:
    """The figures of a column, whether or not there are enough rows for a verdict."""
    sd = binning.column.sd
    known = a.mean is not None and b.mean is not None
    shift = (b.mean or 0.0) - (a.mean or 0.0)
    is_open = binning.column.kind in ("numeric", "date")
    drift = replace(
        drift,
        missing_rate=b.missing / b.rows,
        missing_rate_ref=a.missing / a.rows,
        invalid_rate=b.invalid / b.rows,
        out_of_range_rate=b.outside / b.rows if binning.ordered else None,
        new_category_rate=None if is_open else b.unseen / b.rows,
        mean=b.mean,
        mean_ref=a.mean,
        mean_shift_sd=shift / sd if known and sd else None,
        tolerance=tolerance,
    )
    m, n = int(a.cells.sum()), int(b.cells.sum())
    if not m or not n:
        return drift
    cells_a, cells_b = _cells(binning, a, b)
    x2, df = chi_squared(cells_a, cells_b)
    x2 *= min(a.independence, b.independence)
    return replace(
        drift,
        psi=psi(cells_a, cells_b),
        psi_null=psi_null(len(cells_a), m, n),
        js_distance=js_distance(cells_a, cells_b),
        ks=ks(*_in_order(binning, a.cells, b.cells)) if binning.ordered else None,
        chi2=x2,
        df=df,
        p_tolerance=p_tolerance(x2, df, _n_eff(a, b), tolerance),
    )


def _n_eff(a: _Side, b: _Side) -> float:
    m, n = int(a.cells.sum()), int(b.cells.sum())
    return n * m / (n + m) * min(a.independence, b.independence)


def _cells(binning: Binning, a: _Side, b: _Side) -> tuple[Counts, Counts]:
    """The cells that are compared: neighbours joined where there is an order without gaps."""
    independence = a.independence, b.independence
    if binning.column.kind in ("numeric", "date"):
        return neighbours(a.cells, b.cells, independence, by=binning.reference)
    return pooled(a.cells, b.cells, REST, independence)


def _in_order(binning: Binning, a: Counts, b: Counts) -> tuple[Counts, Counts]:
    """The cells from the lowest number to the highest, unknown ones last."""
    if binning.column.kind != "discrete":
        return a, b
    order = [*np.argsort(np.array(binning.column.values, dtype=np.float64)).tolist(), -2, -1]
    return a[order], b[order]


def _rated(a: _Side, b: _Side, alpha: float, *, is_date: bool) -> tuple[Severity, list[str]]:
    """The rates that are higher than in `a` by more than may be, beyond chance on either side."""
    reasons = []
    for reason, count, before, more in (
        ("missing", b.missing, a.missing, MORE_MISSING),
        ("range", b.outside, a.outside, MORE_OUT_OF_RANGE),
        ("new_category", b.unseen, a.unseen, MORE_NEW),
        ("invalid", b.invalid, a.invalid, 0.0),
    ):
        if not count or (is_date and reason == "range"):
            continue
        if reason == "invalid" and a.is_reference and not before:
            allowed = 0.0
        elif a.is_reference and reason == "range":
            allowed = max(more, unseen_share(a.rows, alpha))
        elif a.is_reference and reason == "new_category":
            singles, doubles = (int((a.cells == times).sum()) for times in (1, 2))
            allowed = max(more, unseen_categories(a.rows, singles, doubles, alpha))
        else:
            allowed = more + wilson(before / a.rows, a.n_eff, alpha)[1]
        if wilson(count / b.rows, b.n_eff, alpha)[0] > allowed:
            reasons.append(reason)
    return ("alert" if reasons else "ok"), reasons


def _capped(drift: ColumnDrift) -> ColumnDrift:
    return replace(drift, severity="warn") if drift.rank > RANKS["warn"] else drift
