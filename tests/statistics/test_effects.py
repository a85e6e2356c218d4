"""Effects of sums: merged as one, clustered as rows were, silent where there is too little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.names import BUCKETS
from gateway.statistics.effects import Effect, Kind, effect
from gateway.statistics.sequences import CannotSay, Interval
from gateway.statistics.sums import BucketSums, EventCounts, Floats, Sides, UnitSums

Ints = npt.NDArray[np.int64]
#: Values that add up exactly in any order.
GRAINS = st.integers(-(2**30), 2**30).map(lambda grain: grain * 2.0**-20)
ROWS = st.lists(st.tuples(st.integers(0, BUCKETS - 1), GRAINS, st.integers(0, 2)), max_size=60)


def buckets(units: Ints, values: npt.ArrayLike) -> BucketSums:
    """Of rows, each with its unit, in the bucket that the unit's number says."""
    place = units % BUCKETS
    summed = np.bincount(place, np.asarray(values, dtype=np.float64), BUCKETS)
    counted = np.bincount(place, minlength=BUCKETS).astype(np.float64)
    return BucketSums(len(np.unique(units)), summed.astype(np.float64), counted)


def said(found: Effect | CannotSay) -> Effect:
    assert isinstance(found, Effect), found
    return found


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_sums_of_replicas_merge_to_the_sums_of_all_rows(rows: list[tuple[int, float, int]]) -> None:
    def summed(part: Sequence[tuple[int, float, int]]) -> BucketSums:
        found = BucketSums.nothing()
        for bucket, value, _ in part:
            one = np.zeros(BUCKETS)
            one[bucket] = 1
            found = found + BucketSums(1, value * one, one)
        return found

    whole = summed(rows)
    parts = [summed([row for row in rows if row[2] == replica]) for replica in range(3)]
    assert parts[2] + parts[0] + parts[1] == whole
    assert whole.values.sum() == math.fsum(value for _, value, _ in rows)
    units = [UnitSums(1, value, 0) for _, value, _ in rows]
    assert sum(units, UnitSums(0, 0, 0)) == sum(units[::-1], UnitSums(0, 0, 0))


def test_a_merge_changes_neither_side() -> None:
    one, other = BucketSums.nothing(), buckets(np.arange(300), np.ones(300))
    merged = one + other
    assert merged == other
    assert merged != one
    assert one == BucketSums.nothing()
    with pytest.raises(ValueError, match="read-only"):
        merged.values[0] = 5
    sides = Sides(one, other) + Sides(other, other)
    assert sides.candidate.units == 600
    events = EventCounts(1, 2, 0.5) + EventCounts(3, 4, 0.5)
    assert (events.candidate, events.baseline, events.both) == (4, 6, 10)
    with pytest.raises(ValueError, match=r"epochs of different weights: 0.5 and 0.25"):
        events + EventCounts(1, 1, 0.25)


@pytest.mark.parametrize("wrong", [np.ones(255), np.full(BUCKETS, np.nan)])
def test_sums_that_are_none_are_refused(wrong: Floats) -> None:
    with pytest.raises(ValueError, match="values: must be 256 finite numbers"):
        BucketSums(1, wrong, np.ones(BUCKETS))
    with pytest.raises(ValueError, match=r"share: must lie between 0 and 1.* Given: 1"):
        EventCounts(1, 1, 1.0)


