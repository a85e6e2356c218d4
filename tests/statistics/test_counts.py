"""Bin counts are exact: beside numpy's histogram, a Counter, and plain comparisons."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from drifting import bins_of, categorical, numbers, profile_of, window_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.statistics.counts import MOST_NEW, NEW, OTHER, Binning, ColumnCounts
from gateway.statistics.reference import MOST_TEXT, ProfileError, ReferenceColumn, parse_profile
from gateway.statistics.window import Bins

NUMERIC = ReferenceColumn(
    "x", "numeric", min=-5, max=5, mean=0.5, edges=(-2, 0, 1.5), counts=(3, 4, 2, 1)
)
DISCRETE = ReferenceColumn(
    "x", "discrete", min=1, max=7, mean=3.0, values=(3, 1, 7), counts=(5, 4, 3)
)
DATE = ReferenceColumn("x", "date", edges=(0, 86_400), counts=(1, 1, 1), min=-1, max=90_000)


def counted(column: ReferenceColumn, values: list[Any]) -> ColumnCounts:
    counts = ColumnCounts(Binning(column))
    counts.add(values)
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_bins_of_numbers_are_those_of_numpys_histogram(seed: int) -> None:
    """Where no number is an edge: numpy's bins include their lower edge, ours the upper one."""
    rng = np.random.default_rng(seed)
    profile = profile_of({"x": numbers(rng.lognormal(0, seed + 0.1, 3_000))})
    values = rng.lognormal(0.3, seed + 0.1, 5_001)
    counts = window_of(Bins(profile), {"x": numbers(values)}).columns["x"]
    edges = [-np.inf, *profile.columns[0].edges, np.inf]
    assert len(profile.columns[0].edges) == 19
    assert counts.cells.tolist() == np.histogram(values, edges)[0].tolist()


@given(
    reference=st.lists(st.integers(0, 60), min_size=60, max_size=300),
    window=st.lists(st.integers(-3, 63) | st.none() | st.just(math.nan), max_size=200),
)
@settings(max_examples=60, deadline=None)
def test_an_edge_belongs_to_the_bin_below_however_many_values_are_tied(
    reference: list[int], window: list[float | None]
) -> None:
    column = profile_of({"x": [*reference, *range(30)]}).columns[0]
    counts = counted(column, window)
    present = [value for value in window if value is not None and not math.isnan(value)]
    assert column.kind == "numeric"
    below = [sum(value <= edge for value in present) for edge in column.edges]
    assert np.cumsum(counts.cells).tolist() == [*below, len(present)]
    assert counts.missing == len(window) - len(present)
    assert counts.below == sum(value < min(column.min or 0, math.inf) for value in present)
    assert counts.above == sum(value > (column.max or 0) for value in present)
    assert counts.mean == pytest.approx(np.mean(present)) if present else counts.mean is None


@pytest.mark.parametrize(
    ("value", "missing", "invalid"),
    [
        (None, 1, 0),
        (math.nan, 1, 0),
        (math.inf, 0, 1),
        (-math.inf, 0, 1),
        (10**400, 0, 1),
        ("1.5", 0, 1),
        ("", 0, 1),
        (True, 0, 1),
        ([1.0], 0, 1),
        ({"x": 1}, 0, 1),
        (-0.0, 0, 0),
        (2**70, 0, 0),
        (1.7e308, 0, 0),
    ],
)
@pytest.mark.parametrize("column", [NUMERIC, DISCRETE], ids=["numeric", "discrete"])
@pytest.mark.parametrize("beside", [[], [1, None, 2.5]], ids=["alone", "beside others"])
def test_what_is_no_number_is_missing_or_invalid(
    column: ReferenceColumn, beside: list[Any], value: Any, missing: int, invalid: int
) -> None:
    counts = counted(column, [*beside, value])
    others = counted(column, beside)
    assert counts.missing - others.missing == missing
    assert counts.invalid - others.invalid == invalid
    assert counts.counted - others.counted == 1 - missing - invalid
    assert counts.n == len(beside) + 1


def test_the_largest_numbers_overflow_no_sum_with_a_word() -> None:
    """Warnings are errors here: what a caller sends must not fill the monitor's log."""
    column = msgspec.structs.replace(NUMERIC, mean=-1.7e308)
    counts = counted(column, [1.7e308] * 3)
    assert counts.cells.tolist() == [0, 0, 0, 3]
    assert counts.above == 3


@given(st.lists(st.sampled_from([1, 3, 7, 7.0, 2, 3.5, -1, None, "3", True]), max_size=60))
@settings(max_examples=60, deadline=None)
def test_discrete_values_are_counted_as_a_counter_would(values: list[Any]) -> None:
    counts = counted(DISCRETE, values)
    usable = [value for value in values if type(value) in (int, float)]
    known = Counter(usable)
    unknown = {value: count for value, count in known.items() if value not in (1, 3, 7)}
    assert counts.cells.tolist() == [known[3], known[1], known[7], 0, sum(unknown.values())]
    assert {float(text): count for text, count in counts.new.items()} == unknown
    assert counts.unseen == sum(unknown.values())
    assert counts.missing == values.count(None)
    assert counts.invalid == len(values) - values.count(None) - len(usable)


