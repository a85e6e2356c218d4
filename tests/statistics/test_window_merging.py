"""Windows add up: the parts of some rows, merged in any order, are the window of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from drifting import numbers, window_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.reference import Profile, ReferenceColumn
from gateway.statistics.window import Bins, Window

PROFILE = Profile(
    1_200,
    (
        ReferenceColumn(
            "number",
            "numeric",
            min=-3,
            max=9,
            mean=0.5,
            sd=2.0,
            edges=(-1, 0, 4),
            counts=(300,) * 4,
        ),
        ReferenceColumn(
            "few", "discrete", min=0, max=2, mean=1.0, values=(2, 0), counts=(600, 600)
        ),
        ReferenceColumn("some", "discrete", mean=1.0, values=(2, 0), counts=(600, 500), other=100),
        ReferenceColumn("text", "categorical", values=("b", "a"), counts=(600, 600)),
        ReferenceColumn("date", "date", edges=(0, 86_400), counts=(400,) * 3),
        ReferenceColumn("nested", "skipped", reason="nested"),
    ),
).identified()
BINS = Bins(PROFILE)

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(-(10**400), 10**400),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["a", "b", "1970-01-01", "1970-01-02T10:00:00Z", "1999-12-31", "x" * 300]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
ROWS = st.lists(st.tuples(st.integers(0, 2**64 - 1), *[VALUES] * len(PROFILE.columns)), max_size=60)
Row = Sequence[Any]


def added(rows: Sequence[Row], writer: str = "front") -> Window:
    window = Window(BINS)
    columns = {
        column.name: [row[k + 1] for row in rows] for k, column in enumerate(PROFILE.columns)
    }
    window.add(len(rows), columns, [row[0] for row in rows], writer)
    return window


def merged(parts: Sequence[Window]) -> Window:
    window = Window(BINS)
    for part in parts:
        window.merge(part)
    return window


def exact(window: Window) -> Any:
    """All that must be the same to the last bit however the rows were split."""
    columns = {
        name: (
            c.cells.tolist(),
            (c.missing, c.invalid, c.below, c.above, c.n, c.counted, c.unseen),
            (c.lowest, c.highest),
            c.new,
        )
        for name, c in window.columns.items()
    }
    return window.rows, window.units.state(), window.units.count, columns


def assert_same_sums(one: Window, other: Window, rows: Sequence[Row]) -> None:
    for place, (name, counts) in enumerate(one.columns.items()):
        numbers_ = BINS.columns[name].numbers([row[place + 1] for row in rows])[0]
        with np.errstate(over="ignore", invalid="ignore"):
            away = numbers_ - BINS.columns[name].centre
            sizes = float(np.abs(away).sum()), float((away * away).sum())
        pairs = zip((counts.sum, counts.sumsq), sizes, strict=True)
        theirs = other.columns[name].sum, other.columns[name].sumsq
        for (mine, size), its in zip(pairs, theirs, strict=True):
            if math.isfinite(size):
                assert abs(mine - its) <= 1e-12 * size


@given(rows=ROWS, cuts=st.lists(st.integers(0, 60), max_size=6), random=st.randoms())
@settings(max_examples=60, deadline=None)
def test_merged_parts_are_the_window_of_all_rows(
    rows: list[Row], cuts: list[int], random: Any
) -> None:
    whole = added(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    ends = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [added(shuffled[a:b], f"w{a}") for a, b in pairwise(ends)]
    one_by_one = merged(parts)
    nested = merged([merged(parts[: len(parts) // 2]), merged(parts[len(parts) // 2 :])])
    backwards = merged(parts[::-1])
    restored = merged([Window.decode(BINS, part.encode()) for part in parts])
    for found in (one_by_one, nested, backwards, restored):
        assert exact(found) == exact(whole)
        assert_same_sums(found, whole, rows)
        assert found.writers == {f"w{a}" for a, _ in pairwise(ends)}
    assert restored.encode() == one_by_one.encode()


@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_a_window_is_the_same_after_a_restart(rows: list[Row]) -> None:
    window = added(rows)
    again = Window.decode(BINS, window.encode())
    assert exact(again) == exact(window)
    assert again.encode() == window.encode()
    assert again.writers == window.writers
    again.merge(added(rows))  # and takes more
    window.merge(added(rows))
    assert again.encode() == window.encode()


def test_whatever_was_sent_something_is_said_of_it() -> None:
    """Rows of all kinds in all columns, in numbers enough for a verdict: no word, no exception."""
    kinds: list[Any] = [
        None,
        True,
        3,
        10**400,
        1.5,
        math.nan,
        math.inf,
        -1e308,
        "a",
        "1970-01-01",
        [1],
        {},
    ]
    rows: list[Row] = [
        (k, *(kinds[(k * (j + 1)) % len(kinds)] for j in range(6))) for k in range(1_200)
    ]
    found = {drift.column: drift for drift in of_reference(added(rows), Rules(least_rows=10))}
    assert found["nested"].severity == "insufficient"
    assert found["nested"].reason == "nested"
    assert {found[name].severity for name in ("number", "few", "text")} == {"critical"}
    assert "invalid" in found["number"].reason


def test_the_parts_verdict_is_the_wholes() -> None:
    """Of ordinary numbers, figure by figure, to rounding in the mean alone."""
    rng = np.random.default_rng(3)
    rows = list(zip(range(900), *(numbers(rng.normal(0.2, 2, 900)) for _ in range(6)), strict=True))
    whole = of_reference(added(rows), Rules(least_rows=10))
    parts = of_reference(
        merged([added(rows[k : k + 7]) for k in range(0, 900, 7)]), Rules(least_rows=10)
    )
    for one, other in zip(whole, parts, strict=True):
        assert (one.psi, one.ks, one.chi2, one.p_tolerance, one.severity, one.reason) == (
            *(other.psi, other.ks, other.chi2, other.p_tolerance),
            *(other.severity, other.reason),
        )
        if one.mean is not None:
            assert other.mean == pytest.approx(one.mean, rel=1e-12)


def test_sums_about_the_mean_lose_nothing_of_large_numbers_that_differ_little() -> None:
    column = ReferenceColumn("x", "numeric", mean=1e12, sd=1e-3, edges=(1e12,), counts=(5, 5))
    bins = Bins(Profile(10, (column,)).identified())
    offsets = np.random.default_rng(5).integers(-8, 9, 10_000) / 1024
    counts = window_of(bins, {"x": numbers(1e12 + offsets)}).columns["x"]
    assert counts.sum == offsets.sum()
    assert counts.sumsq == (offsets**2).sum()
