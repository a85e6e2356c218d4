"""Windows: which rows are in which and when each ends, however the rows come and are saved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.monitoring.drift.series import Closed, Part, Series, Terms
from gateway.statistics.reference import Profile, ReferenceColumn
from gateway.statistics.window import Bins

SIDE = "window"
HOURLY = Terms(10.0, 3, 40.0)


def bins(name: str = "x") -> Bins:
    column = ReferenceColumn(name=name, kind="numeric", edges=(0.0,), counts=(1, 1), mean=0.0)
    return Bins(Profile(n=2, columns=(column,)).identified())


BINS = bins()


def count(series: Series, moments: Iterable[float], terms: Terms = HOURLY, to: Bins = BINS) -> None:
    for moment in moments:
        part: Part = series.part_of(moment) or series.begin(moment, terms, to)
        name = next(iter(part.bins.columns))
        part.side(SIDE).add(1, {name: [moment]}, [int(moment * 1000)], "w")


def windows(closed: Sequence[Closed]) -> list[tuple[float, float, int, bool]]:
    return [(c.start, c.end, c.sides[SIDE].rows, c.partial) for c in closed]


def test_a_window_with_enough_rows_ends_at_the_first_boundary() -> None:
    series = Series((SIDE,))
    count(series, [11, 12, 19.999, 20, 21])
    assert windows(list(series.due(19.9))) == []
    assert windows(list(series.due(20))) == [(10, 20, 3, False)]
    assert series.rows == 2


def test_one_with_fewer_rows_is_extended_until_it_has_enough() -> None:
    series = Series((SIDE,))
    count(series, [11, 25, 38, 39, 41])
    assert windows(list(series.due(100))) == [(10, 40, 4, False), (40, 80, 1, True)]


def test_it_is_closed_as_partial_when_it_has_become_as_long_as_it_may_be() -> None:
    series = Series((SIDE,))
    count(series, [11])
    assert windows(list(series.due(49))) == []
    assert windows(list(series.due(50))) == [(10, 50, 1, True)]


def test_a_stretch_without_rows_is_no_window() -> None:
    series = Series((SIDE,))
    count(series, [11, 12, 13, 95, 96, 97])
    assert windows(list(series.due(200))) == [(10, 20, 3, False), (90, 100, 3, False)]


def test_late_rows_join_the_open_window_and_never_one_that_is_over() -> None:
    series = Series((SIDE,))
    count(series, [11, 12, 13])
    assert len(list(series.due(20))) == 1
    count(series, [14, 15])
    assert series.parts[0].start == 20, "the window from 10 to 20 was told already"
    count(series, [21, 5])
    assert windows(list(series.due(30))) == [(20, 30, 4, False)]


def test_rows_counted_by_another_reference_are_never_added_up() -> None:
    series = Series((SIDE,))
    count(series, [11])
    count(series, [22, 23, 24], to=bins("y"))
    assert windows(list(series.due(100))) == [(10, 20, 1, True), (20, 30, 3, False)]


def test_other_terms_hold_from_the_next_window_on_and_windows_never_overlap() -> None:
    series = Series((SIDE,))
    count(series, [11, 12, 13])
    longer = Terms(25.0, 3, 100.0)
    count(series, [21, 22, 26, 45, 46], terms=longer)
    found = windows(list(series.due(1000)))
    assert found[:1] == [(10, 20, 3, False)]
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    assert sum(rows for _, _, rows, _ in found) == 8


def test_of_a_pair_both_sides_must_have_enough() -> None:
    series = Series(("a", "b"))
    part = series.begin(11, HOURLY, BINS)
    for side, rows in (("a", 9), ("b", 2)):
        part.side(side).add(rows, {"x": [1.0] * rows}, range(rows), "w")
    assert series.rows == 2
    assert list(series.due(20)) == []
    part.side("b").add(1, {"x": [1.0]}, [7], "w")
    assert [closed.partial for closed in series.due(30)] == [False]


@given(
    st.lists(st.floats(0, 400, allow_nan=False).map(lambda x: round(x, 2)), max_size=60).map(
        sorted
    ),
    st.lists(st.integers(0, 60), max_size=6),
    st.integers(1, 6),
)
def test_any_portions_and_restarts_give_the_same_windows(
    moments: list[float], cuts: list[int], min_rows: int
) -> None:
    """Rows in order, saved and loaded between portions, closed as far as each portion reaches."""
    terms = Terms(10.0, min_rows, 40.0)
    whole = Series((SIDE,))
    count(whole, moments, terms)
    expected = windows(list(whole.due(math.inf)))
    series, found = Series((SIDE,)), []
    bounds = [0, *sorted(min(cut, len(moments)) for cut in cuts), len(moments)]
    for start, end in pairwise(bounds):
        count(series, moments[start:end], terms)
        reached = moments[end] if end < len(moments) else math.inf
        found += windows(list(series.due(reached)))
        series = Series.decode(series.encode(), lambda name: {BINS.profile.id: BINS}[name])
    assert found == expected
    assert sum(rows for _, _, rows, _ in found) == len(moments)