@given(
    st.lists(
        st.sampled_from(["a", "b", "true", "1", "", "é", "z" * 200])
        | st.booleans()
        | st.sampled_from([1, 1.5, None, math.nan])
        | st.just([1]),
        max_size=60,
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_categories_are_counted_as_a_counter_would(values: list[Any], others: bool) -> None:
    column = ReferenceColumn(
        "x", "categorical", values=("b", "a", "true"), counts=(3, 2, 1), other=2 * others
    )
    counts = counted(column, values)
    missing = sum(v is None or (isinstance(v, float) and math.isnan(v)) for v in values)
    names = {True: "true", False: "false"}
    texts = [
        v if isinstance(v, str) else names[v] if isinstance(v, bool) else str(v)
        for v in values
        if isinstance(v, (str, bool, int, float)) and v == v
    ]
    known = Counter(text[:MOST_TEXT] for text in texts)
    unknown = {text: count for text, count in known.items() if text not in ("a", "b", "true")}
    assert counts.cells[:3].tolist() == [known["b"], known["a"], known["true"]]
    assert counts.cells[OTHER if others else NEW] == sum(unknown.values())
    assert counts.cells[NEW if others else OTHER] == 0
    assert counts.new == ({} if others else unknown)
    assert (counts.missing, counts.invalid) == (missing, len(values) - missing - len(texts))


def test_new_categories_are_named_up_to_twenty_and_counted_without_bound() -> None:
    counts = counted(categorical(a=1), [f"n{i:05}" for i in range(3_000)] * 2)
    assert counts.unseen == 6_000
    assert counts.new == {f"n{i:05}": 2 for i in range(MOST_NEW)}


def test_a_million_different_categories_take_the_room_of_twenty() -> None:
    counts = counted(categorical(a=1), [])
    for start in range(0, 1_000_000, 50_000):
        counts.add([f"{i:x}" for i in range(start, start + 50_000)])
    assert len(counts.cells) == 3
    assert len(counts.new) == MOST_NEW
    assert counts.unseen == 999_999  # one of them is "a"


def test_dates_are_seconds_of_utc_and_what_is_none_is_invalid() -> None:
    given_ = [
        "1970-01-01",
        "1970-01-01T00:00:00+01:00",
        "1970-01-01T00:00:01Z",
        "1970-01-02",
        "1970-01-02T00:00:00.5",
        *(None, math.nan),
        *("soon", "", 12, True, "1970-13-01", [1]),
    ]
    counts = counted(DATE, given_)
    assert counts.cells.tolist() == [2, 2, 1]
    assert (counts.missing, counts.invalid) == (2, 6)
    assert counts.below == 1
    assert counts.lowest == -3600.0
    assert counts.highest == datetime(1970, 1, 2, 0, 0, 0, 500_000, UTC).timestamp()


@pytest.mark.parametrize("seed", range(3))
def test_a_window_of_the_references_own_rows_has_its_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {
        "numeric": [*numbers(rng.standard_t(2, 990)), *[None] * 10],
        "zeros": numbers(rng.gamma(1, 1, 1_000) * (rng.random(1_000) < 0.5)),
        "discrete": numbers(rng.poisson(2, 1_000)),
        "category": [f"c{k}" for k in rng.zipf(1.5, 1_000)],
        "boolean": numbers(rng.random(1_000) < 0.2),
        "constant": [4.5] * 1_000,
        "date": [f"2026-{1 + k % 12:02}-{1 + k % 28:02}" for k in range(1_000)],
    }
    profile = profile_of(columns)
    kinds = ["numeric", "numeric", "discrete", "categorical", "categorical", "discrete", "date"]
    assert [column.kind for column in profile.columns] == kinds
    window = window_of(Bins(profile), columns)
    for column in profile.columns:
        counts = window.columns[column.name]
        assert counts.cells.tolist() == counts.binning.reference.tolist(), column.name
        assert (counts.missing, counts.invalid) == (column.missing, column.invalid)
        assert counts.below == counts.above == counts.unseen == 0
        if column.mean is not None:
            assert counts.mean == pytest.approx(column.mean, rel=1e-12)


def test_a_column_that_no_row_has_and_one_that_is_skipped_are_not_counted() -> None:
    skipped = ReferenceColumn("s", "skipped", reason="nested")
    bins = bins_of(NUMERIC, skipped)
    window = window_of(bins, {"s": [{"a": 1}, {"a": 2}]})
    assert window.rows == 2
    assert window.columns["x"].n == window.columns["s"].n == 0


def test_labels_name_each_cell() -> None:
    assert Binning(NUMERIC).labels == ["up to -2", "-2 to 0", "0 to 1.5", "above 1.5"]
    assert Binning(DISCRETE).labels == ["3", "1", "7", "(other)", "(new)"]
    assert Binning(DATE).labels[0] == "up to 1970-01-01"
    far = msgspec.structs.replace(DATE, edges=(-1e20, 1e20))
    assert Binning(far).labels[-1] == "above 1e+20"


@pytest.mark.parametrize(
    "column",
    [
        '"kind":"numeric","edges":[1HUGE],"counts":[1,0]',
        '"kind":"numeric","edges":[1],"counts":[1,0],"min":-1HUGE',
        '"kind":"numeric","edges":[1],"counts":[1,0],"max":1HUGE',
        '"kind":"discrete","values":[1HUGE],"counts":[1]',
        '"kind":"skipped","edges":[1HUGE]',
        '"kind":"numeric","edges":[9007199254740992,9007199254740993],"counts":[1,0,0]',
        '"kind":"discrete","values":[9007199254740992,9007199254740993],"counts":[1,0]',
        '"kind":"numeric","counts":[1HUGE]',
    ],
)
def test_a_profile_with_numbers_beyond_floats_is_none(column: str) -> None:
    """Or it would end the monitor, which counts by it."""
    text = f'{{"n":1,"columns":[{{"name":"x",{column}}}]}}'.replace("HUGE", "0" * 400)
    with pytest.raises(ProfileError, match="column 'x'"):
        parse_profile(text.encode())
