"""What is said of a window: each rule by itself, and what they make together."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from drifting import bins_of, categorical, judged, numbers, profile_of, window_of

from gateway.statistics.drift import Rules, between, confirmed, is_whole, of_reference, worst
from gateway.statistics.measures import p_tolerance
from gateway.statistics.reference import LATENCY, PREDICTION, SCORE, Profile, ReferenceColumn
from gateway.statistics.verdict import ColumnDrift, Severity
from gateway.statistics.window import Bins

RULES = Rules()
NORMAL = np.random.default_rng(0).normal(size=20_000)


def fresh(rows: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=rows)


def one(column: ReferenceColumn, values: list[Any], rules: Rules = RULES) -> ColumnDrift:
    (found,) = of_reference(window_of(bins_of(column), {"x": values}), rules)
    return found


def said(severity: Severity, column: str = "x") -> ColumnDrift:
    return ColumnDrift(column, "numeric", 500, 500, severity)


@pytest.fixture(scope="module")
def normal() -> ReferenceColumn:
    return profile_of({"x": numbers(NORMAL)}).columns[0]


def test_an_alert_needs_two_windows_in_a_row() -> None:
    ranks: dict[str, int] = {}
    history: tuple[Severity, ...] = ("alert", "alert", "ok", "alert", "warn", "alert", "alert")
    severities = []
    for severity in history:
        (drift,), ranks = confirmed([said(severity)], ranks)
        severities.append(drift.severity)
    assert severities == ["warn", "alert", "ok", "warn", "warn", "warn", "alert"]


def test_what_is_critical_does_not_wait_and_confirms_what_follows() -> None:
    (drift,), ranks = confirmed([said("critical")], {})
    assert drift.severity == "critical"
    (drift,), _ = confirmed([said("alert")], ranks)
    assert drift.severity == "alert"


@pytest.mark.parametrize(("before", "after"), [("alert", "alert"), ("ok", "warn")])
def test_a_window_that_says_nothing_neither_confirms_nor_resets(
    before: Severity, after: Severity
) -> None:
    _, ranks = confirmed([said(before)], {})
    (drift,), ranks = confirmed([said("insufficient")], ranks)
    assert drift.severity == "insufficient"
    (drift,), _ = confirmed([said("alert")], ranks)
    assert drift.severity == after


def test_columns_are_confirmed_each_by_itself() -> None:
    _, ranks = confirmed([said("alert", "a"), said("ok", "b")], {})
    found, _ = confirmed([said("alert", "a"), said("alert", "b")], ranks)
    assert [drift.severity for drift in found] == ["alert", "warn"]


@pytest.mark.parametrize(
    ("shift", "severity"),
    [(0.0, "ok"), (0.1, "ok"), (0.2, "warn"), (0.35, "alert"), (0.8, "critical")],
)
def test_severity_follows_the_distance_and_not_the_number_of_rows(
    normal: ReferenceColumn, shift: float, severity: Severity
) -> None:
    drift = one(normal, numbers(fresh(50_000) + shift))
    assert drift.severity == severity
    assert drift.reason == ("distribution" if shift > 0.1 else "")
    assert drift.mean_shift_sd == pytest.approx(shift, abs=0.02)
    # With no tolerance every one of them but the first is "significant".
    assert (p_tolerance(drift.chi2 or 0, drift.df or 0, 14_000, 0) < 1e-9) == (shift > 0)


@pytest.mark.parametrize(("rows", "severity"), [(99, "insufficient"), (100, "critical")])
def test_fewer_rows_than_a_hundred_say_nothing(
    normal: ReferenceColumn, rows: int, severity: Severity
) -> None:
    drift = one(normal, numbers(fresh(rows) + 3))
    assert drift.severity == severity
    assert drift.psi is not None  # the figures are there all the same
    assert drift.psi > 1


def test_a_reference_of_few_rows_says_nothing() -> None:
    column = profile_of({"x": numbers(NORMAL[:99])}).columns[0]
    assert one(column, numbers(fresh(1_000) + 3)).severity == "insufficient"


def test_a_column_of_which_nothing_came_is_insufficient(normal: ReferenceColumn) -> None:
    (drift,) = of_reference(window_of(bins_of(normal), {"other": [1] * 500}), RULES)
    assert (drift.severity, drift.n, drift.psi) == ("insufficient", 0, None)


@pytest.mark.parametrize(("missing", "alarmed"), [(10, False), (14, False), (45, True)])
def test_missing_values_are_judged_by_their_rate(
    normal: ReferenceColumn, missing: int, alarmed: bool
) -> None:
    drift = one(normal, [*numbers(fresh(1_000 - missing)), *[None] * missing])
    assert (drift.severity, drift.reason) == (("alert", "missing") if alarmed else ("ok", ""))
    assert (drift.missing_rate, drift.missing_rate_ref) == (missing / 1_000, 0)


def test_as_many_missing_as_ever_are_no_drift_and_all_missing_is_one() -> None:
    rng = np.random.default_rng(2)
    holes = [
        None if gone else value
        for gone, value in zip(rng.random(426) < 0.3, numbers(NORMAL), strict=False)
    ]
    column = profile_of({"x": holes}).columns[0]
    again = [
        None if gone else v
        for gone, v in zip(rng.random(50_000) < 0.3, numbers(fresh(50_000)), strict=True)
    ]
    assert one(column, again).severity == "ok"
    drift = one(column, [None] * 200)
    assert (drift.severity, drift.reason, drift.psi) == ("alert", "missing", None)


@pytest.mark.parametrize(("outside", "alarmed"), [(0, False), (8, False), (60, True)])
def test_values_out_of_range_are_judged_by_their_rate(
    normal: ReferenceColumn, outside: int, alarmed: bool
) -> None:
    values = np.clip(fresh(1_000), -3, 3)
    values[:outside] = 9.0
    drift = one(normal, numbers(values))
    assert ("range" in drift.reason) == alarmed
    assert drift.out_of_range_rate == outside / 1_000


def test_a_small_reference_leaves_out_some_of_the_range() -> None:
    """The least and the greatest of 120 rows leave out 1.7 % on the average: no news."""
    alarms = 0
    for seed in range(40):
        column = profile_of({"x": numbers(fresh(120, seed))}).columns[0]
        drift = one(column, numbers(fresh(20_000, seed + 1_000)))
        alarms += "range" in drift.reason
        assert drift.out_of_range_rate is not None
    assert alarms <= 2


@pytest.mark.parametrize(("new", "alarmed"), [(1, False), (9, False), (45, True)])
def test_new_categories_are_judged_by_their_rate(new: int, alarmed: bool) -> None:
    rows = [*["a"] * (500 - new), *["b"] * 500, *[f"n{k}" for k in range(new)]]
    drift = one(categorical(a=10_000, b=10_000), rows)
    assert ("new_category" in drift.reason) == alarmed
    assert (drift.severity in ("alert", "critical")) == alarmed
    assert drift.new_category_rate == new / 1_000


def test_one_misspelt_category_in_a_hundred_rows_is_no_drift() -> None:
    drift = one(
        categorical(a=10_000, b=6_000, c=4_000), ["a"] * 50 + ["b"] * 30 + ["c"] * 19 + ["C"]
    )
    assert (drift.severity, drift.reason) == ("ok", "")


def test_one_row_above_an_atom_at_the_maximum_is_no_drift() -> None:
    """Capped numbers: the last bin of the reference is empty."""
    column = profile_of({"x": numbers(np.minimum(NORMAL, 1.0))}).columns[0]
    assert column.counts[-1] == 0
    values = np.minimum(fresh(100), 1.0)
    values[0] = 1.5
    assert one(column, numbers(values)).severity == "ok"


def test_an_invalid_value_where_the_reference_has_none_is_an_alert(normal: ReferenceColumn) -> None:
    drift = one(normal, [*numbers(fresh(999)), "12"])
    assert (drift.severity, drift.reason, drift.invalid_rate) == ("alert", "invalid", 0.001)


def test_as_many_invalid_values_as_the_reference_had_are_none() -> None:
    """Four in 426 may as well be one or nine: what a reference says of a rate is uncertain."""
    alarms = 0
    rng = np.random.default_rng(4)
    for _ in range(40):
        bad = max(1, int(rng.binomial(426, 0.01)))
        column = profile_of({"x": [*numbers(NORMAL[: 426 - bad]), *["?"] * bad]}).columns[0]
        drift = one(column, [*numbers(fresh(9_900)), *["?"] * 100])
        alarms += "invalid" in drift.reason
    assert alarms <= 1
    assert "invalid" in one(column, [*numbers(fresh(900)), *["?"] * 100]).reason


def test_dates_move_on_and_are_no_alarm() -> None:
    days = [f"2025-{1 + k % 12:02}-{1 + k % 28:02}" for k in range(2_000)]
    column = profile_of({"x": days}).columns[0]
    later = ["2027-01-01"] * 500
    drift = one(column, later)
    assert column.kind == "date"
    assert (drift.severity, drift.reason) == ("ok", "")
    assert drift.p_tolerance is not None
    assert drift.p_tolerance < 1e-9
    assert one(column, [*later, *[None] * 100]).reason == "missing"
    assert one(column, [*later, "soon"]).reason == "invalid"


@pytest.mark.parametrize("kept", ["ok", "new", "missing"])
def test_a_constant_column_is_judged_by_what_is_not_constant(kept: str) -> None:
    column = profile_of({"x": [3.5] * 1_000}).columns[0]
    others: dict[str, list[Any]] = {"ok": [], "new": [4.5] * 200, "missing": [None] * 200}
    drift = one(column, [*[3.5] * 800, *others[kept]])
    assert drift.mean_shift_sd is None
    if kept == "ok":
        assert (drift.severity, drift.p_tolerance, drift.df) == ("ok", 1.0, 0)
    elif kept == "new":
        assert drift.severity == "critical"
        assert drift.reason == "distribution;range;new_category"
    else:
        assert (drift.severity, drift.reason) == ("alert", "missing")


def test_a_skipped_column_says_why_and_takes_no_part(normal: ReferenceColumn) -> None:
    skipped = ReferenceColumn("s", "skipped", reason="nested")
    alone = msgspec.structs.replace(normal, name="x")
    window = window_of(bins_of(alone, skipped), {"x": numbers(fresh(500)), "s": [{}] * 500})
    drift, left_out = of_reference(window, RULES)
    assert (left_out.severity, left_out.reason) == ("insufficient", "nested")
    assert drift.severity == "ok"


@pytest.mark.parametrize("whole", [True, False])
def test_a_reference_of_served_rows_warns_at_most(normal: ReferenceColumn, whole: bool) -> None:
    column = normal if whole else msgspec.structs.replace(normal, live=True)
    source = {"type": "live"} if whole else {"type": "training"}
    bins = Bins(Profile(20_000, (column,), source=source).identified())
    (drift,) = of_reference(window_of(bins, {"x": numbers(fresh(5_000) + 5)}), RULES)
    assert (drift.severity, drift.reason) == ("warn", "distribution;range")


def test_a_columns_own_tolerance_is_its_own() -> None:
    profile = profile_of({"a": numbers(NORMAL), "b": numbers(NORMAL)})
    shifted = numbers(fresh(20_000) + 0.4)
    rules = Rules(tolerances={"b": 0.5})
    found = judged(profile, {"a": shifted, "b": shifted}, rules)
    assert (found["a"].severity, found["a"].tolerance) == ("alert", 0.05)
    assert (found["b"].severity, found["b"].tolerance) == ("ok", 0.5)


def test_alpha_is_shared_out_among_the_columns_that_are_judged(normal: ReferenceColumn) -> None:
    """A p between alpha / columns and alpha is chance, somewhere among so many."""
    values = numbers(fresh(1_000, 9) + 0.34)
    alone = one(normal, values)
    assert alone.severity == "alert"
    assert alone.p_tolerance is not None
    assert 0.01 / 300 < alone.p_tolerance < 0.01
    names = [f"c{k}" for k in range(300)]
    columns = [msgspec.structs.replace(normal, name=name) for name in names]
    quiet = {name: numbers(fresh(1_000, seed)) for seed, name in enumerate(names[1:], 100)}
    found = of_reference(window_of(bins_of(*columns), {"c0": values, **quiet}), RULES)
    assert found[0].p_tolerance == alone.p_tolerance
    assert {drift.severity for drift in found[1:]} == {"ok"}
    assert found[0].severity == "warn"  # the smaller tolerance is exceeded even so
    skipped = [ReferenceColumn(f"s{k}", "skipped") for k in range(299)]
    found = of_reference(window_of(bins_of(columns[0], *skipped), {"c0": values}), RULES)
    assert found[0].severity == "alert"  # columns that are not judged have no share


def test_rows_of_one_unit_are_no_news_of_each_other(normal: ReferenceColumn) -> None:
    values = numbers(np.repeat(fresh(30, 5) + 0.3, 20))
    units = [k // 20 for k in range(600)]
    bins = bins_of(normal)
    (repeated,) = of_reference(window_of(bins, {"x": values}, units), RULES)
    (apart,) = of_reference(window_of(bins, {"x": values}), RULES)
    assert apart.severity in ("alert", "critical")
    assert repeated.severity == "ok"
    assert repeated.chi2 is not None
    assert apart.chi2 is not None
    assert repeated.chi2 < apart.chi2 / 10
    missing = [None if k < 20 else v for k, v in enumerate(values)]
    (repeated,) = of_reference(window_of(bins, {"x": missing}, units), RULES)
    assert (repeated.missing_rate, repeated.reason) == (20 / 600, "")


class TestBetweenBranches:
    """The same span's rows of two branches, counted by one profile."""

    columns = ("x", PREDICTION, SCORE, LATENCY)

    def compared(self, shifts: dict[str, float], rows: int = 2_000) -> dict[str, ColumnDrift]:
        profile = profile_of({name: numbers(NORMAL + 0.3) for name in self.columns})
        bins = Bins(profile)
        one, other = (
            {
                name: numbers(fresh(rows, seed + k) + (shifts.get(name, 0) if seed else 0))
                for k, name in enumerate(self.columns)
            }
            for seed in (0, 10)
        )
        found = between(window_of(bins, one), window_of(bins, other), RULES)
        return {drift.column: drift for drift in found}

    def test_equal_halves_differ_in_nothing_whatever_the_reference_says(self) -> None:
        assert {drift.severity for drift in self.compared({}).values()} == {"ok"}

    def test_inputs_that_differ_are_the_splits_doing(self) -> None:
        drift = self.compared({"x": 1.0})["x"]
        assert (drift.severity, drift.reason) == ("critical", "split;distribution")

    @pytest.mark.parametrize("column", [PREDICTION, SCORE])
    def test_what_is_made_of_answers_differs_by_the_model_and_is_no_alarm(
        self, column: str
    ) -> None:
        found = self.compared({column: 1.0})
        assert (found[column].severity, found[column].reason) == ("warn", "model;distribution")
        assert found["x"].severity == "ok"

    def test_latency_is_told_and_never_alarmed(self) -> None:
        found = self.compared({LATENCY: 3.0})[LATENCY]
        assert (found.severity, found.reason) == ("ok", "")
        assert found.psi is not None
        assert found.psi > 1

    def test_a_stray_value_on_one_side_is_no_broken_split(self) -> None:
        bins = Bins(profile_of({"x": numbers(NORMAL)}))
        clean = window_of(bins, {"x": numbers(fresh(2_000, 1))})
        stray = window_of(bins, {"x": [*numbers(fresh(2_000, 2)), "?"]})
        (drift,) = between(clean, stray, RULES)
        assert (drift.severity, drift.invalid_rate) == ("ok", 1 / 2_001)
        many = window_of(bins, {"x": [*numbers(fresh(2_000, 2)), *["?"] * 100]})
        (drift,) = between(clean, many, RULES)
        assert drift.reason == "split;invalid"

    def test_a_small_arm_says_nothing_yet(self) -> None:
        assert {d.severity for d in self.compared({"x": 5.0}, 80).values()} == {"insufficient"}


