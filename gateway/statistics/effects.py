"""By how much a candidate's mean or ratio differs from the baseline's, over all epochs.

Nothing is pooled: each epoch is compared within itself, and the differences are averaged with the
weights of Cochran, Mantel and Haenszel. Formulas: STATISTICS §3.4 (A).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from gateway.statistics.sequences import (
    ALPHA,
    PLANNED_UNITS,
    CannotSay,
    Interval,
    always_valid_p,
    sequence,
    tuning,
)
from gateway.statistics.sums import BucketSums, Floats, Sides, UnitSums

Kind = Literal["binary", "mean", "ratio"]
Epochs: TypeAlias = Sequence[Sides[UnitSums]] | Sequence[Sides[BucketSums]]

#: Of each arm, before a normal approximation is believed.
LEAST_UNITS, LEAST_EVENTS = 100, 25
#: Standard errors that the baseline's mean must be from zero, to be divided by: as many as a rate
#: has with the least events.
LEAST_Z = 5.0


@dataclass(frozen=True, slots=True)
class Effect:
    """A contrast of means. `difference` is candidate less baseline, in the metric's own unit."""

    #: Averages of the epochs' means, with the same weights.
    baseline: float
    candidate: float
    difference: Interval
    error: float
    #: Always-valid, at this look. Decisions go by the smallest so far, which the caller keeps.
    p: float
    #: The difference as a part of the baseline's mean: 0.1 is ten percent more.
    relative: Interval | CannotSay
    units: int
    #: Epochs that count: those with two units, or two buckets, in both arms.
    epochs: int

    @property
    def direction(self) -> int:
        """1 if the candidate's mean is the higher one, -1 if it is the lower one."""
        return int(np.sign(self.difference.estimate))


def effect(
    epochs: Epochs, kind: Kind, *, alpha: float = ALPHA, planned_units: int = PLANNED_UNITS
) -> Effect | CannotSay:
    """What the epochs' sums say together; CannotSay below the least units and events of an arm.

    Of `binary` metrics a unit's (or row's) value is 0 or 1. Where sums are by bucket, what the
    same units do in several epochs is no news of each other, and is not taken for it.
    """
    told = [one for one in epochs if min(_clusters(one.baseline), _clusters(one.candidate)) >= 2]
    lacking = _lacking(told, kind)
    if lacking is not None:
        return lacking
    a, b = [one.baseline for one in told], [one.candidate for one in told]
    n_a, n_b = (np.array([one.units for one in arm], dtype=np.float64) for arm in (a, b))
    weights = n_a * n_b / (n_a + n_b)
    weights /= weights.sum()
    mean_a, mean_b = (float((weights * [one.mean for one in arm]).sum()) for arm in (a, b))
    v_a, v_b = _variance(a, weights), _variance(b, weights)
    if v_a + v_b <= 0:
        return CannotSay("all values are the same, so nothing is known of their spread")
    units = int(n_a.sum() + n_b.sum())
    rho2 = tuning(alpha, planned_units)
    error, difference = math.sqrt(v_a + v_b), mean_b - mean_a
    return Effect(
        baseline=mean_a,
        candidate=mean_b,
        difference=sequence(difference, error, units, rho2, alpha),
        error=error,
        p=float(always_valid_p(difference / error, units, rho2)),
        relative=_relative(mean_a, mean_b, v_a, v_b, units, rho2, alpha),
        units=units,
        epochs=len(told),
    )


def _clusters(sums: UnitSums | BucketSums) -> int:
    if isinstance(sums, UnitSums):
        return sums.units
    return sums.held if sums.counts.sum() > 0 else 0


def _lacking(told: Sequence[Sides[Any]], kind: Kind) -> CannotSay | None:
    """What an arm has too little of, over all epochs that count."""
    for arm in ("baseline", "candidate"):
        sums = [getattr(one, arm) for one in told]
        units = sum(one.units for one in sums)
        if units < LEAST_UNITS:
            return CannotSay(f"the {arm} has {units:,} of the {LEAST_UNITS} units it takes")
        if kind != "binary":
            continue
        events, of = map(sum, zip(*map(_events, sums), strict=True))
        for name, count in (("events", events), ("units without an event", of - events)):
            if count < LEAST_EVENTS:
                return CannotSay(
                    f"the {arm} has {count:,.0f} of the {LEAST_EVENTS} {name} it takes"
                )
    return None


def _events(sums: UnitSums | BucketSums) -> tuple[float, float]:
    if isinstance(sums, UnitSums):
        return sums.total, sums.units
    return float(sums.values.sum()), float(sums.counts.sum())


def _variance(arm: Sequence[Any], weights: Floats) -> float:
    """Of the weighted mean of an arm's epochs.

    Of buckets by the delta method, over all epochs at once: a bucket's units are the same ones
    again, so what it adds to the mean is summed before it is squared.
    """
    if isinstance(arm[0], UnitSums):
        each = [one.variance / one.units for one in arm]
        return float((np.square(weights) * each).sum())
    pushed = np.zeros_like(arm[0].values)
    for one, weight in zip(arm, weights, strict=True):
        off = (one.values - one.mean * one.counts) / one.counts.sum()
        pushed += weight * math.sqrt(one.held / (one.held - 1)) * off
    return float(np.square(pushed).sum())


def _relative(
    mean_a: float, mean_b: float, v_a: float, v_b: float, units: int, rho2: float, alpha: float
) -> Interval | CannotSay:
    """The lift, by the delta method; a ratio to something that may be zero has no interval."""
    if abs(mean_a) < LEAST_Z * math.sqrt(v_a) or mean_a == 0:
        return CannotSay("the baseline's mean is too close to zero to be divided by")
    error = math.sqrt(v_b / mean_a**2 + v_a * mean_b**2 / mean_a**4)
    # Of a negative mean, more is less of it: the lift has the sign of the difference.
    lift = (mean_b - mean_a) / abs(mean_a)
    return sequence(lift, error, units, rho2, alpha)
