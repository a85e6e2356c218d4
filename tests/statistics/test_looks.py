"""What means say at many looks at once is what `effect` says at each of them."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.names import BUCKETS
from gateway.statistics.effects import Effect, Kind, effect
from gateway.statistics.looks import Grown, means_at_looks
from gateway.statistics.sequences import Interval
from gateway.statistics.sums import BucketSums, Sides

LOOKS = 60


def growing(rng: np.random.Generator, kind: Kind, rate: float) -> list[Grown]:
    """Four epochs that begin one after another, overlap, and change at some looks only."""
    epochs = []
    for begin, end, share in ((0, 20, 0.05), (10, 30, 0.3), (30, 58, 0.5), (55, 60, 0.9)):
        looks = np.sort(rng.choice(np.arange(begin, end), (end - begin) * 3 // 4, replace=False))
        size = (len(looks), 2, BUCKETS)
        part = 0.02 + 0.1 * np.array([1 - share, share])[None, :, None]
        units = rng.binomial(1, part, size).astype(np.float64)
        if kind == "binary":
            counts, values = units, rng.binomial(units.astype(int), rate).astype(np.float64)
        elif kind == "mean":
            counts, values = units, np.round(rng.normal(units * 3, 1) * 1024) / 1024 * (units > 0)
        else:
            counts = units * rng.geometric(0.3, size)
            values = rng.binomial(counts.astype(int), rate).astype(np.float64)
        parts = (part.cumsum(axis=0) for part in (units.sum(axis=2), values, counts))
        epochs.append(Grown(looks.astype(np.int64), *parts))
    return epochs


def sides_at(epochs: list[Grown], look: int) -> list[Sides[BucketSums]]:
    found = []
    for one in epochs:
        changes = np.flatnonzero(one.looks <= look)
        if len(changes):
            found.append(one.at(int(changes[-1])))
    return found


@pytest.mark.parametrize(
    ("kind", "rate"), [("binary", 0.3), ("binary", 0.12), ("mean", 0.0), ("ratio", 0.6)]
)
def test_each_look_is_that_of_effect(kind: Kind, rate: float) -> None:
    epochs = growing(np.random.default_rng([3, len(kind)]), kind, rate)
    at_looks = means_at_looks(epochs, LOOKS, kind)
    log_e = at_looks.log_e(0.04, 5_000)
    low, high = at_looks.lift(0.04, 5_000)
    told = 0
    for look in range(LOOKS):
        found = effect(sides_at(epochs, look), kind, alpha=0.04, planned_units=5_000)
        assert isinstance(found, Effect) == at_looks.told[look], f"look {look}: {found}"
        if not isinstance(found, Effect):
            assert log_e[look] == -np.inf
            assert (low[look], high[look]) == (-np.inf, np.inf)
            continue
        told += 1
        assert np.exp(min(0.0, -log_e[look])) == pytest.approx(found.p, rel=1e-9)
        assert at_looks.means[look] == pytest.approx([found.baseline, found.candidate], rel=1e-9)
        assert np.sqrt(at_looks.variances[look].sum()) == pytest.approx(found.error, rel=1e-9)
        assert at_looks.direction[look] == found.direction
        assert at_looks.units[look] == found.units
        if isinstance(found.relative, Interval):
            ends = found.relative.low, found.relative.high
            assert (low[look], high[look]) == pytest.approx(ends, rel=1e-8)
        else:
            assert (low[look], high[look]) == (-np.inf, np.inf)
    assert 5 < told < LOOKS


def test_an_epoch_counts_from_the_look_at_which_both_arms_have_two_buckets() -> None:
    rng = np.random.default_rng(5)
    epochs = growing(rng, "binary", 0.3)[:2]
    counts = np.zeros((3, 2, BUCKETS))
    counts[0, 0], counts[0, 1, 7], counts[1:, 1] = 4, 900, 3
    values = rng.binomial(counts.astype(int), 0.6).astype(np.float64)
    summed = [part.cumsum(axis=0) for part in (counts.sum(axis=2), values, counts)]
    epochs.append(Grown(np.array([30, 35, 40]), *summed))
    at_looks = means_at_looks(epochs, LOOKS, "binary")
    for look in (29, 30, 34, 35, 40):
        found = effect(sides_at(epochs, look), "binary")
        assert isinstance(found, Effect)
        assert found.epochs == (3 if look >= 35 else 2)
        assert np.exp(-at_looks.log_e()[look]) == pytest.approx(found.p, rel=1e-9) or found.p == 1
        assert at_looks.means[look] == pytest.approx([found.baseline, found.candidate], rel=1e-9)
        assert at_looks.units[look] == found.units


def test_values_that_are_all_the_same_say_nothing() -> None:
    ones = np.ones((3, 2, BUCKETS)).cumsum(axis=0)
    units = ones.sum(axis=2)
    at_looks = means_at_looks([Grown(np.arange(3), units, ones, ones)], 3, "mean")
    assert not at_looks.told.any()
    assert (at_looks.log_e() == -np.inf).all()


def test_there_may_be_no_epoch_at_all() -> None:
    assert not means_at_looks([], 2, "ratio").told.any()
