"""How many different units there were: exact for few, within the theory's error for many."""

from __future__ import annotations

import numpy as np
import pytest
from drifting import bins_of, categorical
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.statistics.distinct import MOST, Distinct
from gateway.statistics.window import Window

HASHES = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 30), max_size=80)


def uniform(count: int, seed: int) -> list[int]:
    found: list[int] = (
        np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64).tolist()
    )
    return found


def counted(*parts: list[int]) -> Distinct:
    distinct = Distinct()
    for part in parts:
        distinct.add(part)
    return distinct


@given(HASHES, HASHES)
@settings(max_examples=60, deadline=None)
def test_few_are_counted_exactly_however_often_they_come(one: list[int], other: list[int]) -> None:
    merged = counted(one)
    merged.merge(counted(other))
    assert merged.count == len({*one, *other})
    assert merged.state() == counted(one + other).state() == counted(other, one).state()


@pytest.mark.parametrize("count", [1, MOST - 1])
def test_it_is_exact_below_its_bound(count: int) -> None:
    hashes = uniform(count, 1)
    assert counted(hashes, hashes[::-1]).count == count


@pytest.mark.parametrize("count", [MOST, MOST + 1, 5_000, 20_000, 300_000])
def test_above_its_bound_it_errs_by_no_more_than_five_standard_errors(count: int) -> None:
    errors = [counted(uniform(count, seed)).count / count - 1 for seed in range(5)]
    standard_error = np.sqrt(max(1 - MOST / count, 1 / MOST) / MOST)
    assert max(map(abs, errors)) < 5 * standard_error
    # Without bias: a formula with k in place of k - 1, or the largest hash's place, would show.
    assert abs(np.mean(errors)) < 5 * standard_error / np.sqrt(5)


def test_it_takes_no_more_room_than_its_bound() -> None:
    assert len(counted(uniform(50_000, 2)).state()) == 8 * MOST


def test_neither_the_split_nor_the_order_matters_above_the_bound() -> None:
    hashes = uniform(30_000, 3)
    whole = counted(hashes)
    parts = [counted(hashes[k::7]) for k in range(7)]
    for order in (parts, parts[::-1], parts[3:] + parts[:3]):
        merged = Distinct()
        for part in order:
            merged.merge(Distinct.restored(part.state()))
        assert merged.state() == whole.state()
        assert merged.count == whole.count
    overlapping = counted(hashes[:20_000])
    overlapping.merge(counted(hashes[10_000:]))
    assert overlapping.state() == whole.state()


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = counted([1, 2]), counted([2, 3])
    one.merge(other)
    assert (one.count, other.count) == (3, 2)


@pytest.mark.parametrize(
    ("rows", "units", "independence"), [(100, 10, 0.1), (100, 100, 1.0), (0, 0, 1.0), (3, 1, 1 / 3)]
)
def test_independence_is_units_a_row(rows: int, units: int, independence: float) -> None:
    window = Window(bins_of(categorical(a=1)))
    hashes = uniform(units, 4)
    window.add(rows, {}, [hashes[k % units] for k in range(rows)], "front")
    assert window.independence == independence


def test_an_estimate_of_units_above_the_rows_is_no_more_than_all_of_them() -> None:
    """Every row another unit: half of the estimates lie above the number of rows."""
    shares = []
    for seed in range(6):
        window = Window(bins_of(categorical(a=1)))
        window.add(9_000, {}, uniform(9_000, seed), "front")
        shares.append(window.independence)
    assert max(shares) == 1.0
    assert min(shares) > 1 - 5 / np.sqrt(MOST)