def test_a_window_is_as_bad_as_its_worst_column() -> None:
    assert worst([said("ok"), said("insufficient"), said("alert"), said("warn")]) == "alert"
    assert worst([said("insufficient"), said("ok")]) == "ok"
    assert worst([said("insufficient")]) == worst([]) == "insufficient"


def test_the_models_world_has_moved_with_its_answers_or_a_tenth_of_its_columns() -> None:
    fine = [said("ok", f"c{k}") for k in range(28)]
    assert not is_whole([*fine, said("alert", "a"), said("warn", "b")])
    assert is_whole([*fine, said("alert", PREDICTION), said("ok", "b")])
    assert not is_whole([*fine, said("alert", "a"), said("critical", "b")])  # 2 of 30
    assert is_whole([*fine[1:], *(said("alert", name) for name in "abc")])  # 3 of 30
    assert is_whole([said("ok"), said("alert", "a"), said("alert", "b")])
    skipped = [ColumnDrift(f"s{k}", "skipped", 0, 0, "insufficient") for k in range(200)]
    assert is_whole([said("ok"), said("alert", "a"), said("alert", "b"), *skipped])


def test_no_figure_is_a_nan() -> None:
    """They become JSON, CSV and metrics."""
    profile = profile_of({"x": numbers(NORMAL[:500]), "c": [3] * 500, "t": ["a", "b"] * 250})
    for x in (numbers(fresh(200)), [None] * 200, [1e308] * 200, ["?"] * 200):
        for drift in judged(profile, {"x": x, "c": x, "t": x}).values():
            figures = [getattr(drift, name) for name in ColumnDrift.__slots__]
            assert not any(isinstance(f, float) and math.isnan(f) for f in figures), drift