def clustered(a: tuple[Ints, Floats], b: tuple[Ints, Floats]) -> tuple[float, float, float]:
    """OLS of rows on an arm's dummy with errors clustered by bucket: estimate, and each arm's part.

    The sandwich (X'X)⁻¹ Σ X_g'u_g u_g'X_g (X'X)⁻¹ without small-sample corrections.
    """
    units = np.concatenate([a[0], b[0]])
    y = np.concatenate([a[1], b[1]])
    arm = np.repeat([0.0, 1.0], [len(a[0]), len(b[0])])
    x = np.column_stack([np.ones(len(y)), arm])
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ x.T @ y
    scores = x * (y - x @ beta)[:, None]
    parts = []
    for one in (0.0, 1.0):
        meat = np.zeros((2, 2))
        for bucket in np.unique(units[arm == one] % BUCKETS):
            pushed = scores[(arm == one) & (units % BUCKETS == bucket)].sum(axis=0)
            meat += np.outer(pushed, pushed)
        parts.append(float((bread @ meat @ bread)[1, 1]))
    return float(beta[1]), parts[0], parts[1]


@pytest.mark.parametrize("users", [120, 400, 2_000])
def test_the_error_of_clustered_rows_is_that_of_a_regression(users: int) -> None:
    """Exactly, after the factor k / (k - 1) of each arm's variance."""
    rng = np.random.default_rng(users)
    arms, factors = [], []
    for _ in range(2):
        units = rng.permutation(users * 5)[:users].repeat(rng.geometric(0.2, users))
        rate = rng.beta(0.6, 1.4, users * 5)[units]
        arms.append((units, rng.binomial(1, rate).astype(np.float64)))
        k = len(np.unique(units % BUCKETS))
        factors.append(k / (k - 1))
    found = said(effect([Sides(*[buckets(*arm) for arm in arms])], "ratio"))
    estimate, part_a, part_b = clustered(*arms)
    assert found.difference.estimate == pytest.approx(estimate, rel=1e-9)
    wanted = math.sqrt(factors[0] * part_a + factors[1] * part_b)
    assert found.error == pytest.approx(wanted, rel=1e-9)


def test_buckets_of_single_units_say_what_the_units_say() -> None:
    """Each unit in a bucket of its own, with a value of its own: no cluster, no difference."""
    rng = np.random.default_rng(4)
    values = [rng.normal(3, 1, 200), rng.normal(3.4, 1, 250)]
    by_bucket = effect([Sides(*[buckets(np.arange(len(v)), v) for v in values])], "mean")
    sums = [UnitSums(len(v), float(v.sum()), float(v @ v)) for v in values]
    by_unit = effect([Sides(*sums)], "mean")
    assert said(by_bucket).error == pytest.approx(said(by_unit).error, rel=1e-9)
    assert said(by_bucket).p == pytest.approx(said(by_unit).p, rel=1e-6)


def test_epochs_are_compared_within_themselves() -> None:
    """The baseline's rate doubles as the candidate's weight does: pooled, that is an effect."""
    early = Sides(UnitSums.of_events(9_000, 900), UnitSums.of_events(1_000, 100))
    late = Sides(UnitSums.of_events(5_000, 1_000), UnitSums.of_events(5_000, 1_000))
    found = said(effect([early, late], "binary"))
    assert found.difference.estimate == pytest.approx(0, abs=1e-12)
    assert found.p == 1
    assert said(effect([early + late], "binary")).p < 1e-10
    weights = np.array([900, 2_500]) / 3_400
    assert found.baseline == pytest.approx(weights @ [0.1, 0.2])
    spread = [0.09 * (1 / 8_999 + 1 / 999), 0.16 * 2 / 4_999]
    assert found.error == pytest.approx(math.sqrt(weights**2 @ spread), rel=1e-9)
    assert (found.epochs, found.units) == (2, 20_000)


def test_the_same_units_in_another_epoch_are_no_news() -> None:
    """Twenty reloads, the same users with the same answers: as sure as after the first."""
    rng = np.random.default_rng(8)
    sides = Sides(*[buckets(np.arange(2_000), rng.beta(0.6, 1.4, 2_000)) for _ in range(2)])
    once, often = said(effect([sides], "mean")), said(effect([sides] * 20, "mean"))
    assert often.error == pytest.approx(once.error, rel=1e-9)
    assert often.difference.estimate == pytest.approx(once.difference.estimate, rel=1e-9)


