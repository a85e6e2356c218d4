"""Values become the columns of a reference: numpy says how, and two passes say the same as one."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.statistics.profiler import Census, Sample, planned, reference_columns
from gateway.statistics.reference import (
    Profile,
    ReferenceColumn,
    encode_profile,
    parse_profile,
)


def column(values: Sequence[Any], **options: Any) -> ReferenceColumn:
    (found,) = reference_columns({"x": values}, **options)
    return found


def checked(columns: Sequence[ReferenceColumn], n: int) -> None:
    """They are a profile that may be written and read again."""
    profile = Profile(n, tuple(columns))
    assert parse_profile(encode_profile(profile)) == profile.identified()


@pytest.mark.parametrize("seed", range(3))
def test_edges_counts_and_moments_are_those_of_numpy(seed: int) -> None:
    numbers = np.random.default_rng(seed).lognormal(seed, 2.0, 2_001)
    found = column([*numbers.tolist(), None, math.nan, math.inf, "stray"])
    shares = np.arange(1, 20) / 20
    edges = np.unique(np.quantile(numbers, shares, method="inverted_cdf"))
    assert found.kind == "numeric"
    assert list(found.edges) == edges.tolist()
    assert (
        list(found.counts)
        == np.histogram(numbers, [-np.inf, *np.nextafter(edges, np.inf), np.inf])[0].tolist()
    )
    assert (found.missing, found.invalid) == (2, 2)
    assert (found.min, found.max) == (numbers.min(), numbers.max())
    assert found.mean == pytest.approx(numbers.mean(), rel=1e-12)
    assert found.sd == pytest.approx(numbers.std(), rel=1e-9)
    wanted = [np.quantile(numbers, q, method="inverted_cdf") for q in (0.01, 0.25, 0.5, 0.75, 0.99)]
    assert list(found.quantiles) == ["0.01", "0.25", "0.5", "0.75", "0.99"]
    assert list(found.quantiles.values()) == wanted
    checked([found], 2_005)


def test_large_numbers_that_differ_little_keep_their_spread() -> None:
    numbers = 1e9 + np.random.default_rng(0).normal(0, 1e-2, 1_000)
    assert column(numbers.tolist()).sd == pytest.approx(numbers.std(), rel=1e-6)


def test_numbers_at_the_end_of_their_range_are_still_a_column() -> None:
    found = column([1.7e308, -1.7e308, *map(float, range(50))])
    assert found.kind == "numeric"
    assert found.sd is None
    checked([found], 52)


def test_many_zeros_keep_a_bin_to_themselves() -> None:
    found = column([0] * 60 + list(range(1, 41)))
    assert found.edges[0] == 0
    assert found.counts[0] == 60


@pytest.mark.parametrize(
    ("values", "kind", "known", "counts"),
    [
        ([3, 1, 1, 2.5], "discrete", (1, 2.5, 3), (2, 1, 1)),
        (list(range(20)), "discrete", tuple(range(20)), (1,) * 20),
        ([7.0] * 5, "discrete", (7,), (5,)),
        (["b", "a", "b"], "categorical", ("b", "a"), (2, 1)),
        (["b", "a"], "categorical", ("a", "b"), (1, 1)),
        ([True, False, True], "categorical", ("true", "false"), (2, 1)),
        ([1, "1", "x", 2.5], "categorical", ("1", "2.5", "x"), (2, 1, 1)),
        (["x" * 200, "x" * 128], "categorical", ("x" * 128,), (2,)),
    ],
)
def test_few_values_are_counted_one_by_one(
    values: list[Any], kind: str, known: tuple[Any, ...], counts: tuple[int, ...]
) -> None:
    found = column(values)
    assert (found.kind, found.values, found.counts) == (kind, known, counts)
    assert json.dumps(found.values) == json.dumps(known)
    checked([found], len(values))


def test_twenty_one_different_numbers_are_binned() -> None:
    assert column(list(range(21))).kind == "numeric"


def test_the_hundred_most_frequent_categories_are_kept_and_the_rest_counted() -> None:
    values = [f"{number:03}" for number in reversed(range(150))] + ["149", "148", "148"]
    found = column(values)
    assert found.values == ("148", "149", *(f"{number:03}" for number in range(98)))
    assert found.counts == (3, 2, *[1] * 98)
    assert found.other == 50
    checked([found], 153)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([None, math.nan], "empty"),
        ([], "empty"),
        ([math.inf, -math.inf], "empty"),
        ([[1], {"a": 2}, 3], "nested"),
        ([{}] * 3, "nested"),
    ],
)
def test_what_cannot_be_measured_is_skipped_for_a_reason(values: list[Any], reason: str) -> None:
    found = column(values)
    assert (found.kind, found.reason) == ("skipped", reason)
    checked([found, ReferenceColumn("y", "skipped")], 2)


@pytest.mark.parametrize(("strays", "kind"), [(1, "numeric"), (2, "categorical")])
def test_strays_in_numbers_are_invalid_up_to_a_hundredth(strays: int, kind: str) -> None:
    found = column([*map(float, range(99)), *["?"] * strays])
    assert found.kind == kind
    assert found.invalid == (strays if kind == "numeric" else 0)


def test_nested_values_among_numbers_are_invalid() -> None:
    found = column([*map(float, range(60)), *[[1, 2]] * 40])
    assert (found.kind, found.invalid) == ("numeric", 40)


def test_dates_are_counted_in_seconds() -> None:
    first = datetime(2021, 3, 1, tzinfo=UTC)
    days = [(first + timedelta(days=day)).date().isoformat() for day in range(99)]
    found = column([*days, "2021-06-30T12:00:00+02:00", None, "soon"])
    assert found.kind == "date"
    assert (found.missing, found.invalid) == (1, 1)
    assert found.min == first.timestamp()
    assert found.max == datetime(2021, 6, 30, 10, tzinfo=UTC).timestamp()
    assert found.edges[0] == (first + timedelta(days=4)).timestamp()
    checked([found], 102)
    assert column([*days[:50], "soon"]).kind == "categorical"


def test_a_named_category_is_one_whatever_its_values() -> None:
    labels = reference_columns(
        {"label": [0, 1, 1], "day": ["2021-01-01"] * 3, "x": [0, 1, 1]},
        categorical=["label", "day"],
    )
    assert [found.kind for found in labels] == ["categorical", "categorical", "discrete"]
    assert labels[0].values == ("1", "0")


def test_what_was_served_says_so() -> None:
    assert column([1, 2], live=True).live
    assert column([None], live=True).live


Value = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=3)
    | st.dates().map(str)
    | st.lists(st.integers(), max_size=1)
)
Values = st.lists(Value, max_size=60) | st.lists(st.floats(width=32), max_size=60)


@settings(max_examples=150, deadline=None)
@given(values=Values, category=st.booleans())
def test_every_value_is_counted_once(values: list[Any], category: bool) -> None:
    found = column(values, categorical=["x"] if category else [])
    if found.kind != "skipped":
        assert found.rows == len(values)
    if values:
        checked([found], len(values))


def streamed(
    values: list[Any], most: int, portion: int, categorical: tuple[str, ...] = ()
) -> tuple[ReferenceColumn, Sample]:
    """In two passes, whether or not the sample holds everything."""
    sample = Sample(most)
    portions = [values[start : start + portion] for start in range(0, len(values), portion)]
    for part in portions:
        wanted, places = sample.places(len(part))
        sample.put(places, {"x": [part[row] for row in wanted]})
    census = Census(planned(sample.columns, categorical=categorical))
    for part in portions:
        census.add({"x": part})
    assert census.rows == len(values)
    return census.columns()[0], sample


def without_sums(column: ReferenceColumn) -> ReferenceColumn:
    """Sums of floats differ in their last bits by the portions they are added in."""
    return msgspec.structs.replace(column, mean=None, sd=None)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(Value, min_size=1, max_size=60), portion=st.integers(1, 70))
def test_two_passes_say_the_same_as_one(values: list[Any], portion: int) -> None:
    found, sample = streamed(values, 60, portion)
    assert sample.complete
    whole = column(values)
    assert without_sums(found) == without_sums(whole)
    if found.mean is not None and found.sd is not None:
        largest = max(abs(found.min or 0), abs(found.max or 0))
        assert found.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9 * largest)
        assert found.sd == pytest.approx(whole.sd, rel=1e-6, abs=1e-6 * largest)
    assert reference_columns(sample.columns) == (whole,)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(Value, min_size=1, max_size=80),
    most=st.integers(1, 20),
    portion=st.integers(1, 90),
)
def test_whatever_the_sample_missed_is_counted_all_the_same(
    values: list[Any], most: int, portion: int
) -> None:
    found, sample = streamed(values, most, portion)
    assert len(sample.columns["x"]) == min(most, len(values))
    if found.kind != "skipped":
        assert found.rows == len(values)
        checked([found], len(values))


def test_a_sample_does_not_depend_on_the_portions() -> None:
    values = list(range(5_000))
    samples = [streamed(values, 300, portion)[1].columns["x"] for portion in (1, 77, 5_000)]
    assert samples[0] == samples[1] == samples[2]


def test_every_row_is_as_likely_to_be_in_the_sample() -> None:
    """Tenths of 50,000 rows: 500 each are expected of 5,000, give or take 21 at one sigma."""
    sample = streamed(list(range(50_000)), 5_000, 999)[1]
    tenths = Counter(value // 5_000 for value in sample.columns["x"])
    assert len(set(sample.columns["x"])) == 5_000
    assert all(abs(tenths[tenth] - 500) < 100 for tenth in range(10))
    rows = [sample.columns["x"][place] for place in sample.in_order()]
    assert rows == sorted(rows)


def test_the_edges_of_a_sample_are_near_those_of_all_and_the_counts_exact() -> None:
    numbers = np.random.default_rng(1).normal(size=60_000)
    found, _ = streamed(numbers.tolist(), 10_000, 4_096)
    edges = np.array(found.edges)
    assert list(found.counts) == np.bincount(np.searchsorted(edges, numbers), minlength=20).tolist()
    assert np.abs(np.array(found.counts) / 60_000 - 0.05).max() < 0.01
    assert found.mean == pytest.approx(numbers.mean(), abs=1e-12)
    assert found.sd == pytest.approx(numbers.std(), rel=1e-12)
    assert (found.min, found.max) == (numbers.min(), numbers.max())


@pytest.mark.parametrize("rare", ["rare", 7.5])
def test_a_rare_value_that_no_sample_holds_is_named_and_not_lost(rare: Any) -> None:
    usual = ["a", "b"] if rare == "rare" else [1, 2]
    values = [usual[row % 2] for row in range(5_000)]
    values[4_321] = rare
    found, sample = streamed(values, 100, 500)
    assert rare not in sample.columns["x"]
    assert dict(zip(found.values, found.counts, strict=True))[rare] == 1
    assert found.other == 0


def test_a_sample_takes_no_more_memory_for_long_texts_or_deep_values() -> None:
    sample = Sample(3)
    sample.put([0, 1, 2], {"x": ["y" * 100_000, {"a": "z" * 100_000}, 3]})
    assert sample.columns["x"] == ["y" * 128, [], 3]
    kept = Sample(3, whole=True)
    kept.put([0], {"x": ["y" * 1_000]})
    assert kept.columns["x"] == ["y" * 1_000]


def test_a_wide_table_gets_a_smaller_sample() -> None:
    sizes = {}
    for columns in (1, 300, 100_000):
        sample = Sample.wide(columns)
        sample.places(150_000)
        sizes[columns] = len(sample.in_order())
    assert sizes == {1: 100_000, 300: 13_333, 100_000: 1_000}
