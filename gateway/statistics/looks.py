"""What `effects` says at each of many looks at growing sums, all at once.

`effects.effect` stays the one formula: this is held to it at every look, and is for evidence that
is kept over looks; estimates and intervals are of the last look, by `effect` itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.names import BUCKETS
from gateway.statistics.effects import LEAST_EVENTS, LEAST_UNITS, LEAST_Z, Kind
from gateway.statistics.sequences import ALPHA, PLANNED_UNITS, half_width, log_mixture, tuning
from gateway.statistics.sums import BucketSums, Floats, Sides

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grown:
    """One epoch as it grew: its sums so far, at those looks at which they changed.

    Baseline first, then candidate: `looks` (changes,), `units` (changes, 2), `values` and `counts`
    (changes, 2, 256).
    """

    looks: Ints
    units: Floats
    values: Floats
    counts: Floats

    def at(self, change: int = -1) -> Sides[BucketSums]:
        arms = [
            BucketSums(
                int(self.units[change, arm]), self.values[change, arm], self.counts[change, arm]
            )
            for arm in (0, 1)
        ]
        return Sides(*arms)


@dataclass(frozen=True, slots=True)
class MeansAtLooks:
    """Both arms' averages over epochs, (looks, 2), and their variances; `units` is (looks,)."""

    means: Floats
    variances: Floats
    units: Floats
    #: Is there enough to say anything?
    told: npt.NDArray[np.bool_]

    @property
    def direction(self) -> Floats:
        return np.sign(self.means[:, 1] - self.means[:, 0])

    def log_e(self, alpha: float = ALPHA, planned_units: int = PLANNED_UNITS) -> Floats:
        """Against no difference; minus infinity where there is not enough."""
        variance = np.where(self.told, self.variances.sum(axis=1), 1)
        z = (self.means[:, 1] - self.means[:, 0]) / np.sqrt(variance)
        log_e = log_mixture(z, self.units, tuning(alpha, planned_units))
        return np.where(self.told, log_e, -np.inf)

    def lift(
        self, alpha: float = ALPHA, planned_units: int = PLANNED_UNITS
    ) -> tuple[Floats, Floats]:
        """The ends of the relative interval; without bound where there is not enough."""
        a, b = self.means.T
        v_a, v_b = self.variances.T
        can = self.told & (np.abs(a) >= LEAST_Z * np.sqrt(v_a)) & (a != 0)
        by = np.where(can, np.abs(a), 1)
        error = np.sqrt(v_b / by**2 + v_a * b**2 / by**4)
        reach = half_width(error, np.maximum(self.units, 1), tuning(alpha, planned_units), alpha)
        lift = (b - a) / by
        return np.where(can, lift - reach, -np.inf), np.where(can, lift + reach, np.inf)


def means_at_looks(epochs: Sequence[Grown], looks: int, kind: Kind) -> MeansAtLooks:
    """Epochs are summed up as the changes that each look made to their parts of all.

    Weights of Cochran, Mantel and Haenszel add up to 1 only over all epochs, so all that is divided
    by their sum is divided at the end.
    """
    weight, units = np.zeros(looks), np.zeros((looks, 2))
    means, events, of = np.zeros((looks, 2)), np.zeros((looks, 2)), np.zeros((looks, 2))
    pushed = np.zeros((looks, 2, BUCKETS))
    for one in epochs:
        count, value = one.counts.sum(axis=2), one.values.sum(axis=2)
        held = np.where(count > 0, ((one.values != 0) | (one.counts != 0)).sum(axis=2), 0)
        told = held.min(axis=1) >= 2
        share = _weight(one.units) * told
        by = np.where(count > 0, count, 1)
        mean = value / by
        off = (one.values - mean[..., None] * one.counts) / by[..., None]
        grow = np.sqrt(held / np.maximum(held - 1, 1))
        kept = told[:, None]
        for total, part in (
            (weight, share),
            (units, one.units * kept),
            (means, mean * share[:, None]),
            (events, value * kept),
            (of, count * kept),
            (pushed, off * (grow * share[:, None])[..., None]),
        ):
            total[one.looks] += np.diff(part, axis=0, prepend=np.zeros_like(part[:1]))
    weight, units, means, events, of, pushed = (
        part.cumsum(axis=0) for part in (weight, units, means, events, of, pushed)
    )
    by = np.where(weight > 0, weight, 1)[:, None]
    variances = np.square(pushed / by[..., None]).sum(axis=2)
    enough = (units >= LEAST_UNITS).all(axis=1) & (variances.sum(axis=1) > 0)
    if kind == "binary":
        enough &= (np.minimum(events, of - events) >= LEAST_EVENTS).all(axis=1)
    return MeansAtLooks(means / by, variances, units.sum(axis=1), enough)


def _weight(units: Floats) -> Floats:
    both = units.sum(axis=1)
    return np.asarray(units.prod(axis=1) / np.where(both > 0, both, 1))