def test_a_lift_is_the_delta_methods() -> None:
    """Beside the spread of the lifts of samples that are drawn anew."""
    rng = np.random.default_rng(9)
    lifts, errors = [], []
    for _ in range(400):
        arms = [rng.normal(mean, 2.0, n) for mean, n in ((4.0, 500), (8.0, 1_000))]
        sums = [UnitSums(len(v), float(v.sum()), float(v @ v)) for v in arms]
        found = said(effect([Sides(*sums)], "mean"))
        assert isinstance(found.relative, Interval)
        lifts.append(found.relative.estimate)
        difference = found.difference
        width = (difference.high - difference.low) / (2 * found.error)
        errors.append((found.relative.high - found.relative.low) / 2 / width)
    assert np.mean(lifts) == pytest.approx(1, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(lifts), rel=0.1)


def test_a_lift_over_a_negative_mean_has_the_sign_of_the_difference() -> None:
    sums = [UnitSums(1_000, total, 5_000) for total in (-2_000, -1_500)]
    found = said(effect([Sides(*sums)], "mean"))
    assert isinstance(found.relative, Interval)
    assert found.relative.estimate == pytest.approx(0.25)
    assert found.direction == 1


def test_nothing_is_divided_by_a_mean_that_may_be_zero() -> None:
    sums = [UnitSums(1_000, total, 5_000) for total in (20, 1_500)]
    found = said(effect([Sides(*sums)], "mean"))
    assert found.relative == CannotSay("the baseline's mean is too close to zero to be divided by")
    assert found.difference.excludes(0)


ENOUGH = Sides(UnitSums.of_events(100, 25), UnitSums.of_events(100, 75))


@pytest.mark.parametrize(
    ("sides", "kind", "reason"),
    [
        (
            replace(ENOUGH, candidate=UnitSums.of_events(99, 50)),
            "mean",
            "the candidate has 99 of the 100 units it takes",
        ),
        (
            replace(ENOUGH, baseline=UnitSums.of_events(5_000, 24)),
            "binary",
            "the baseline has 24 of the 25 events it takes",
        ),
        (
            replace(ENOUGH, candidate=UnitSums.of_events(5_000, 4_976)),
            "binary",
            "the candidate has 24 of the 25 units without an event it takes",
        ),
        (
            Sides(UnitSums(500, 500, 500), UnitSums(500, 500, 500)),
            "mean",
            "all values are the same, so nothing is known of their spread",
        ),
    ],
)
def test_too_little_is_said_and_is_no_finding(
    sides: Sides[UnitSums], kind: Kind, reason: str
) -> None:
    assert effect([sides], kind) == CannotSay(reason)
    said(effect([ENOUGH], "binary"))


def test_the_least_counts_over_all_epochs_that_say_something() -> None:
    """A lone unit in one arm has no spread, and an epoch with it is left out."""
    half = Sides(UnitSums.of_events(50, 13), UnitSums.of_events(50, 20))
    lone = Sides(UnitSums.of_events(1, 1), UnitSums.of_events(10_000, 5_000))
    assert isinstance(effect([half], "binary"), CannotSay)
    assert isinstance(effect([half, lone], "binary"), CannotSay)
    assert said(effect([half, half, lone], "binary")).epochs == 2
    assert isinstance(effect([], "mean"), CannotSay)


def test_buckets_have_the_same_least() -> None:
    rng = np.random.default_rng(2)
    few, many = (buckets(np.arange(n), rng.binomial(1, 0.5, n)) for n in (99, 200))
    assert effect([Sides(many, few)], "ratio") == CannotSay(
        "the candidate has 99 of the 100 units it takes"
    )
    rare = buckets(np.arange(200), np.arange(200) < 24)
    assert isinstance(effect([Sides(many, rare)], "binary"), CannotSay)
    said(effect([Sides(many, rare)], "ratio"))
    said(effect([Sides(many, many)], "binary"))
