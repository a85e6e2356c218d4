"""By which cells samples are compared: none so rare that one row of it is a drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.statistics.cells import joined_bins, neighbours, pooled
from gateway.statistics.measures import Counts, chi_squared, p_tolerance

COUNTS = st.integers(1, 30).flatmap(
    lambda cells: st.tuples(*[st.lists(st.integers(0, 60), min_size=cells, max_size=cells)] * 2)
)


def arrays(*lists: list[int]) -> tuple[Counts, ...]:
    return tuple(np.array(one, dtype=np.int64) for one in lists)


def expected(a: Counts, b: Counts) -> tuple[float, float]:
    """The least that a cell would hold without drift, on either side."""
    least = float((a + b).min()) / float(a.sum() + b.sum())
    return least * float(a.sum()), least * float(b.sum())


def test_twenty_bins_are_counted_as_ten_and_a_tenth_in_one_bin_stays_alone() -> None:
    assert joined_bins(np.array([50] * 20)) == list(range(0, 20, 2))
    # A quarter of the rows are the same number: its bin is not joined with its neighbours.
    assert joined_bins(np.array([50, 250] + [50] * 14)) == [0, 1, *range(2, 16, 2)]


@given(COUNTS, st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_no_compared_cell_is_rare_and_every_row_is_in_one(
    pair: tuple[list[int], list[int]], rest: int
) -> None:
    a, b = arrays(*pair)
    if not a.sum() or not b.sum():
        return
    for one, other in (pooled(a, b, rest), neighbours(a, b)):
        assert (one.sum(), other.sum()) == (a.sum(), b.sum())
        assert len(one) == len(other) >= 1
        if len(one) > 1:
            of_a, of_b = expected(one, other)
            assert of_a >= 5 - 1e-9
            assert of_b >= 2 - 1e-9
        assert chi_squared(one, other)[0] <= chi_squared(a, b)[0] + 1e-6


def test_cells_that_are_not_rare_stay_as_they_are() -> None:
    a, b = arrays([100, 50, 30, 0, 0], [90, 60, 30, 0, 0])
    assert [one.tolist() for one in pooled(a, b, rest=2)] == [[100, 50, 30], [90, 60, 30]]


def test_what_the_reference_does_not_know_is_counted_with_what_it_hardly_knows() -> None:
    """Which of the rare ones it knows is chance: what is left out of it is theirs."""
    a, b = arrays([300, 88, 6, 6, 0, 0], [300, 60, 0, 0, 0, 40])
    assert [one.tolist() for one in pooled(a, b, rest=2)] == [[300, 88, 12], [300, 60, 40]]


@pytest.mark.parametrize("cells", [[10_000, 6_000, 4_000, 0], [19_996, 4, 0], [20_000, 0]])
def test_one_row_of_something_new_is_no_drift(cells: list[int]) -> None:
    """X² of the bare cells is 200 by it alone: beyond any tolerance, at once."""
    a = np.array(cells, dtype=np.int64)
    b = a * 99 // 20_000
    b[0] += 99 - b.sum()
    b[-1] += 1
    x2, df = chi_squared(a, b)
    n_eff = 20_000 * 100 / 20_100
    assert p_tolerance(x2, df, n_eff, 0.2) < 1e-20
    for one, other in (pooled(a, b, rest=1), neighbours(a, b)):
        x2, df = chi_squared(one, other)
        assert p_tolerance(x2, df, n_eff, 0.02) > 0.01


def test_rows_of_one_unit_make_a_cell_no_less_rare() -> None:
    """Ten rows of each of a hundred units: what a tenth of the units would be is a cell."""
    a, b = arrays([500] * 40, [25] * 40)
    assert len(pooled(a, b)[0]) == 40
    assert len(pooled(a, b, 0, (1.0, 0.1))[0]) == 40
    assert len(pooled(a, b, 0, (1.0, 0.07))[0]) == 1
    assert len(neighbours(a, b, (1.0, 0.07))[0]) == 13
    assert len(neighbours(a, b, (1.0, 0.002))[0]) == 1
